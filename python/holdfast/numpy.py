"""numpy.py - array memory from where you say: an arena, a heap, a resource, huge pages, a node.

    with allocator(arena): r = a + b ──handler──► store ──► arena, heap, resource
    install()                         the same for every array of the process

Invariants  an array keeps its memory alive, wherever its block of code ended; data starts at a
            multiple of 64 bytes. What was started inside a block and runs on after it (tasks) gets
            memory of the default heap then.
Talks to    holdfast._numpy (NumPy's C API), holdfast._core (stores).   Called by users.
Threads     `allocator` is per context, like NumPy's handlers: new threads start without it, tasks
            inherit it; `install` is for all.
Source      NEP 49, Data allocation strategies in NumPy.
"""

from __future__ import annotations

import contextvars
import threading
from types import TracebackType
from typing import Any, NamedTuple, cast

import numpy.typing as npt

from holdfast import _core, mr
from holdfast.errors import InvalidArgumentError, UnsupportedError
from holdfast.heap import Heap
from holdfast.numpy_install import (
    Installation,
    install_on,
    installed,
    installed_owner,
    uninstall,
)
from holdfast.numpy_stats import ArrayStats, SizeClass, StoreStats, stats
from holdfast.source import ArraySource

try:
    from holdfast import _numpy
except ImportError as error:  # pragma: no cover - a build without NumPy's headers
    raise ImportError(
        f"holdfast was built without NumPy's headers, or NumPy is older than 1.26 ({error})"
    ) from error

__all__ = [
    "Allocator",
    "ArrayOwner",
    "ArrayStats",
    "Installation",
    "Placement",
    "SizeClass",
    "StoreStats",
    "allocator",
    "install",
    "installed",
    "is_aligned",
    "owner_of",
    "place",
    "stats",
    "uninstall",
]


class ArrayOwner(NamedTuple):
    """Where the memory of an array lives."""

    kind: str
    """``heap``, ``arena``, ``resource``, ``buffer`` (a Buffer), ``numpy`` or ``foreign``."""
    name: str
    """Of the owner, as given."""
    id: int
    """Number of the owner in reports and `holdfast.owners`; 0 if it has none."""
    address: int
    """Of the first byte of the memory; 0 if the array does not lead to one."""
    size: int
    """Bytes of it."""
    object: Any
    """The owner itself while it is alive, else None."""


class Placement(NamedTuple):
    """What `place` did."""

    node: int
    pages: int
    """4 KiB pages wholly inside the array that were asked to move."""
    note: str
    """Why nothing moved; empty if something did."""


def _resolve(source: object, node: int | None) -> ArraySource:
    if node is not None:
        if source is not None:
            raise InvalidArgumentError("give a source or a node, not both")
        return _own_heap(node)
    if source is None:
        return mr.current()
    if isinstance(source, str):
        if source == "hugepages":
            return _own_heap(None)
        raise InvalidArgumentError(
            f"no such source of array memory: {source!r}; 'hugepages' is one"
        )
    if not hasattr(source, "_array_handler"):
        raise InvalidArgumentError(
            f"{type(source).__name__} lends no memory to arrays: "
            "give a Heap, an Arena, a Pool, a resource of holdfast.mr, 'hugepages' or node="
        )
    return cast("ArraySource", source)


_heaps: dict[int | None, Heap] = {}
_heaps_lock = threading.Lock()


def _own_heap(node: int | None) -> Heap:
    """Get the heap of arrays on a node, or that with huge pages; made once, kept for ever."""
    if node is not None and not 0 <= node < _core.node_count():
        raise InvalidArgumentError(f"node {node}: this machine has {_core.node_count()}")
    with _heaps_lock:
        if node not in _heaps:
            _heaps[node] = (
                Heap(huge_pages="always", name="arrays, huge pages")
                if node is None
                else Heap(node=node, name=f"arrays, node {node}")
            )
        return _heaps[node]


class _Entered:
    """One block that is under way, in this context and those copied from it."""

    __slots__ = ("allocator", "below", "capsule", "ended", "handler", "previous")

    def __init__(self, allocator: Allocator) -> None:
        handler, source = allocator._source._array_handler()
        stack = _entered.get()
        self.allocator = allocator
        self.handler = handler
        self.capsule: object = _numpy.handler(handler.door(), source)
        self.previous: object = _numpy.set_handler(self.capsule)
        self.below = next((e for e in reversed(stack) if e.capsule is self.previous), None)
        self.ended = False
        _entered.set((*stack, self))

    def leave(self) -> None:
        """Put back what was there before, past blocks that ended meanwhile."""
        self.ended = True
        _entered.set(tuple(e for e in _entered.get() if not e.ended))
        # A generator can be closed in another context than it was started in: then the handler that
        # is set here is not the one of this block, and stays.
        if _numpy.get_handler() is self.capsule:
            last = self
            while last.below is not None and last.below.ended:
                last = last.below
            _numpy.set_handler(last.previous)
        self.handler.close()


_entered: contextvars.ContextVar[tuple[_Entered, ...]] = contextvars.ContextVar(
    "holdfast.numpy", default=()
)


class Allocator:
    """Context manager: array data made inside comes from the source. See `allocator`."""

    __slots__ = ("_open", "_source")

    def __init__(self, source: ArraySource) -> None:
        self._source = source
        self._open: list[_Entered] = []

    def __enter__(self) -> Allocator:
        self._open.append(_Entered(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        mine = [e for e in _entered.get() if e.allocator is self and not e.ended]
        ended = mine[-1] if mine else self._open[-1]
        self._open.remove(ended)
        ended.leave()

    def __repr__(self) -> str:
        return f"<holdfast.numpy.Allocator on {self._source!r}>"


def allocator(source: object = None, *, node: int | None = None) -> Allocator:
    """Take the data of arrays that are made inside a block from somewhere.

    Parameters
    ----------
    source : Heap, Arena, Pool, resource of `holdfast.mr`, or "hugepages", optional
        By default the current resource, `holdfast.mr.current`. An array lives as long as it is
        used, after the block as well: it keeps its memory alive. ``"hugepages"`` is a heap of its
        own whose large blocks are on huge pages, so that no other memory is affected.
    node : int, optional
        A heap on this NUMA node instead.

    Returns
    -------
    Allocator
        A context manager; it can be entered again, and in several threads and tasks.

    Raises
    ------
    InvalidArgumentError
        The source lends no memory to arrays, is closed, or there is no such node.

    Notes
    -----
    As with NumPy's handlers, the block is left when control leaves it: threads started inside do
    not inherit it, tasks and `asyncio.to_thread` do. What is still running when the block ends gets
    the default heap from then on.

    Examples
    --------
    >>> with Arena("64M") as arena, allocator(arena):
    ...     for step in range(1000):
    ...         with arena.scope():
    ...             total = float((a * b + c).sum())
    """
    return Allocator(_resolve(source, node))


def install(source: object = None, *, node: int | None = None) -> Installation:
    """Serve every array of the process that no `allocator` block serves.

    Parameters
    ----------
    source : Heap, Arena or "hugepages", optional
        By default a heap of its own with huge pages. It is never given up again: arrays may be
        freed at any time.
    node : int, optional
        A heap on this NUMA node instead.

    Returns
    -------
    Installation
        A context manager that uninstalls.

    Raises
    ------
    UnsupportedError
        This NumPy is not known well enough, or failed the test that was made on it; nothing was
        changed then. Or the source cannot tell its blocks from others (a resource, the default
        heap).

    Notes
    -----
    There is no public way to do this: the functions of NumPy's default handler are exchanged in
    place and the old ones are asked for what is not ours. Hence the version check and the test.
    """
    return install_on(_resolve("hugepages" if source is None and node is None else source, node))


def owner_of(array: npt.NDArray[Any]) -> ArrayOwner:
    """Tell where the memory of an array lives.

    Parameters
    ----------
    array : ndarray
        Or a view of one.

    Returns
    -------
    ArrayOwner
        Of kind ``numpy`` for NumPy's own memory, ``foreign`` for anything unknown.
    """
    found = _numpy.root(array)
    if found is None:
        return _owner_of_base(array)
    source, address, size = found
    if source is None:
        source = installed_owner(address)
        if source is None:
            return ArrayOwner("numpy", "", 0, address, size, None)
    else:
        store = _core.array_store_of(address)
        if store != source[:3]:  # made too late for its block, or the owner was closed
            return ArrayOwner(*store, address, size, None)
    owner = source.ref() if source.ref is not None else None
    return ArrayOwner(source.kind, source.name, source.id, address, size, owner)


def _owner_of_base(array: npt.NDArray[Any]) -> ArrayOwner:
    base = _numpy.last_base(array)
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, _core.Buffer) and not base.released:
        return ArrayOwner("buffer", "", 0, base.address, base.size, base)
    return ArrayOwner("foreign", "", 0, 0, 0, None)


def is_aligned(array: npt.NDArray[Any], align: int = 64) -> bool:
    """Tell if element 0 of an array starts at a multiple of `align` bytes."""
    if align < 1 or align & (align - 1):
        raise InvalidArgumentError(f"align must be a power of two, it is {align}")
    return bool(array.ctypes.data % align == 0)


def place(array: npt.NDArray[Any], node: int) -> Placement:
    """Move the pages of an array to a NUMA node, and those to come.

    Parameters
    ----------
    array : ndarray
        Contiguous. Only pages that lie wholly inside it move: neighbours are not touched.
    node : int
        Numbered from 0.

    Returns
    -------
    Placement
        On a machine with one node nothing moves, and its ``note`` says so.

    Raises
    ------
    InvalidArgumentError
        No such node, or the array is not contiguous.
    UnsupportedError
        The kernel refused.
    """
    count = _core.node_count()
    if not 0 <= node < count:
        raise InvalidArgumentError(f"node {node}: this machine has {count}")
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise InvalidArgumentError("the array is not contiguous: place what it is a view of")
    if count == 1:
        return Placement(node, 0, "this machine has one node: nothing moves")
    pages, error = _core.place_pages(array.ctypes.data, array.nbytes, node)
    if error:
        raise UnsupportedError(f"the kernel refused to place pages: errno {error}")
    return Placement(node, pages, "" if pages else "no whole page lies inside the array")
