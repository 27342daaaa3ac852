"""safe_point.py - what happened inside the allocator is told where Python may run.

    inside free: note, ask ──► interpreter's next safe point (main thread) ──► deliver()
                          └──► end of the library call that met it         ──┘

Invariants  deliver() never runs inside itself; a poller that raises has taken what it raises for,
            and the others are asked again later.
Talks to    holdfast._core.   Called by report.py, limits.py (pollers), heap.py (settle).
Threads     any. Pollers run on the main thread, or on the thread whose call met the event.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

from holdfast import _core

__all__ = ["add_poller", "deliver", "settle"]

_pollers: tuple[Callable[[], None], ...] = ()
_inside = threading.local()


def add_poller(poller: Callable[[], None]) -> None:
    """From now on `poller` is called at every safe point that was asked for."""
    global _pollers
    if poller in _pollers:
        return
    if not _pollers:
        _core.watch(deliver)
        atexit.register(_core.unwatch)
    _pollers = (*_pollers, poller)


def deliver() -> None:
    """Ask every poller; the first exception is raised, after the others were asked for again."""
    if getattr(_inside, "flag", False):
        return
    _inside.flag = True
    try:
        _core.noted()
        for poller in _pollers:
            poller()
    except BaseException:
        _core.request()
        raise
    finally:
        _inside.flag = False


def settle() -> None:
    """At the end of a call of the library: tell what it met, on the thread that called."""
    if _core.has_noted():
        deliver()
