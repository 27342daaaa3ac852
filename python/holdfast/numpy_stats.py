"""numpy_stats.py - how much array memory there is: by owner, size class and data type.

Invariants  figures come from the stores and are exact at rest; data types are found by looking.
Talks to    holdfast._core, holdfast._numpy.   Called by numpy.py, numpy_install.py.
"""

from __future__ import annotations

import dataclasses
import gc
import sys
from collections.abc import Iterator
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FrameType,
    GeneratorType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from holdfast import _core, _numpy

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: classes of Python and some of C

__all__ = ["ArrayStats", "SizeClass", "StoreStats", "stats", "store_stats"]


class SizeClass(NamedTuple):
    """Arrays of one size class."""

    size: int
    """Largest block of the class [bytes], 64 of them the header."""
    arrays: int
    """Alive."""
    allocs: int
    """So far."""


@dataclasses.dataclass(frozen=True, slots=True)
class StoreStats:
    """The array memory of one owner at one moment."""

    kind: str
    name: str
    owner: int
    arrays: int
    """Alive."""
    bytes: int
    """Asked for by them."""
    bytes_peak: int
    """Largest `bytes` so far."""
    bytes_cached: int
    """In free lists, for the next array."""
    allocs: int
    """So far."""
    recycled: int
    """Of these, served from a free list."""
    classes: tuple[SizeClass, ...]
    """Those that were used, smallest first."""


@dataclasses.dataclass(frozen=True, slots=True)
class ArrayStats:
    """Array memory of the process, as far as it is holdfast's."""

    stores: tuple[StoreStats, ...]

    @property
    def arrays(self) -> int:
        """Alive."""
        return sum(store.arrays for store in self.stores)

    @property
    def bytes(self) -> int:
        """Asked for by them."""
        return sum(store.bytes for store in self.stores)

    @property
    def classes(self) -> tuple[SizeClass, ...]:
        """By size class over all stores, smallest first."""
        merged: dict[int, tuple[int, int]] = {}
        for entry in (entry for store in self.stores for entry in store.classes):
            arrays, allocs = merged.get(entry.size, (0, 0))
            merged[entry.size] = (arrays + entry.arrays, allocs + entry.allocs)
        return tuple(SizeClass(size, *merged[size]) for size in sorted(merged))

    @staticmethod
    def by_dtype() -> dict[str, tuple[int, int]]:
        """Count the arrays that own memory of holdfast, by data type.

        NumPy's allocators are not told the data type, so this looks at the arrays that containers
        known to the garbage collector, modules and running functions refer to; one that only C code
        holds is not seen.

        Returns
        -------
        dict
            Name of the data type to (arrays, bytes).
        """
        return _by_dtype()


def stats() -> ArrayStats:
    """Get the figures of array memory, by owner and size class; exact at rest."""
    return ArrayStats(tuple(store_stats(row) for row in _core.array_stores()))


def store_stats(row: tuple[Any, ...]) -> StoreStats:
    """Name the figures that the bindings hand over."""
    named: tuple[Any, ...] = (*row[:-1], tuple(SizeClass(*entry) for entry in row[-1]))
    return StoreStats(*named)


def _by_dtype() -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    seen: set[int] = set()
    for array in _reachable_arrays():
        root = _numpy.root(array)
        if root is None or root[1] in seen:
            continue
        seen.add(root[1])
        if root[0] is None and _numpy.patched_owns(root[1]) < 0:
            continue
        name = str(_numpy.last_base(array).dtype)
        arrays, size = found.get(name, (0, 0))
        found[name] = (arrays + 1, size + root[2])
    return found


_CONTAINERS: frozenset[type] = frozenset(
    {dict, list, tuple, set, frozenset, CellType, GeneratorType, CoroutineType, AsyncGeneratorType}
)


def _may_hold(holder: object) -> bool:
    """Containers and instances of classes; their referents can be looked at without harm.

    Not modules, whose dictionaries are seen anyway: _asyncio of Python 3.12 shows its free list of
    dead objects there, and whoever takes a reference to one brings the list into a cycle.
    """
    kind = type(holder)
    return kind in _CONTAINERS or (
        bool(kind.__flags__ & _HEAP_TYPE) and not isinstance(holder, ModuleType | type)
    )


def _reachable_arrays() -> Iterator[npt.NDArray[Any]]:
    for holder in gc.get_objects():
        if not _may_hold(holder):
            continue
        for item in gc.get_referents(holder):
            if isinstance(item, np.ndarray):
                yield item
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            # A running function's variables are not seen by the garbage collector.
            yield from (v for v in frame.f_locals.values() if isinstance(v, np.ndarray))
            frame = frame.f_back
