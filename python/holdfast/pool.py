"""pool.py - object pools: blocks of one size, made once and used again and again.

Invariants  a released block is shown by no view: release is refused while one lives; a handle that
            dies gives its block back, a pool that dies its memory.
Talks to    holdfast._core (whose types do the work); NumPy where a dtype is given.
Threads     every method may be called from any thread; a wait gives the GIL back.
"""

from __future__ import annotations

import operator
import weakref
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from holdfast import _core
from holdfast.errors import BusyError, InvalidArgumentError
from holdfast.safe_point import settle
from holdfast.source import Source
from holdfast.stats import Block, Stats, from_row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Pool", "PoolFigures", "PoolHandle"]

PoolHandle = _core.PoolHandle

_EXHAUSTED = {"grow": 0, "raise": 1, "wait": 2}
_SANITIZE = {None: 0, "zero": 1, "pattern": 2}
_LONGEST = 1e9  # seconds of a wait that is told from one without end


class PoolFigures(NamedTuple):
    """What is particular to a pool, beside its `Stats`."""

    block_size: int
    """Bytes that were asked for."""
    stride: int
    """From one block to the next [bytes]."""
    alignment: int
    capacity: int
    """0: no bound."""
    blocks: int
    """Made so far, whatever their state."""
    blocks_live: int
    blocks_cached: int
    """Free, in magazines of threads."""
    blocks_free: int
    """Free, in slabs."""
    blocks_quarantined: int
    slab_blocks: int
    """Blocks of a whole slab."""
    taken_back: int
    """Blocks taken out of the magazines of other threads."""
    waits: int
    wait_ns: int
    timeouts: int
    refusals: int
    """Acquires that failed, timeouts included."""


class Pool(_core.Pool):
    """A pool of blocks of one size, or of records of one dtype.

    Parameters
    ----------
    block : int or data type
        Bytes of a block, 1 to 1,048,576; or a NumPy dtype without Python objects, structured or
        not, for `PoolHandle.array` and `PoolHandle.record`.
    capacity : int, optional
        Blocks that can be out at once; exact. Without it the pool grows.
    on_exhausted : {"grow", "raise", "wait"}
        What `acquire` does then: makes more, raises OutOfMemoryError, or waits for a release, first
        come first served.
    timeout : float, optional
        Longest wait [s]; WaitTimeoutError after it. As long as it takes if not given.
    sanitize : {None, "zero", "pattern"}
        What `release` does with the content: nothing; zeroes it, so that acquired blocks are zero;
        fills it, and a write after release is found by the next acquire and reported.
    align : int, optional
        Of every block [bytes]; a power of two up to 4096. 16 if not given, and the size's own for
        blocks smaller than that.
    grow : int
        Blocks made at a time; 0: the pool chooses.
    node : int, optional
        NUMA node of the blocks.
    name : str
        For reports; 31 bytes are kept.
    buffer : writable buffer, optional
        The blocks lie in this memory (a bytearray, an mmap, a Buffer of an arena), which the pool
        keeps: `capacity` of them, or as many as fit. It does not grow: ``"grow"`` is ``"raise"``.
    resource : resource of `holdfast.mr`, Heap or Arena, optional
        The same, in memory of this for `capacity` blocks.

    Raises
    ------
    InvalidArgumentError
        A value is out of range; "raise" or "wait" without a capacity; a dtype with objects; a
        buffer that is too small.
    OutOfMemoryError
        The system refused address space.

    Examples
    --------
    >>> import numpy as np
    >>> particle = np.dtype([("position", "f4", 3), ("alive", "?")])
    >>> with Pool(particle, capacity=1000, on_exhausted="raise") as pool:
    ...     with pool.acquire() as handle:
    ...         handle.record["position"] = 1, 2, 3

    Source: object pools of the Shimmer design; magazines, Bonwick and Adams 2001.
    """

    __slots__ = ("_dtype",)

    _dtype: np.dtype[Any] | None

    def __init__(
        self,
        block: int | npt.DTypeLike,
        capacity: int | None = None,
        on_exhausted: Literal["grow", "raise", "wait"] = "grow",
        timeout: float | None = None,
        sanitize: Literal["zero", "pattern"] | None = None,
        *,
        align: int | None = None,
        grow: int = 0,
        node: int | None = None,
        name: str = "",
        buffer: Any = None,
        resource: Any = None,
    ) -> None:
        if on_exhausted not in _EXHAUSTED:
            raise InvalidArgumentError(f"on_exhausted is grow, raise or wait, not {on_exhausted!r}")
        if sanitize not in _SANITIZE:
            raise InvalidArgumentError(f"sanitize is None, zero or pattern, not {sanitize!r}")
        if timeout is not None and (not timeout > 0 or on_exhausted != "wait"):
            raise InvalidArgumentError('timeout is above 0 and needs on_exhausted="wait"')
        if capacity is not None and capacity < 1:
            raise InvalidArgumentError(f"capacity must be at least 1, it is {capacity}")
        if resource is not None and (buffer is not None or capacity is None):
            raise InvalidArgumentError("resource= needs a capacity, and no buffer")
        if capacity is None and on_exhausted != "grow" and buffer is None:
            raise InvalidArgumentError(f'on_exhausted="{on_exhausted}" needs a capacity')
        make_array = make_record = None
        self._dtype = None
        size = _bytes_of(block)
        if size is not None:
            align = 0 if align is None else align
        else:
            self._dtype, make_array, make_record = _makers(cast("npt.DTypeLike", block))
            size = self._dtype.itemsize
            natural = 16 if size >= 16 else 0
            align = max(self._dtype.alignment, natural) if align is None else align
        bound = 0 if capacity is None else capacity
        sizes = (("block_size", size), ("align", align), ("grow", grow), ("capacity", bound))
        for word, value in sizes:
            if not 0 <= value < 1 << 62:
                raise InvalidArgumentError(f"{word} is out of range: {value}")
        if node is not None and not -1 <= node < 1 << 31:
            raise InvalidArgumentError(f"node is out of range: {node}")
        if resource is not None:
            from holdfast import mr

            needed = _core.pool_buffer_size(size, align, bound, grow)  # 0: refused below
            buffer = memoryview(mr.resource_of(resource).alloc(needed, align=64))
        super().__init__(
            size,
            align,
            bound,
            grow,
            _EXHAUSTED[on_exhausted],
            0 if timeout is None or timeout > _LONGEST else max(1, int(timeout * 1e9)),
            _SANITIZE[sanitize],
            -1 if node is None else node,
            name,
            make_array,
            make_record,
            settle,
            buffer,
        )

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Of the records; None for a pool of raw blocks."""
        return self._dtype

    def stats(self) -> Stats:
        """Get the account of this pool, and its slabs by state; exact at rest."""
        return from_row(self._stats())

    def figures(self) -> PoolFigures:
        """Get the figures that only pools have: blocks by state, waits, what was taken back."""
        return PoolFigures(*self._figures())

    def view(self) -> list[Block]:
        """See every block that was made, in address order; ``owner`` is the number of its slab."""
        return [Block(*row) for row in self._view()]

    def check(self) -> int:
        """Verify the pool's bookkeeping, and with ``sanitize="pattern"`` every free block.

        Returns
        -------
        int
            How much damage this check found; each was reported.

        Raises
        ------
        CorruptionError
            Damage was found and the policy is ``raise``.
        """
        found = self._check()
        settle()
        return found

    def close(self) -> None:
        """Give the pool's memory back; again does nothing.

        Raises
        ------
        BusyError
            Blocks are out; the pool stays open. ``error.count`` says how many.
        """
        live = self._close()
        if live:
            raise BusyError(
                f"{live} block{'s are' if live > 1 else ' is'} out of the pool: release "
                f"{'them' if live > 1 else 'it'}, then close",
                live,
            )

    def _array_handler(self) -> tuple[_core.ArrayHandler, Source]:
        from holdfast import mr

        handler, source = mr.Pool(self)._array_handler()
        return handler, source._replace(ref=weakref.ref(self))

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            # An error is on its way: it must not be hidden by BusyError. The memory goes with the
            # last handle if there is one.
            self._close()

    def __repr__(self) -> str:
        if self.closed:
            return "<holdfast.Pool, closed>"
        label = f" {self.name!r}" if self.name else ""
        return f"<holdfast.Pool{label} of {self.block_size} bytes, {len(self)} out>"


def _bytes_of(block: Any) -> int | None:
    """A number of bytes; None for a dtype. NumPy's integers are numbers, not dtypes by example."""
    if block is None:
        raise InvalidArgumentError("block: give a number of bytes or a dtype")
    try:
        return operator.index(block)
    except TypeError:
        return None


def _makers(kind: npt.DTypeLike) -> tuple[np.dtype[Any], Any, Any]:
    """The dtype, and how a handle's block is shown as an array and as a record."""
    import numpy as np

    dtype = np.dtype(kind)
    if dtype.hasobject:
        raise InvalidArgumentError(f"dtype {dtype} holds Python objects; use plain data")
    if dtype.itemsize == 0:
        raise InvalidArgumentError(f"dtype {dtype} has no bytes")
    # frombuffer makes a memoryview, and with it the borrow, the base of what it returns.
    frombuffer: Any = np.frombuffer
    shape = dtype.shape

    def make_array(handle: PoolHandle) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = frombuffer(handle, dtype, 1).reshape(shape)
        return array

    def make_record(handle: PoolHandle) -> np.void:
        record: np.void = frombuffer(handle, dtype, 1)[0]
        return record

    return dtype, make_array, make_record if dtype.names else None
