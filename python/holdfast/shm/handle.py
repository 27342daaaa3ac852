"""handle.py - a structure whose class stands on an object of holdfast._shm.

Talks to    structure.py.   Called by every structure but the queues, which are their own object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.shm.structure import Structure

if TYPE_CHECKING:
    from typing import Self

    from holdfast.shm.segment import Segment

__all__ = ["Handle"]


class Handle(Structure):
    """A structure with its C handle in `_core`."""

    __slots__ = ("__weakref__", "_core", "_name", "_segment")

    _core: Any

    @classmethod
    def _wrap(cls, segment: Segment, name: str, core: Any) -> Self:
        self = cls.__new__(cls)
        self._core = core
        self._segment = segment
        self._name = name
        segment._note(self)
        return self

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return bool(self._core.closed)

    @property
    def borrows(self) -> int:
        """Arrays and views on its memory that are alive."""
        return int(self._core.borrows)

    def close(self) -> None:
        """Close it in this process; it stays in the segment.

        Raises
        ------
        BusyError
            Arrays or views on its memory are alive, or another thread is inside a call.
        """
        self._core.close()
