"""source.py - what lends memory to arrays, and how an array remembers it.

Talks to    holdfast._core.   Used by heap.py, arena.py, pool.py, mr.py, numpy.py.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple, Protocol

from holdfast import _core

__all__ = ["ArraySource", "Source"]


class Source(NamedTuple):
    """What the handler of an array remembers of its owner; weak, so that it keeps nothing alive."""

    kind: str
    name: str
    id: int
    ref: weakref.ref[Any] | None


class ArraySource(Protocol):
    """Whatever lends memory to arrays: `Heap`, `Arena`, `Pool`, the resources of `holdfast.mr`."""

    def _array_handler(self) -> tuple[_core.ArrayHandler, Source]: ...
