"""ring.py - a stream between processes: one writes, many read, each at its own pace.

    ring.push(values) ──► positions 0, 1, 2, ... ──► ring.reader().pop(count): each gets all

Invariants  received + lost = positions gone past, exactly, for every reader.
Talks to    holdfast._shm.   Called by segment.py.
Threads     one at a time on a ring object and on a reader.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast import _shm
from holdfast.errors import InvalidArgumentError
from holdfast.options import parse_size
from holdfast.shm.array import close_lent
from holdfast.shm.dtypes import element_dtype, format_of
from holdfast.shm.errors import EmptyError, StaleError
from holdfast.shm.handle import Handle
from holdfast.shm.structure import mode_number, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from holdfast.shm.records import Entry
    from holdfast.shm.segment import Segment

__all__ = ["ReaderInfo", "Ring", "RingReader"]


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """One reader of a ring, of any process."""

    index: int
    participant: int
    position: int
    """Of the next element it gets."""
    lag: int
    """Elements written and not yet read by it."""
    lost: int
    lossy: bool
    """The writer of a reliable ring does not wait for it."""
    alive: bool


class Ring(Handle):
    """The last `capacity` elements of a stream.

    By default the writer never waits and overwrites the oldest; a `reliable` ring waits for the
    slowest living reader.
    """

    __slots__ = ("dtype",)

    dtype: np.dtype[Any]

    @classmethod
    def _make(
        cls,
        segment: Segment,
        name: str,
        capacity: int,
        dtype: npt.DTypeLike | None,
        size: int | str | None,
        reliable: bool,
        readers: int,
        mode: str,
    ) -> Self:
        if dtype is not None and size is not None:
            raise InvalidArgumentError("give one of dtype= and size=")
        text, element_size = (
            format_of("f8" if dtype is None else dtype)
            if size is None
            else ("", parse_size(size, "size"))
        )
        core = _shm.ring_open(
            segment._core,
            name,
            mode_number(mode),
            element_size,
            whole("capacity", capacity),
            reliable,
            whole("readers", readers, 32),
            text,
            False,
        )
        return cls._typed(segment, name, core, text, element_size)

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        core = _shm.ring_open(segment._core, entry.name, 0, 0, 0, False, 0, "", True)
        return cls._typed(segment, entry.name, core, entry.format, core.element_size)

    @classmethod
    def _typed(cls, segment: Segment, name: str, core: Any, text: str, size: int) -> Self:
        self = cls._wrap(segment, name, core)
        self.dtype = element_dtype(text, size)
        return self

    def _elements(self, values: npt.ArrayLike) -> Any:
        import numpy as np

        if self.dtype.kind == "V" and self.dtype.names is None:
            return values  # bytes, whatever they are
        made = np.asarray(values, self.dtype, order="C")
        if made.ndim > 1:
            raise InvalidArgumentError(f"one element or one dimension, not shape {made.shape}")
        return made.reshape(-1).view("u1")

    # --- writing ------------------------------------------------------------------------------

    def push(self, values: npt.ArrayLike, timeout: float | None = None) -> int:
        """Write one element or a one-dimensional array of them.

        Parameters
        ----------
        values : array_like
            Of the ring's dtype.
        timeout : float, optional
            Reliable: longest wait for readers [s]; as long as it takes if not given.

        Returns
        -------
        int
            Elements that went in before the time was over.

        Raises
        ------
        BusyError
            Another living process writes it.
        """
        return int(self._core.push(self._elements(values), timeout))

    @contextlib.contextmanager
    def writing(self, count: int, timeout: float | None = None) -> Iterator[np.ndarray[Any, Any]]:
        """Fill up to `count` next elements in place; readers see them when the block ends.

        Yields
        ------
        ndarray, shape (n,)
            n is `count`, or fewer at the end of the ring's memory. Read-only after the block.

        Raises
        ------
        BusyError
            A view of the array is alive when the block ends: nothing is written.
        """
        import numpy as np

        memory, got = self._core.reserve(count, timeout)
        array: np.ndarray[Any, Any] = np.ndarray((got,), self.dtype, memory)
        try:
            yield array
            close_lent(array)
        except BaseException:
            self._core.commit(0)
            raise
        self._core.commit(got)

    def claim(self) -> None:
        """Become the writer, which the first push does by itself."""
        self._core.claim()

    def release(self) -> None:
        """Let another write."""
        self._core.release()

    # --- reading ------------------------------------------------------------------------------

    def reader(self, start: str | int = "oldest", *, lossy: bool = False) -> RingReader:
        """Begin to read.

        Parameters
        ----------
        start : {'oldest', 'newest'} or int
            Everything that is still there; what is written from now on; from a position.
        lossy : bool
            The writer of a reliable ring does not wait for this one.

        Raises
        ------
        OutOfMemoryError
            As many readers as the ring was made for are open.
        """
        choices = {"oldest": 0, "newest": 1}
        if isinstance(start, str):
            if start not in choices:
                raise InvalidArgumentError(
                    f"start is 'oldest', 'newest' or a number, not {start!r}"
                )
            return RingReader(self, _shm.reader_open(self._core, choices[start], 0, lossy))
        return RingReader(self, _shm.reader_open(self._core, 2, whole("start", start), lossy))

    def latest(self, count: int) -> np.ndarray[Any, Any]:
        """Copy the newest elements, up to `count`, the oldest of them first."""
        import numpy as np

        made = np.empty(min(count, self.capacity), self.dtype)
        got, _ = self._core.latest(made.view("u1"))
        return made[:got]

    def read_at(self, position: int, count: int) -> np.ndarray[Any, Any]:
        """Copy elements from a position on.

        Raises
        ------
        StaleError
            They are overwritten.
        EmptyError
            They are not yet written.
        """
        import numpy as np

        made = np.empty(min(count, self.capacity), self.dtype)
        return made[: self._core.read_at(position, made.view("u1"))]

    # --- the ring -----------------------------------------------------------------------------

    @property
    def capacity(self) -> int:
        """Elements it holds."""
        return int(self._core.capacity)

    @property
    def reliable(self) -> bool:
        """True if the writer waits for readers."""
        return bool(self._core.reliable)

    @property
    def total_written(self) -> int:
        """Elements that were ever written: the position of the next one."""
        return int(self._core.total_written)

    @property
    def oldest(self) -> int:
        """Position of the oldest element that is there."""
        return int(self._core.oldest)

    @property
    def writer(self) -> int | None:
        """Index of the participant that writes; None: nobody."""
        found: int | None = self._core.writer()
        return found

    def readers(self) -> list[ReaderInfo]:
        """See the readers, of all processes."""
        return [ReaderInfo(*row) for row in self._core.readers()]


class RingReader:
    """A place in the stream; made by `Ring.reader`."""

    __slots__ = ("__weakref__", "_core", "_ring")

    def __init__(self, ring: Ring, core: Any) -> None:
        self._ring, self._core = ring, core
        ring.segment._note(self)

    def pop(self, count: int = 1, timeout: float | None = None) -> np.ndarray[Any, Any]:
        """Wait for the next element, then take what is there, up to `count`.

        Returns
        -------
        ndarray, shape (n,)
            Of this process alone. Elements that were overwritten before are counted in `lost`.

        Raises
        ------
        EmptyError
            Nothing was written for `timeout` seconds.
        """
        made = self._room(count)
        if len(made) == 0:
            return made
        got, _ = self._core.pop(made.view("u1"), timeout)
        if got == 0:
            raise EmptyError(f"nothing was written to ring {self._ring.name!r} in time")
        return made[:got]

    def _room(self, count: int) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.empty(min(count, self._ring.capacity), self._ring.dtype)

    def peek(self, count: int = 1) -> np.ndarray[Any, Any]:
        """Copy what is there, up to `count`, and stay: the next `pop` brings it again."""
        made = self._room(count)
        return made[: self._core.peek(made.view("u1")) if len(made) else 0]

    @contextlib.contextmanager
    def viewing(self, count: int = 1) -> Iterator[np.ndarray[Any, Any]]:
        """Look at the next elements in place, without a copy, and go past them at the end.

        Yields
        ------
        ndarray, shape (n,)
            What is there in one run, up to `count`; read-only. In a reliable ring it stays until
            the block ends. If the block raises, the elements stay unread.

        Raises
        ------
        StaleError
            At the end of the block: the writer has overwritten some of them meanwhile. What was
            read is no good; those that are gone are counted in `lost`.
        """
        import numpy as np

        memory, got = self._core.view(count)
        dtype = self._ring.dtype
        yield np.empty(0, dtype) if memory is None else np.ndarray((got,), dtype, memory)
        lost = self._core.advance(got)
        if lost:
            raise StaleError(
                f"the first {lost} of {got} elements of ring {self._ring.name!r} were overwritten "
                "meanwhile"
            )

    def wait(self, count: int = 1, timeout: float | None = None) -> bool:
        """Wait until `count` elements can be read; False if not in `timeout` seconds."""
        return bool(self._core.wait(count, timeout))

    def seek(self, position: int) -> None:
        """Go to a position; what lies between is not counted as lost."""
        self._core.seek(position)

    @property
    def position(self) -> int:
        """Of the next element."""
        return int(self._core.position)

    @property
    def lag(self) -> int:
        """Elements written and not yet read."""
        return int(self._core.lag)

    @property
    def lost(self) -> int:
        """Elements it never got."""
        return int(self._core.lost)

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return bool(self._core.closed)

    def close(self) -> None:
        """Stop reading; a reliable writer does not wait for it any more.

        Raises
        ------
        BusyError
            Another thread is inside a call.
        """
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        """Elements one after another, waiting for each; who stops has lost none."""
        while True:
            yield self.pop()[0]
