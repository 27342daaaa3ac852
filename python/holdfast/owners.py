"""owners.py - everything in the process that owns memory: heaps, arenas, pools, stack pools.

Talks to    holdfast._core.   Called by users.
Threads     any; owners that come or go meanwhile may be missed.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast import _core
from holdfast.stats import Stats, from_row

__all__ = ["Owner", "owners"]


class Owner(NamedTuple):
    """One owner of memory at one moment."""

    id: int
    """Never used again in this process."""
    kind: str
    """``heap``, ``arena``, ``pool`` or ``stacks``."""
    name: str
    """As given; empty if none was."""
    stats: Stats
    """Its figures; exact at rest."""


def owners() -> list[Owner]:
    """See everything in the process that owns memory.

    Returns
    -------
    list of Owner
        Oldest first.
    """
    return [Owner(number, kind, name, from_row(row)) for number, kind, name, row in _core.owners()]
