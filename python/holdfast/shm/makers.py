"""makers.py - one method per structure: makes it in a segment, or opens what is there.

Invariants  what is there must agree with what is asked for; MismatchError names both.
Talks to    the modules of the structures, each imported when it is first needed.
            Called by segment.py, whose Segment stands on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    import numpy.typing as npt

    from holdfast.shm.array import Array
    from holdfast.shm.cells import Cells
    from holdfast.shm.map import Map
    from holdfast.shm.pool import Pool
    from holdfast.shm.ring import Ring
    from holdfast.shm.segment import Segment
    from holdfast.shm.sync import Barrier, Event, Mutex, Semaphore
    from holdfast.shm.versioned import Versioned

    Mode = Literal["open", "create", "open_or_create"]

__all__ = ["Makers"]


class Makers:
    """The structures that a segment can hold."""

    __slots__ = ()

    @property
    def _this(self) -> Segment:
        return cast("Segment", self)

    def queue(
        self,
        name: str,
        capacity: int = 1024,
        *,
        size: int | str | None = None,
        dtype: npt.DTypeLike | None = None,
        objects: bool = False,
        single: bool = False,
        redeliver: bool = False,
        mode: Mode = "open_or_create",
    ) -> Any:
        """Make or open a queue: first in, first out, any number of producers and consumers.

        Parameters
        ----------
        name : str
            In this segment.
        capacity : int
            Items; rounded up to a power of two.
        size : int or str, optional
            The most bytes of an item: a queue of bytes, or with `objects` of pickled objects.
        dtype : DTypeLike, optional
            A queue of elements of this type.
        objects : bool
            Items are Python objects. Only between processes that trust each other.
        single : bool
            One producer and one consumer, faster; a second is refused.
        redeliver : bool
            What a killed consumer had in hand is delivered again, instead of lost.
        mode : {'open_or_create', 'open', 'create'}
            What to do if it is there, or is not.

        Returns
        -------
        BytesQueue, RecordQueue or ObjectQueue
        """
        from holdfast.shm import queue

        return queue.make(self._this, name, capacity, size, dtype, objects, single, redeliver, mode)

    def array(
        self,
        name: str,
        shape: int | tuple[int, ...],
        dtype: npt.DTypeLike = "f8",
        *,
        mode: Mode = "open_or_create",
    ) -> Array:
        """Make or open an array in place; a new one is zero.

        Parameters
        ----------
        name : str
            In this segment.
        shape : int or tuple of int
            C order, up to 8 dimensions.
        dtype : DTypeLike
            Of an element.
        mode : {'open_or_create', 'open', 'create'}
            What to do if it is there, or is not.
        """
        from holdfast.shm.array import Array

        return Array._make(self._this, name, shape, dtype, mode)

    def versioned(
        self,
        name: str,
        shape: int | tuple[int, ...],
        dtype: npt.DTypeLike = "f8",
        *,
        buffers: int = 2,
        mode: Mode = "open_or_create",
    ) -> Versioned:
        """Make or open an array that is replaced as a whole: one writes, many read.

        Parameters
        ----------
        name : str
            In this segment.
        shape : int or tuple of int
            C order, up to 8 dimensions.
        dtype : DTypeLike
            Of an element.
        buffers : int
            Copies that are kept, 2 to 64; with more, slow readers are disturbed less often.
        mode : {'open_or_create', 'open', 'create'}
            What to do if it is there, or is not.
        """
        from holdfast.shm.versioned import Versioned

        return Versioned._make(self._this, name, shape, dtype, buffers, mode)

    def ring(
        self,
        name: str,
        capacity: int = 1024,
        *,
        dtype: npt.DTypeLike | None = None,
        size: int | str | None = None,
        reliable: bool = False,
        readers: int = 16,
        mode: Mode = "open_or_create",
    ) -> Ring:
        """Make or open a stream: one writes, many read, each at its own pace.

        Parameters
        ----------
        name : str
            In this segment.
        capacity : int
            Elements that are kept.
        dtype : DTypeLike, optional
            Of an element, f8 if not given, or
        size : int or str, optional
            its bytes.
        reliable : bool
            The writer waits for the slowest living reader, instead of overwriting.
        readers : int
            That can be open at once.
        mode : {'open_or_create', 'open', 'create'}
            What to do if it is there, or is not.
        """
        from holdfast.shm.ring import Ring

        return Ring._make(self._this, name, capacity, dtype, size, reliable, readers, mode)

    def cells(
        self,
        name: str,
        count: int = 1,
        dtype: npt.DTypeLike = "i8",
        *,
        packed: bool = False,
        mode: Mode = "open_or_create",
    ) -> Cells:
        """Make or open numbers that any process changes in one step; new ones are 0.

        Parameters
        ----------
        name : str
            In this segment.
        count : int
            How many.
        dtype : {'i8', 'u8', 'i4', 'u4', 'f8'}
            Of each.
        packed : bool
            Side by side, instead of one per cache line.
        mode : {'open_or_create', 'open', 'create'}
            What to do if it is there, or is not.
        """
        from holdfast.shm.cells import Cells

        return Cells._make(self._this, name, count, dtype, packed, mode)

    def map(
        self,
        name: str,
        capacity: int = 1024,
        *,
        key: npt.DTypeLike | int = 64,
        value: npt.DTypeLike | int | str = 256,
        mode: Mode = "open_or_create",
    ) -> Map:
        """Make or open a map.

        Parameters
        ----------
        name : str
            In this segment.
        capacity : int
            Keys it has room for.
        key : int or DTypeLike
            The most bytes of a key, or the dtype of keys.
        value : int, str or DTypeLike
            The most bytes of a value (``"64 KiB"``), or the dtype of values.
        mode : {'open_or_create', 'open', 'create'}
            What to do if it is there, or is not.
        """
        from holdfast.shm.map import Map

        return Map._make(self._this, name, capacity, key, value, mode)

    def pool(
        self,
        name: str,
        capacity: int = 64,
        *,
        size: int | str | None = None,
        dtype: npt.DTypeLike | None = None,
        align: int = 0,
        sanitize: bool = False,
        mode: Mode = "open_or_create",
    ) -> Pool:
        """Make or open a pool of objects of one size, each of which has at most one owner.

        Parameters
        ----------
        name : str
            In this segment.
        capacity : int
            Objects.
        size : int or str, optional
            Of an object [bytes], or
        dtype : DTypeLike, optional
            what it is.
        align : int
            Power of two, 8 to 4096 [bytes]; 0: 64.
        sanitize : bool
            Zero what is given back.
        mode : {'open_or_create', 'open', 'create'}
            What to do if it is there, or is not.
        """
        from holdfast.shm.pool import Pool

        return Pool._make(self._this, name, capacity, size, dtype, align, sanitize, mode)

    def event(
        self,
        name: str,
        *,
        automatic: bool = False,
        is_set: bool = False,
        mode: Mode = "open_or_create",
    ) -> Event:
        """Make or open an event; `automatic`: one wait takes it; `is_set`: a new one is set."""
        from holdfast.shm.sync import Event

        return Event._make(self._this, name, automatic, is_set, mode)

    def semaphore(
        self,
        name: str,
        permits: int = 1,
        *,
        counted: bool = False,
        most: int = 0,
        mode: Mode = "open_or_create",
    ) -> Semaphore:
        """Make or open a semaphore.

        Parameters
        ----------
        name : str
            In this segment.
        permits : int
            All there are; `counted`: the first value.
        counted : bool
            A bare number: who releases need not have acquired, nothing comes back by itself.
        most : int
            Counted: beyond it `release` raises FullError; 0: no bound.
        mode : {'open_or_create', 'open', 'create'}
            What to do if it is there, or is not.
        """
        from holdfast.shm.sync import Semaphore

        return Semaphore._make(self._this, name, permits, counted, most, mode)

    def mutex(self, name: str, *, mode: Mode = "open_or_create") -> Mutex:
        """Make or open a mutex, which tells if its owner was killed."""
        from holdfast.shm.sync import Mutex

        return Mutex._make(self._this, name, mode)

    def barrier(
        self,
        name: str,
        parties: int,
        *,
        on_death: Literal["break", "go_on"] = "break",
        mode: Mode = "open_or_create",
    ) -> Barrier:
        """Make or open a barrier for `parties`; a death breaks the round, or is not waited for."""
        from holdfast.shm.sync import Barrier

        return Barrier._make(self._this, name, parties, on_death, mode)
