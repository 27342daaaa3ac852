"""opened.py - the segments that this process has open, one object each, and how it leaves them.

Invariants  whoever looks one up and adds it holds `opening()`; in the child of a fork nobody does.
            A child of multiprocessing, which ends by _exit, leaves in good order.
Talks to    holdfast._shm, multiprocessing where it is loaded.   Called by segment.py.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING

from holdfast import _shm

if TYPE_CHECKING:
    from holdfast.shm.segment import Segment

__all__ = ["identity_of", "leave_with_multiprocessing", "opening", "segments"]

segments: weakref.WeakValueDictionary[str, Segment] = weakref.WeakValueDictionary()
"""By identity."""

_lock = threading.RLock()
_registered = False


def opening() -> threading.RLock:
    """Lock of `segments`."""
    return _lock


def identity_of(core: _shm.Segment) -> str:
    """Tell segments apart, also a file from its copy: the id, then the file."""
    file = os.fstat(core.file)
    return f"{core.info()['id']}-{file.st_dev}-{file.st_ino}"


def leave_with_multiprocessing() -> None:
    """Let multiprocessing leave the segments where it ends a child by _exit.

    Its finalizers run there; those of the parent are forgotten after a fork, hence both. Once: the
    registrations stay, in the children of a fork too.
    """
    global _registered
    util = sys.modules.get("multiprocessing.util")
    if util is None or _registered:
        return
    _registered = True
    util.register_after_fork(_finalize, _finalize)
    _finalize(None)


def _finalize(_: object) -> None:
    from multiprocessing import util

    util.Finalize(None, _shm.segment_leave_all, exitpriority=-100)


def _before_fork() -> None:
    if segments:
        leave_with_multiprocessing()


def _in_child() -> None:
    global _lock
    _lock = threading.RLock()  # a thread that had it does not exist here


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
