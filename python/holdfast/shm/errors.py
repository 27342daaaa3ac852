"""errors.py - what can go wrong with shared memory; each class inherits what a caller would catch.

    ShmError (HoldfastError, OSError)
      NotFoundError (FileNotFoundError)   ExistsError (FileExistsError)
      AccessError (PermissionError)       NoSpaceError (MemoryError)
      LayoutError   MismatchError (ValueError)   StaleError (ValueError)
      OwnerDiedError
      FullError (queue.Full)              EmptyError (queue.Empty)

Talks to    holdfast.errors.   Called by holdfast.errors.from_status, by name, from status.def.
"""

from __future__ import annotations

import queue

from holdfast.errors import HoldfastError

__all__ = [
    "AccessError",
    "EmptyError",
    "ExistsError",
    "FullError",
    "LayoutError",
    "MismatchError",
    "NoSpaceError",
    "NotFoundError",
    "OwnerDiedError",
    "ShmError",
    "StaleError",
]


class ShmError(HoldfastError, OSError):
    """Something about shared memory went wrong."""


class NotFoundError(ShmError, FileNotFoundError):
    """There is no segment or structure of this name."""


class ExistsError(ShmError, FileExistsError):
    """There is a segment or structure of this name already."""


class AccessError(ShmError, PermissionError):
    """The system does not allow it, or the segment belongs to a user who is not trusted."""


class NoSpaceError(ShmError, MemoryError):
    """Shared memory or the segment has no room for it."""


class LayoutError(ShmError):
    """No segment of holdfast, or one of another version."""


class MismatchError(ShmError, ValueError):
    """The structure is of another kind, size or element type than asked for."""


class OwnerDiedError(ShmError):
    """The process that held it was killed."""


class FullError(ShmError, queue.Full):
    """There is no room now."""


class EmptyError(ShmError, queue.Empty):
    """There is nothing now."""


class StaleError(ShmError, ValueError):
    """The handle is of a former use."""
