"""pool.py - objects of one size between processes: taken, given back, passed on.

    pool.acquire() ──► PoolObject ──► memoryview, ndarray ──► release() │ pass it on by its handle

Invariants  an object belongs to one process at a time; what a killed one had is free again.
Talks to    holdfast._shm.   Called by segment.py.
Threads     any.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from holdfast import _shm
from holdfast.errors import BusyError, InvalidArgumentError
from holdfast.options import parse_size
from holdfast.shm.dtypes import element_dtype, format_of
from holdfast.shm.errors import StaleError
from holdfast.shm.handle import Handle
from holdfast.shm.structure import mode_number, whole

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from holdfast.shm.records import Entry
    from holdfast.shm.segment import Segment

__all__ = ["Pool", "PoolObject"]


class PoolObject:
    """An object of a pool that this process has."""

    __slots__ = ("_handle", "_memory", "_passed", "_pool")

    def __init__(self, pool: Pool, handle: int) -> None:
        self._pool, self._handle = pool, handle
        self._passed = False
        self._memory: weakref.ref[Any] | None = None  # alive while a view or array is

    @property
    def handle(self) -> int:
        """The same in every process; to be passed on, for instance through a queue."""
        return self._handle

    @property
    def pool(self) -> Pool:
        """Where it is from."""
        return self._pool

    def memory(self) -> memoryview:
        """See its bytes in place.

        Raises
        ------
        StaleError
            It was given back, or passed on.
        """
        made = self._memory() if self._memory is not None else None
        if made is None:
            made = None if self._passed else self._pool._core.memory(self._handle)
            if made is None:
                raise self._stale()
            self._memory = weakref.ref(made)
        return memoryview(made)

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """Its content in place: one element of the pool's dtype, shape ()."""
        import numpy as np

        made: np.ndarray[Any, Any] = np.ndarray((), self._pool.dtype, self.memory())
        return made

    def _stale(self) -> StaleError:
        return StaleError(f"the object was given back to pool {self._pool.name!r}, or passed on")

    def _let_go(self) -> None:
        if self._passed:
            raise self._stale()
        if self._memory is not None and self._memory() is not None:
            raise BusyError("views or arrays of the object are alive; delete them first")

    def release(self) -> None:
        """Give it back.

        Raises
        ------
        StaleError
            It was given back before, or passed on.
        BusyError
            Views or arrays of it are alive.
        """
        self._let_go()
        self._pool._core.release(self._handle)

    def pass_on(self) -> int:
        """After its handle was handed over: this process's death frees it no more.

        This object is stale from here; at the end of its `with` block nothing is given back.

        Returns
        -------
        int
            The handle; from now on it is the receiver's, who calls `Pool.adopt`.
        """
        self._let_go()
        self._pool._core.pass_on(self._handle)
        self._passed = True
        return self._handle

    def __reduce__(self) -> Any:
        raise TypeError(
            "an object of a pool has one owner: send its handle, call pass_on(), and let the "
            "receiver adopt it"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._passed:
            return
        try:
            self.release()
        except (BusyError, StaleError):
            if kind is None:
                raise


class Pool(Handle):
    """Objects of one size, each with at most one owner."""

    __slots__ = ("dtype",)

    dtype: np.dtype[Any]

    @classmethod
    def _make(
        cls,
        segment: Segment,
        name: str,
        capacity: int,
        size: int | str | None,
        dtype: npt.DTypeLike | None,
        align: int,
        sanitize: bool,
        mode: str,
    ) -> Self:
        if (size is None) == (dtype is None):
            raise InvalidArgumentError("give one of size= and dtype=")
        if dtype is not None:
            text, object_size = format_of(dtype)
        else:
            text, object_size = "", parse_size(size, "size")
        core = _shm.pool_open(
            segment._core,
            name,
            mode_number(mode),
            whole("capacity", capacity),
            object_size,
            whole("align", align),
            sanitize,
            text,
        )
        return cls._typed(segment, name, core, text, object_size)

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        core = _shm.pool_open(segment._core, entry.name, 0, 0, 0, 0, False, None)
        return cls._typed(segment, entry.name, core, entry.format, core.object_size)

    @classmethod
    def _typed(cls, segment: Segment, name: str, core: Any, text: str, size: int) -> Self:
        self = cls._wrap(segment, name, core)
        self.dtype = element_dtype(text, size)
        return self

    def acquire(self, timeout: float | None = None) -> PoolObject:
        """Take an object.

        Raises
        ------
        EmptyError
            None came free in `timeout` seconds.
        """
        return PoolObject(self, self._core.acquire(timeout))

    def acquire_many(self, count: int, timeout: float | None = None) -> list[PoolObject]:
        """Wait for the first object, then take what is there, up to `count`."""
        handles = self._core.acquire_many(whole("count", count), timeout)
        return [PoolObject(self, handle) for handle in handles]

    def adopt(self, handle: int) -> PoolObject:
        """Take over an object whose handle was received.

        Raises
        ------
        StaleError
            Another process was faster, or its owner was killed before it was passed on.
        """
        return PoolObject(self, self._core.adopt(handle))

    def owner(self, handle: int) -> int | None:
        """Index of the participant that has an object; None while it is on its way."""
        found: int | None = self._core.owner(handle)
        return found

    def objects(self) -> list[tuple[int, int | None]]:
        """See every object that is out: handle and participant."""
        found: list[tuple[int, int | None]] = self._core.objects()
        return found

    @property
    def capacity(self) -> int:
        """Objects in all."""
        return int(self._core.capacity)

    @property
    def object_size(self) -> int:
        """Of an object [bytes]."""
        return int(self._core.object_size)

    @property
    def live(self) -> int:
        """Objects that are out."""
        return int(self._core.live)
