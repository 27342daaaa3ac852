"""heap.py - heaps as objects: any size, any time, any thread.

    Heap ──allocate──► Buffer ──memoryview, NumPy, DLPack──► borrows
     │                   └ freed by release(), free(), or when its last borrow dies
     └ close(): BusyError while borrows live, so an array never dangles

Invariants  a block lives at least as long as every borrow of it; an idle Heap that is dropped gives
            all of its memory back.
Talks to    holdfast._core, handle.py, limits.py, safe_point.py.
            Called by users, holdfast.stats() and so on.
Threads     every method may be called from any thread.
"""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

from holdfast import _core
from holdfast.errors import BusyError, InvalidArgumentError
from holdfast.handle import Handle
from holdfast.health import Health, judge
from holdfast.limits import Limited, OnSoft, set_limit
from holdfast.options import OptionValue, build
from holdfast.safe_point import settle
from holdfast.source import Source
from holdfast.stats import Block, ClassStats, Stats, from_row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Buffer", "Heap", "default_heap"]

Buffer = _core.Buffer

_MOST = 1 << 63  # what is above is refused like this: no machine has it


class Heap(Limited, Handle):
    """A heap of one's own: own pages, own statistics, own limits, own defences.

    Parameters
    ----------
    profile : {"checked", "fast", "hardened", "debug"}
        What is paid for defence; see docs/deploy.md.
    node : int, optional
        NUMA node its memory is placed on; by default that of the thread that asks.
    limit : int or str, optional
        Hard limit on what it maps [bytes]; ``"64M"`` works.
    name : str, optional
        For reports; 31 bytes are kept.
    on_soft : callable, optional
        Called with the bytes mapped when ``limit_soft`` is crossed; see `holdfast.limit`.
    **options
        Any other option of `all_options`, such as ``zero_on_free=True`` or ``fit="best"``.

    Raises
    ------
    InvalidArgumentError
        No such option or value, or two options contradict each other.
    OutOfMemoryError
        The system refused the first pages.

    Examples
    --------
    >>> with Heap(profile="hardened", limit="64M") as heap:
    ...     buffer = heap.allocate(4096, align=64)
    ...     memoryview(buffer)[:5] = b"hello"
    """

    __slots__ = ()

    def __init__(
        self,
        profile: str = "checked",
        node: int | None = None,
        limit: str | int | None = None,
        *,
        name: str = "",
        on_soft: OnSoft | None = None,
        **options: OptionValue,
    ) -> None:
        options["profile"] = profile
        if limit is not None:
            options["limit"] = limit
        made = build(options)
        super().__init__(_core.Heap(made, name, -1 if node is None else node))
        if on_soft is not None:
            set_limit(self, limit, options.get("limit_soft"), on_soft)

    def allocate(self, size: int, align: int = 16) -> Buffer:
        """Get a block.

        Parameters
        ----------
        size : int
            Bytes; their content is undefined.
        align : int
            Alignment of the first byte [bytes]; a power of two.

        Returns
        -------
        Buffer
            Supports the buffer protocol and DLPack. Freed by `free`, by its ``release()``, or when
            the last borrow of it dies.

        Raises
        ------
        OutOfMemoryError
            The system or a limit refused.
        InvalidArgumentError
            `align` is no power of two, `size` is negative, or the heap is closed.
        """
        if size < 0:
            raise InvalidArgumentError(f"size must not be negative, it is {size}")
        if align < 1 or align & (align - 1):
            raise InvalidArgumentError(f"align must be a power of two, it is {align}")
        try:
            buffer = self._core.allocate(min(size, _MOST), min(align, _MOST))
        finally:
            settle()
        return buffer

    def array(
        self,
        shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: npt.DTypeLike = "f8",
        *,
        align: int = 64,
        zero: bool = False,
    ) -> np.ndarray[Any, Any]:
        """Get a NumPy array that lives on this heap.

        Parameters
        ----------
        shape : int or sequence of int
            C order.
        dtype : data type
            Anything but one that holds Python objects.
        align : int
            Alignment of element 0 [bytes]; a power of two.
        zero : bool
            Fill with zero bytes; else the content is undefined.

        Returns
        -------
        ndarray, shape `shape`
            Borrows its block: the memory is freed when the last view of it dies, and `close`
            raises BusyError before.

        Raises
        ------
        OutOfMemoryError, InvalidArgumentError
            As `allocate`; also for a dtype that holds objects or a negative length.
        """
        import numpy as np

        kind = np.dtype(dtype)
        if kind.hasobject:
            raise InvalidArgumentError(f"dtype {kind} holds Python objects; use plain data")
        if hasattr(shape, "__index__"):
            shape = (operator.index(shape),)
        lengths = tuple(operator.index(length) for length in shape)
        if any(length < 0 for length in lengths):
            raise InvalidArgumentError(f"shape must not be negative, it is {lengths}")
        size = math.prod(lengths) * kind.itemsize
        # One byte at least: NumPy does not take an empty buffer.
        data = np.frombuffer(memoryview(self.allocate(max(size, 1), align)), dtype=np.uint8)[:size]
        if zero:
            data[:] = 0
        return np.ndarray(lengths, dtype=kind, buffer=data)

    def _array_handler(self) -> tuple[_core.ArrayHandler, Source]:
        handler = _core.heap_handler(self._core)
        return handler, Source("heap", self.name, self.id, weakref.ref(self))

    def free(self, buffer: Buffer) -> None:
        """Free a block of this heap now.

        Parameters
        ----------
        buffer : Buffer
            From this heap, not yet released, without living borrows.

        Raises
        ------
        BusyError
            A view of it lives.
        InvalidArgumentError
            It was released before, or belongs to another heap.
        """
        self._core.free(buffer)
        settle()

    def resize(self, buffer: Buffer, size: int) -> None:
        """Change the size of a block; it may move, its content and alignment stay.

        Parameters
        ----------
        buffer : Buffer
            From this heap, without living borrows.
        size : int
            New size [bytes]; bytes that are new have undefined content.

        Raises
        ------
        OutOfMemoryError
            The block is as it was.
        BusyError, InvalidArgumentError
            As `free`.
        """
        if size < 0:
            raise InvalidArgumentError(f"size must not be negative, it is {size}")
        try:
            self._core.resize(buffer, min(size, _MOST))
        finally:
            settle()

    def stats(self) -> Stats:
        """Get the figures of this heap; exact at rest."""
        return from_row(self._core.stats())

    def classes(self) -> list[ClassStats]:
        """Get the figures of every size class of the small tier, smallest first."""
        return [ClassStats(*row) for row in self._core.classes()]

    def view(self) -> list[Block]:
        """See every block without owning any.

        Returns
        -------
        list of Block
            In address order within an owner; each was true when its slab was read.
        """
        return [Block(*row) for row in self._core.view()]

    def check(self) -> int:
        """Verify every block; damage is reported.

        Returns
        -------
        int
            Damaged blocks found by this walk.

        Raises
        ------
        CorruptionError
            Damage was found and the policy is ``raise``.
        """
        damaged = self._core.check()
        settle()
        return damaged

    def health(self) -> Health:
        """Tell how this heap is: pools by state, and a verdict."""
        return judge(self.stats())

    def reclaim(self) -> int:
        """Give free memory back to the system.

        Returns
        -------
        int
            Bytes given back.
        """
        given = self._core.reclaim()
        settle()
        return given

    def limit(
        self,
        bytes: str | int | None,
        *,
        soft: str | int | None = None,
        on_soft: OnSoft | None = None,
    ) -> None:
        """Change the limits of this heap; parameters and errors as `holdfast.limit`."""
        set_limit(self, bytes, soft, on_soft)

    def close(self) -> None:
        """Free every block and the heap; again does nothing.

        Raises
        ------
        BusyError
            Views of its blocks live; the heap stays open. ``error.count`` says how many.
        """
        if self._core.closed:
            return
        borrows = self._core.close()
        if borrows:
            raise BusyError(
                f"{borrows} borrow{'s' if borrows > 1 else ''} of this heap's memory live: "
                "drop the arrays and memoryviews, then close",
                borrows,
            )
        settle()

    def __repr__(self) -> str:
        if self.closed:
            return "<holdfast.Heap, closed>"
        label = f" {self.name!r}" if self.name else ""
        return f"<holdfast.Heap{label} #{self.id}, {self.borrows} borrows>"


def default_heap() -> Heap:
    """Get the heap of the whole process: what `malloc` uses under ``holdfast run``.

    Returns
    -------
    Heap
        It cannot be closed.
    """
    return _default


# One object for all who ask: it keeps the callback of its soft limit.
_default = Heap.__new__(Heap)
Limited.__init__(_default, _core.default_heap())
