"""holdfast: a fast, defensive, measurable heap for any Python program.

``holdfast run app.py`` runs a program on it; this module is for programs that want to ask or to own
heaps themselves. Importing it changes nothing. Everything works with and without the preload;
`is_active` tells which.
"""

from __future__ import annotations

import sys
from types import ModuleType

from holdfast import _core
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

TYPE_CHECKING = False  # what type checkers take for True; `typing` alone takes 8 ms to import
if TYPE_CHECKING:
    from typing import Any

    from holdfast import mr, shm
    from holdfast import numpy as numpy
    from holdfast.arena import Arena, ArenaFigures, ArenaScope
    from holdfast.fiber import Fiber, suspend
    from holdfast.health import Health
    from holdfast.heap import Buffer, Heap, default_heap
    from holdfast.limits import limit
    from holdfast.options import Option, active_options, all_options
    from holdfast.owners import Owner, owners
    from holdfast.paths import library, prefix
    from holdfast.pool import Pool, PoolFigures, PoolHandle
    from holdfast.report import Report, Watch, on_corruption, policy, recent_reports, report_count
    from holdfast.rss import Breakdown, rss
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
    "shm",
    "stats",
    "suspend",
]

# Module --> public names that are its own. A module is loaded when it or one of these is asked for.
_HOMES = {
    "arena": ("Arena", "ArenaFigures", "ArenaScope"),
    "fiber": ("Fiber", "suspend"),
    "health": ("Health",),
    "heap": ("Buffer", "Heap", "default_heap"),
    "limits": ("limit",),
    "mr": (),
    "numpy": (),
    "options": ("Option", "active_options", "all_options"),
    "owners": ("Owner", "owners"),
    "paths": ("library", "prefix"),
    "pool": ("Pool", "PoolFigures", "PoolHandle"),
    "report": ("Report", "Watch", "on_corruption", "policy", "recent_reports", "report_count"),
    "rss": ("Breakdown", "rss"),
    "scope": ("Scope", "scope"),
    "shm": (),
    "stack": ("Stack", "StackPool", "run_on_stack"),
    "stats": ("Block", "ClassStats", "Stats", "process"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # else every misspelt name would have a type

    def __getattr__(name: str) -> Any:
        home = _HOME_OF.get(name, name)
        if home not in _HOMES:
            raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
        module: Any = __import__(f"holdfast.{home}", fromlist=["*"])
        value = globals()[name] = getattr(module, name) if name in _HOME_OF else module
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_HOME_OF})


class _Package(ModuleType):
    """The package, some of whose functions have the name of the module they are at home in."""

    def __setattr__(self, name: str, value: object) -> None:
        # Whoever imports such a module has the import system put it in the function's place.
        if name in ("health", "owners", "rss", "scope", "stats") and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

__version__: str = _core.version()


def stats() -> Stats:
    """Get the figures of the process-wide heap; exact at rest.

    Returns
    -------
    Stats
        Of everything `malloc` serves under ``holdfast run``; of the heap's own blocks otherwise.
    """
    from holdfast.heap import default_heap

    return default_heap().stats()


def health() -> Health:
    """Tell how the process-wide heap is: pools by state, and a verdict with its reasons."""
    from holdfast.health import judge

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
    from holdfast.heap import default_heap

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
    from holdfast.safe_point import settle

    given = _core.reclaim()
    settle()
    return given


def is_active() -> bool:
    """True in a process whose `malloc` is this library's, as under ``holdfast run``."""
    return _core.is_active()


if _core.Options.active().values()["on_corruption"] == "raise":
    from holdfast.report import policy

    policy("raise")
