"""limits.py - a memory budget from within the program, with a callback at the soft limit.

Invariants  a callback runs at a safe point, once per crossing noted, never inside the allocator.
            It belongs to its heap's object, so that a callback which knows the heap keeps neither
            alive.
Talks to    holdfast._core, safe_point.py.   Called by holdfast.limit, Heap.limit.
Threads     any.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from holdfast import _core, safe_point
from holdfast.errors import InvalidArgumentError
from holdfast.options import parse_size

__all__ = ["Limited", "OnSoft", "limit", "set_limit"]

OnSoft = Callable[[int], object]

_lock = threading.RLock()  # re-entered when a safe point falls inside set_limit


class Limited:
    """Something with a heap whose limits can be set: a `Heap`, or the process."""

    __slots__ = ("__weakref__", "_core", "_on_soft")

    def __init__(self, core: _core.Heap) -> None:
        self._core = core
        self._on_soft: OnSoft | None = None


_watches: tuple[tuple[weakref.ref[Limited], _core.SoftLimit], ...] = ()
_process = Limited(_core.default_heap())


def set_limit(
    owner: Limited, hard: str | int | None, soft: str | int | None, on_soft: OnSoft | None
) -> None:
    """Set the limits of one heap; see `limit`."""
    global _watches
    hard_bytes, soft_bytes = parse_size(hard), parse_size(soft, "soft")
    if on_soft is not None and not callable(on_soft):
        raise InvalidArgumentError("on_soft takes a function of one number")
    if on_soft is not None and not soft_bytes:
        raise InvalidArgumentError("on_soft needs a soft limit: give soft= as well")
    if hard_bytes and soft_bytes > hard_bytes:
        raise InvalidArgumentError("the soft limit is above the hard one")
    with _lock:
        before = _watches, owner._on_soft
        watch = None
        rest = tuple(w for w in _watches if w[0]() not in (None, owner))
        if on_soft is not None:
            watch = _core.SoftLimit()
            rest = (*rest, (weakref.ref(owner), watch))
            safe_point.add_poller(_poll)
        # First: a limit that is crossed already is told while it is set.
        _watches, owner._on_soft = rest, on_soft
        try:
            owner._core.limit(hard_bytes, soft_bytes, watch)
        except BaseException:
            _watches, owner._on_soft = before
            raise
    safe_point.settle()


def limit(
    bytes: str | int | None, *, soft: str | int | None = None, on_soft: OnSoft | None = None
) -> None:
    """Give the whole process a memory budget, or take it away.

    Counts what the process-wide heap has mapped: everything `malloc` serves under
    ``holdfast run``, the heap's own blocks otherwise.

    Parameters
    ----------
    bytes : int or str or None
        Hard limit [bytes]; ``"2G"`` works. Allocations above it fail (`MemoryError`, NULL).
        None: no limit.
    soft : int or str, optional
        Above it, free memory is reclaimed and `on_soft` is told.
    on_soft : callable, optional
        Called at a safe point with the bytes mapped at the crossing, once per crossing; what it
        raises goes to ``sys.unraisablehook``.

    Raises
    ------
    InvalidArgumentError
        A limit is no size, `soft` is above `bytes`, or `on_soft` has no soft limit.
    """
    set_limit(_process, bytes, soft, on_soft)


def _poll() -> None:
    for reference, watch in _watches:
        crossed = watch.take()
        owner = reference()
        if crossed is not None and owner is not None and owner._on_soft is not None:
            _core.call_quietly(owner._on_soft, crossed)
