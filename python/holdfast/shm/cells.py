"""cells.py - numbers in shared memory that any process changes in one step.

Invariants  an operation happened or did not, also for one who is killed in it.
Talks to    holdfast._shm.   Called by segment.py.
Threads     any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast import _shm
from holdfast.errors import InvalidArgumentError
from holdfast.shm.handle import Handle
from holdfast.shm.structure import mode_number, whole

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from holdfast.shm.records import Entry
    from holdfast.shm.segment import Segment

__all__ = ["Cells"]

_TYPES = {"<i8": 1, "<u8": 2, "<i4": 3, "<u4": 4, "<f8": 5}
_NAMES = {number: name for name, number in _TYPES.items()}


class Cells(Handle):
    """Numbers, one per cache line unless packed; changed by one instruction each.

    ``cells[i]`` loads and ``cells[i] = x`` stores; ``cells[i] += 1`` is two steps: use `add`.
    """

    __slots__ = ()

    @classmethod
    def _make(
        cls, segment: Segment, name: str, count: int, dtype: npt.DTypeLike, packed: bool, mode: str
    ) -> Self:
        import numpy as np

        text = np.dtype(dtype).newbyteorder("<").str
        if text not in _TYPES:
            raise InvalidArgumentError(
                f"cells are of i8, u8, i4, u4 or f8, not {np.dtype(dtype)}: one instruction each"
            )
        core = _shm.cells_open(
            segment._core, name, mode_number(mode), _TYPES[text], whole("count", count), packed
        )
        return cls._wrap(segment, name, core)

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        core = _shm.cells_open(segment._core, entry.name, 0, 0, 0, False)
        return cls._wrap(segment, entry.name, core)

    def __len__(self) -> int:
        return int(self._core.count)

    def __bool__(self) -> bool:
        return True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a cell."""
        import numpy as np

        return np.dtype(_NAMES[self._core.type])

    def _index(self, index: int) -> int:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"cell {index} of {count}")
        return index % count

    def load(self, index: int = 0) -> Any:
        """See a cell."""
        return self._core.load(self._index(index))

    def store(self, value: float, index: int = 0) -> None:
        """Set a cell."""
        self._core.store(self._index(index), value)

    __getitem__ = load

    def __setitem__(self, index: int, value: float) -> None:
        self.store(value, index)

    def add(self, value: float, index: int = 0) -> Any:
        """Add to a cell; returns what was there before. Integers wrap."""
        return self._core.add(self._index(index), value)

    def exchange(self, value: float, index: int = 0) -> Any:
        """Set a cell; returns what was there before."""
        return self._core.exchange(self._index(index), value)

    def minimum(self, value: float, index: int = 0) -> Any:
        """Set a cell to `value` if that is less; returns what was there before."""
        return self._core.min(self._index(index), value)

    def maximum(self, value: float, index: int = 0) -> Any:
        """Set a cell to `value` if that is more; returns what was there before."""
        return self._core.max(self._index(index), value)

    def compare_exchange(self, expected: float, value: float, index: int = 0) -> tuple[bool, Any]:
        """Set a cell if it is `expected`; returns whether, and what was there."""
        done, there = self._core.compare_exchange(self._index(index), expected, value)
        return bool(done), there

    def wait(self, value: float, index: int = 0, timeout: float | None = None) -> bool:
        """Sleep while a cell is `value`; False if it was for `timeout` seconds."""
        return bool(self._core.wait(self._index(index), value, timeout))

    def notify(self, index: int = 0, count: int | None = None) -> None:
        """Wake up to `count` that wait for a cell; all if not given."""
        self._core.notify(self._index(index), 0xFFFFFFFF if count is None else count)

    def array(self) -> np.ndarray[Any, Any]:
        """See all cells in place, for reading; changing them through it is not one step.

        Returns
        -------
        ndarray, shape (len(self),)
            Keeps the structure open.
        """
        import numpy as np

        made: np.ndarray[Any, Any] = np.ndarray(
            (len(self),), self.dtype, self._core.memory(), 0, (self._core.stride,)
        )
        made.flags.writeable = False
        return made
