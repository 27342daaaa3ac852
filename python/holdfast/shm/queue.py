"""queue.py - queues between processes: of bytes, of records with a dtype, of Python objects.

    segment.queue("jobs", 1024, size=4096)      BytesQueue     put(b"...")
    segment.queue("ticks", 4096, dtype="f8")    RecordQueue    put(1.5), put_many(array)
    segment.queue("work", 64, size="1 MiB", objects=True)      ObjectQueue    put(anything)

Invariants  first in, first out per producer; what a killed process had not finished putting was
            never put; what one had in hand is gone, or comes again with `redeliver`.
Talks to    holdfast._shm.Queue, whose methods are the hot path.   Called by segment.py.
Threads     any; with `single`, one producer and one consumer.
Source      pickle protocol 5, PEP 574: large buffers are written to their place, not copied twice.
"""

from __future__ import annotations

import contextlib
import pickle
import struct
import time
from typing import TYPE_CHECKING, Any

from holdfast import _shm
from holdfast.errors import InvalidArgumentError
from holdfast.options import parse_size
from holdfast.shm.dtypes import element_dtype, format_of
from holdfast.shm.errors import EmptyError, FullError, LayoutError
from holdfast.shm.structure import Structure, mode_number, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from holdfast.shm.records import Entry
    from holdfast.shm.segment import Segment

__all__ = ["BytesQueue", "ObjectQueue", "Queue", "RecordQueue"]

_RECORDS, _BYTES = 0, 1
_PICKLE = "pickle"


class Queue(_shm.Queue, Structure):
    """What the three kinds have in common; made by `Segment.queue`.

    ``len(queue)`` is the number of items in it, those being written or read included.
    """

    __slots__ = ("_name", "_segment")

    _segment: Segment
    _name: str

    @classmethod
    def _make(
        cls,
        segment: Segment,
        name: str,
        mode: str,
        items: int,
        element_size: int,
        capacity: int,
        flags: tuple[bool, bool],
        form: str | None,
    ) -> Any:
        self = cls(
            segment._core,
            name,
            mode_number(mode),
            items,
            element_size,
            whole("capacity", capacity),
            int(flags[0]),
            int(flags[1]),
            form,
        )
        self._segment = segment
        self._name = name
        segment._note(self)
        return self

    @staticmethod
    def _from_entry(segment: Segment, entry: Entry) -> Queue:
        made = {"": BytesQueue, _PICKLE: ObjectQueue}.get(entry.format, RecordQueue)
        queue: Queue = made._make(segment, entry.name, "open", 0, 0, 0, (False, False), None)
        if isinstance(queue, RecordQueue):
            queue._set_dtype(element_dtype(entry.format, entry.element_size))
        return queue

    @property
    def capacity(self) -> int:
        """Items it can hold."""
        return self._options[2]

    @property
    def element_size(self) -> int:
        """Of an item, or the most [bytes]."""
        return self._options[1]

    @property
    def single(self) -> bool:
        """True if it is for one producer and one consumer."""
        return bool(self._options[3])

    @property
    def redeliver(self) -> bool:
        """True if what a killed consumer had in hand comes again."""
        return bool(self._options[4])

    def put_many(self, items: Any, timeout: float | None = None) -> int:
        """Put items one after another; returns how many went in before the time was over."""
        end = None if timeout is None else time.monotonic() + timeout
        done = 0
        for item in items:
            try:
                self.put(item, timeout=timeout)
            except FullError:
                break
            done += 1
            if end is not None:
                timeout = max(end - time.monotonic(), 0.0)
        return done

    def put_nowait(self, item: Any) -> None:
        """Put one item; FullError (a `queue.Full`) if there is no room now."""
        self.put(item, timeout=0)

    def get_nowait(self) -> Any:
        """Take the oldest item; EmptyError (a `queue.Empty`) if there is none now."""
        return self.get(timeout=0)

    def qsize(self) -> int:
        """Items in it."""
        return len(self)

    def empty(self) -> bool:
        """True if there is nothing in it now."""
        return len(self) == 0

    def full(self) -> bool:
        """True if there is no room now."""
        return len(self) >= self.capacity


class BytesQueue(Queue):
    """A queue of bytes of any length up to `element_size`.

    The methods are those of ``holdfast._shm.Queue``: a message costs one call of C.
    """

    __slots__ = ()


class RecordQueue(Queue):
    """A queue of elements of one dtype."""

    __slots__ = ("dtype",)

    dtype: np.dtype[Any]

    def _set_dtype(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def _bytes_of(self, item: npt.ArrayLike) -> np.ndarray[Any, Any]:
        import numpy as np

        made = np.asarray(item, self.dtype)
        if made.ndim != 0:
            raise InvalidArgumentError(
                f"put takes one element, not an array of shape {made.shape}; put_many takes many"
            )
        return made.reshape(1).view("u1")

    def put(self, item: npt.ArrayLike, /, timeout: float | None = None) -> None:
        """Put one element; wait up to `timeout` seconds."""
        super().put(self._bytes_of(item), timeout=timeout)

    def try_put(self, item: npt.ArrayLike, /) -> bool:
        """Put one element if there is room now; says whether."""
        return super().try_put(self._bytes_of(item))

    def get(self, timeout: float | None = None) -> Any:
        """Take the oldest element; a scalar of the dtype."""
        import numpy as np

        return np.frombuffer(super().get(timeout=timeout), self.dtype)[0]

    def try_get(self) -> Any:
        """Take the oldest element, or None if there is none now."""
        import numpy as np

        found = super().try_get()
        return None if found is None else np.frombuffer(found, self.dtype)[0]

    def put_many(self, items: npt.ArrayLike, timeout: float | None = None) -> int:
        """Put the elements of a one-dimensional array; returns how many went in in time."""
        import numpy as np

        made = np.ascontiguousarray(items, self.dtype)
        if made.ndim != 1:
            raise InvalidArgumentError(f"put_many takes one dimension, not shape {made.shape}")
        return self.put_block(made.view("u1"), timeout=timeout)

    def get_many(self, count: int, /, timeout: float | None = None) -> Any:
        """Wait for the first element, then take what is there, up to `count`.

        Returns
        -------
        ndarray, shape (n,)
            Of this process alone.
        """
        import numpy as np

        made = np.empty(min(count, self.capacity), self.dtype)
        return made[: self.get_block(made.view("u1"), timeout=timeout)]

    @contextlib.contextmanager
    def reserve_array(self, timeout: float | None = None) -> Iterator[np.ndarray[Any, Any]]:
        """Write the next element in place.

        Yields
        ------
        ndarray, shape (1,)
            Put when the block ends, in which its name is to be deleted (``del``).

        Raises
        ------
        FullError
            No room in time.
        BusyError
            The array is alive at the end: nothing is put.
        """
        import numpy as np

        with self.reserve(0, timeout=timeout) as slot:
            yield np.frombuffer(memoryview(slot), self.dtype)


class ObjectQueue(Queue):
    """A queue of Python objects, pickled into place.

    Only between processes that trust each other: unpickling runs code of the sender's choice.
    """

    __slots__ = ()

    # count of buffers, then the length of the pickle and of each buffer
    _HEAD = struct.Struct("<4sI")
    _MAGIC = b"HFO1"

    def _parts(self, item: Any) -> list[Any]:
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(item, protocol=5, buffer_callback=buffers.append)
        raw = [buffer.raw() for buffer in buffers]
        lengths = struct.pack(f"<{1 + len(raw)}Q", len(pickled), *(view.nbytes for view in raw))
        parts: list[Any] = [self._HEAD.pack(self._MAGIC, len(raw)) + lengths, pickled]
        at = len(parts[0]) + len(pickled)
        for view in raw:
            parts += [bytes(-at % 64), view]  # arrays start where vectors like them
            at += -at % 64 + view.nbytes
        return parts

    def put(self, item: Any, /, timeout: float | None = None) -> None:
        """Put one object; wait up to `timeout` seconds.

        Raises
        ------
        FullError
            No room in time (a `queue.Full`).
        InvalidArgumentError
            Pickled, it is larger than an item may be; the message says how large.
        """
        self.put_parts(self._parts(item), timeout=timeout)

    def try_put(self, item: Any, /) -> bool:
        """Put one object if there is room now; says whether."""
        try:
            self.put_parts(self._parts(item), timeout=0)
        except FullError:
            return False
        return True

    def _load(self, memory: memoryview, *, copy: bool) -> Any:
        size = self._HEAD.size
        magic, count = self._HEAD.unpack_from(memory) if len(memory) >= size else (b"", 0)
        if magic != self._MAGIC or size + 8 * (count + 1) > len(memory):
            raise LayoutError(f"an item of queue {self._name!r} is no pickled object")
        lengths = struct.unpack_from(f"<{count + 1}Q", memory, size)
        at = size + 8 * (count + 1)
        pickled = memory[at : at + lengths[0]]
        at += lengths[0]
        buffers: list[Any] = []
        for length in lengths[1:]:
            at += -at % 64
            view = memory[at : at + length]
            if view.nbytes != length:
                raise LayoutError(f"an item of queue {self._name!r} is cut short")
            buffers.append(bytearray(view) if copy else view)
            at += length
        return pickle.loads(pickled, buffers=buffers)

    def get(self, timeout: float | None = None) -> Any:
        """Take the oldest object; wait up to `timeout` seconds."""
        return self._take(timeout)

    def try_get(self, default: Any = None) -> Any:
        """Take the oldest object, or `default` if there is none now."""
        try:
            return self._take(0)
        except EmptyError:
            return default

    def _take(self, timeout: float | None) -> Any:
        slot = self.peek(timeout=timeout)
        with slot, memoryview(slot) as memory:
            return self._load(memory, copy=True)

    @contextlib.contextmanager
    def borrow(self, timeout: float | None = None) -> Iterator[Any]:
        """Take the oldest object with its arrays in place, for the time of the block.

        Yields
        ------
        object
            Its arrays lie in the queue: its name is to be deleted (``del``) in the block.

        Raises
        ------
        EmptyError
            Nothing came in time.
        BusyError
            An array of it is alive at the end; it would show the next item.
        """
        slot = self.peek(timeout=timeout)
        item = self._load(memoryview(slot), copy=False)
        yield item  # if the block raises, the slot goes back when the traceback lets it go
        del item
        slot.release()

    def get_many(self, count: int, /, timeout: float | None = None) -> list[Any]:
        """Wait for the first object, then take what is there, up to `count`."""
        items = [self.get(timeout=timeout)] if count > 0 else []
        nothing = object()
        while len(items) < count:
            item = self.try_get(nothing)
            if item is nothing:
                break
            items.append(item)
        return items


def make(
    segment: Segment,
    name: str,
    capacity: int,
    size: int | str | None,
    dtype: npt.DTypeLike | None,
    objects: bool,
    single: bool,
    redeliver: bool,
    mode: str,
) -> Queue:
    """Make or open a queue of the kind that the arguments say; see `Segment.queue`."""
    flags = (single, redeliver)
    if dtype is not None:
        if objects or size is not None:
            raise InvalidArgumentError("give one of dtype, size, and size with objects=True")
        form, element_size = format_of(dtype)
        made: RecordQueue = RecordQueue._make(
            segment, name, mode, _RECORDS, element_size, capacity, flags, form
        )
        made._set_dtype(element_dtype(form, element_size))
        return made
    if size is None:
        raise InvalidArgumentError("give dtype=, or size= (the most bytes of an item)")
    kind = ObjectQueue if objects else BytesQueue
    form = _PICKLE if objects else ""
    queue: Queue = kind._make(
        segment, name, mode, _BYTES, parse_size(size, "size"), capacity, flags, form
    )
    return queue
