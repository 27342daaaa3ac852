"""holdfast: a fast, defensive, measurable heap for any Python program.

``holdfast run app.py`` runs a program on it; this module is for programs that want to ask or to own
heaps themselves. Importing it changes nothing. Everything works with and without the preload;
`is_active` tells which.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from holdfast import _core, mr
from holdfast.arena import Arena, ArenaFigures, ArenaScope
from holdfast.errors import (
    BusyError,
    CancelledError,
    CorruptionError,
    DoubleFreeError,
    HoldfastError,
    InvalidArgumentError,
    InvalidFreeError,
    OutOfMemoryError,
    OverflowedBlockError,
    StackOverflowError,
    UnsupportedError,
    UseAfterFreeError,
    WaitTimeoutError,
)
from holdfast.fiber import Fiber, suspend
from holdfast.health import Health, judge
from holdfast.heap import Buffer, Heap, default_heap
from holdfast.limits import limit
from holdfast.options import Option, active_options, all_options
from holdfast.owners import Owner, owners
from holdfast.paths import library, prefix
from holdfast.pool import Pool, PoolFigures, PoolHandle
from holdfast.report import Report, Watch, on_corruption, policy, recent_reports, report_count
from holdfast.rss import Breakdown, rss
from holdfast.safe_point import settle
from holdfast.scope import Scope, scope
from holdfast.stack import Stack, StackPool, run_on_stack
from holdfast.stats import Block, ClassStats, Stats, process

__all__ = [
    "Arena",
    "ArenaFigures",
    "ArenaScope",
    "Block",
    "Breakdown",
    "Buffer",
    "BusyError",
    "CancelledError",
    "ClassStats",
    "CorruptionError",
    "DoubleFreeError",
    "Fiber",
    "Health",
    "Heap",
    "HoldfastError",
    "InvalidArgumentError",
    "InvalidFreeError",
    "Option",
    "OutOfMemoryError",
    "OverflowedBlockError",
    "Owner",
    "Pool",
    "PoolFigures",
    "PoolHandle",
    "Report",
    "Scope",
    "Stack",
    "StackOverflowError",
    "StackPool",
    "Stats",
    "UnsupportedError",
    "UseAfterFreeError",
    "WaitTimeoutError",
    "Watch",
    "active_options",
    "all_options",
    "check",
    "default_heap",
    "health",
    "is_active",
    "library",
    "limit",
    "mr",
    "on_corruption",
    "owners",
    "policy",
    "prefix",
    "process",
    "recent_reports",
    "reclaim",
    "report_count",
    "rss",
    "run_on_stack",
    "scope",
    "stats",
    "suspend",
]

if TYPE_CHECKING:
    from holdfast import numpy as numpy


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: importing holdfast does not import NumPy.
    if name == "numpy":
        return importlib.import_module("holdfast.numpy")
    raise AttributeError(f"module 'holdfast' has no attribute {name!r}")


# The modules of these names are loaded by now: from here on they are the functions.
__version__: str = _core.version()


def stats() -> Stats:
    """Get the figures of the process-wide heap; exact at rest.

    Returns
    -------
    Stats
        Of everything `malloc` serves under ``holdfast run``; of the heap's own blocks otherwise.
    """
    return default_heap().stats()


def health() -> Health:
    """Tell how the process-wide heap is: pools by state, and a verdict with its reasons."""
    return judge(stats())


def check() -> int:
    """Verify every block of the process-wide heap; damage is reported.

    Returns
    -------
    int
        Damaged blocks found by this walk.

    Raises
    ------
    CorruptionError
        Damage was found and the policy is ``raise``.
    """
    return default_heap().check()


def reclaim() -> int:
    """Give back to the system whatever can be given back, in every heap.

    Caches of the calling thread, empty slabs, free pages, cached large blocks; under
    ``holdfast run`` also free pymalloc arenas and pools.

    Returns
    -------
    int
        Bytes given back.
    """
    given = _core.reclaim()
    settle()
    return given


def is_active() -> bool:
    """True in a process whose `malloc` is this library's, as under ``holdfast run``."""
    return _core.is_active()


if active_options()["on_corruption"] == "raise":
    policy("raise")
