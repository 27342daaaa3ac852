"""machine.py - the segments of this machine: which there are, taking a name away, clearing up.

Talks to    holdfast._shm.   Called by users and the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import _shm

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["collect", "names", "remove"]


def names() -> list[tuple[str, int]]:
    """See the segments of this machine: names and sizes [bytes], whoever made them."""
    return [(name, size) for name, size in _shm.segment_names()]


def remove(name: str) -> None:
    """Take a segment's name away; processes that have it open go on."""
    _shm.segment_remove(name)


def collect(names_: Sequence[str] | None = None) -> list[str]:
    """Remove segments in which nobody lives and that do not persist.

    Parameters
    ----------
    names_ : sequence of str, optional
        All of this machine that this user may open, if not given.

    Returns
    -------
    list of str
        Those that were removed.
    """
    removed = []
    for name in names_ if names_ is not None else [name for name, _ in names()]:
        try:
            if _shm.segment_collect(name):
                removed.append(name)
        except OSError:
            if names_ is not None:
                raise
    return removed
