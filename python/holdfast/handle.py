"""handle.py - what a heap and an arena have in common as Python objects: a name, borrows, an end.

Invariants  an error on its way out of a `with` block is never hidden by BusyError: then the memory
            goes with the last borrow.
Talks to    holdfast._core.   Called by heap.py, arena.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Handle"]


class _Core(Protocol):
    """The part of the binding that all of them have."""

    @property
    def closed(self) -> bool: ...
    @property
    def borrows(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def id(self) -> int: ...
    def close(self) -> int: ...


class Handle:
    """A context manager over something that owns memory and lends it."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def _core(self) -> _Core: ...
        def close(self) -> None:
            """Give everything back; BusyError while something is borrowed."""

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._core.closed

    @property
    def borrows(self) -> int:
        """Living memoryviews, arrays and DLPack tensors on this memory."""
        return self._core.borrows

    @property
    def name(self) -> str:
        """As given, for reports."""
        return self._core.name

    @property
    def id(self) -> int:
        """Number in reports and, of an arena, in `holdfast.owners`."""
        return self._core.id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._core.close()
