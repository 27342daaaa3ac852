"""array.py - an array that several processes have in memory at once.

Invariants  the ndarray keeps the structure open, the structure its segment: never a dangling array.
Talks to    holdfast._shm.   Called by segment.py.
Threads     any; an aligned element of up to 8 bytes is never torn, larger ones may be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, SupportsIndex

from holdfast import _shm
from holdfast.errors import BusyError, InvalidArgumentError
from holdfast.shm.dtypes import element_dtype, format_of
from holdfast.shm.handle import Handle
from holdfast.shm.structure import mode_number, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from holdfast.shm.records import Entry
    from holdfast.shm.segment import Segment

__all__ = ["Array", "Shaped", "close_lent", "shape_of"]


def shape_of(shape: SupportsIndex | Iterable[SupportsIndex]) -> tuple[int, ...]:
    """Check a shape; an integer is one dimension."""
    extents = shape if isinstance(shape, Iterable) else (shape,)
    made = tuple(whole("an extent", extent) for extent in extents)
    if not made or any(extent < 1 for extent in made):
        raise InvalidArgumentError(
            f"a shape has 1 to 8 dimensions with extents of 1 or more, not {made}"
        )
    return made


def close_lent(array: np.ndarray[Any, Any]) -> None:
    """End the time of an array that was lent to a block to be written: it is read-only now.

    Raises
    ------
    BusyError
        Somebody has a view of it, or kept it beside the name in the block.
    """
    array.flags.writeable = False
    # The caller's name, the name in the block, ours and the argument of getrefcount.
    if sys.getrefcount(array) > 4:
        raise BusyError("a view of the array is alive at the end of the block; delete it first")


class Shaped(Handle):
    """A structure with elements of one dtype in a shape."""

    __slots__ = ("dtype", "shape")

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def _typed(
        cls, segment: Segment, name: str, core: Any, shape: tuple[int, ...], text: str, size: int
    ) -> Self:
        self = cls._wrap(segment, name, core)
        self.dtype = element_dtype(text or ("|u1" if size == 1 else ""), size)
        self.shape = shape
        return self


class Array(Shaped):
    """Elements of one dtype, in place.

    ``array.ndarray`` is the NumPy array; indexing and ``np.asarray`` go there.
    """

    __slots__ = ()

    @classmethod
    def _make(
        cls,
        segment: Segment,
        name: str,
        shape: int | tuple[int, ...],
        dtype: npt.DTypeLike,
        mode: str,
    ) -> Self:
        text, size = format_of(dtype)
        checked = shape_of(shape)
        core = _shm.array_open(segment._core, name, mode_number(mode), checked, size, text)
        return cls._typed(segment, name, core, checked, text, size)

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        core = _shm.array_open(segment._core, entry.name, 0, None, 0, "")
        return cls._typed(segment, entry.name, core, entry.shape, entry.format, entry.element_size)

    @property
    def ndarray(self) -> np.ndarray[Any, Any]:
        """The elements in place, C order.

        Returns
        -------
        ndarray, shape ``self.shape``
            Borrows the structure: `close` raises BusyError while it lives.
        """
        import numpy as np

        made: np.ndarray[Any, Any] = np.ndarray(self.shape, self.dtype, self._core.memory())
        return made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        import numpy as np

        made = self.ndarray
        if dtype is not None and np.dtype(dtype) != made.dtype:
            if copy is False:
                raise ValueError(f"an array of {made.dtype} is no array of {dtype} without a copy")
            return made.astype(dtype)
        return made.copy() if copy else made

    def __getitem__(self, index: Any) -> Any:
        return self.ndarray[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.ndarray[index] = value

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(self.ndarray)

    @property
    def nbytes(self) -> int:
        """Of all elements [bytes]."""
        size = self.dtype.itemsize
        for extent in self.shape:
            size *= extent
        return size
