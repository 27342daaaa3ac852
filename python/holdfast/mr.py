"""mr.py - memory resources that compose: where memory comes from, and what happens on the way.

    Statistics(Limit(Track(Heap())))  ──alloc──► Buffer, arrays, arenas
     adaptors, in any order    leaf

Invariants  a Buffer keeps its resource alive, and a resource the one below; what was taken through
            an adaptor goes back through it. `use` is a ContextVar: no other task or thread sees it.
Talks to    holdfast._core (std::pmr resources).   Called by users, scope.py, numpy.py.
Threads     any.
Source      RMM, RAPIDS Memory Manager: the same idea for device memory.
"""

from __future__ import annotations

import contextvars
import os
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import holdfast.arena
import holdfast.heap
import holdfast.pool
from holdfast import _core
from holdfast.errors import InvalidArgumentError
from holdfast.options import parse_size
from holdfast.source import Source

__all__ = [
    "Arena",
    "Counter",
    "Heap",
    "Limit",
    "Log",
    "OnFailure",
    "Outstanding",
    "Place",
    "Pool",
    "Prefault",
    "Resource",
    "Segment",
    "Statistics",
    "Track",
    "current",
    "use",
]

Owner = holdfast.heap.Heap | holdfast.arena.Arena | holdfast.pool.Pool
"""What stands for a leaf wherever a resource is asked for."""


class Resource:
    """Where memory comes from. Leaves and adaptors are its subclasses."""

    __slots__ = ("__weakref__", "_core", "_words")

    def __init__(self, core: _core.Resource, words: str) -> None:
        self._core = core
        self._words = words

    def alloc(self, n: int, align: int = 16) -> _core.Buffer:
        """Get a block.

        Parameters
        ----------
        n : int
            Bytes; their content is undefined.
        align : int
            Alignment of the first byte [bytes]; a power of two.

        Returns
        -------
        Buffer
            Supports the buffer protocol and DLPack and keeps the resource alive. The block goes
            back by its ``release()``, or when the last borrow of it dies.

        Raises
        ------
        OutOfMemoryError
            This resource or one below refused; the message says which.
        InvalidArgumentError
            `n` is negative, `align` no power of two, or the owner at the bottom is closed.
        """
        if n < 0:
            raise InvalidArgumentError(f"n must not be negative, it is {n}")
        if align < 1 or align & (align - 1):
            raise InvalidArgumentError(f"align must be a power of two, it is {align}")
        return self._core.alloc(n, max(align, 16))

    def _array_handler(self) -> tuple[_core.ArrayHandler, Source]:
        handler = self._core.handler(self._words)
        return handler, Source("resource", self._words, 0, weakref.ref(self))

    def __repr__(self) -> str:
        return f"<holdfast.mr.{self._words}>"


def resource_of(upstream: Resource | Owner) -> Resource:
    """Get the leaf that stands for an owner; a resource stands for itself."""
    if isinstance(upstream, Resource):
        return upstream
    if isinstance(upstream, holdfast.heap.Heap):
        return Heap(upstream)
    if isinstance(upstream, holdfast.arena.Arena):
        return Arena(upstream)
    if isinstance(upstream, holdfast.pool.Pool):
        return Pool(upstream)
    raise InvalidArgumentError(f"{type(upstream).__name__} is no memory resource")


# --- leaves --------------------------------------------------------------------------------------


class Heap(Resource):
    """Blocks of a heap.

    Parameters
    ----------
    heap : holdfast.Heap, optional
        By default the process-wide heap. It is not closed while blocks are out.
    """

    __slots__ = ("heap",)

    def __init__(self, heap: holdfast.heap.Heap | None = None) -> None:
        if heap is not None and not isinstance(heap, holdfast.heap.Heap):
            raise InvalidArgumentError(f"{type(heap).__name__} is no heap")
        self.heap = holdfast.heap.default_heap() if heap is None else heap
        label = "closed" if self.heap.closed else self.heap.name
        super().__init__(_core.heap_resource(self.heap._core), f"Heap({label!r})")

    def _array_handler(self) -> tuple[_core.ArrayHandler, Source]:
        return self.heap._array_handler()


class Arena(Resource):
    """Blocks of an arena; one that goes back serves the next of its size.

    Parameters
    ----------
    arena : holdfast.Arena, int or str
        An arena, or the capacity of one of its own.
    **options
        Of that arena.
    """

    __slots__ = ("arena",)

    def __init__(self, arena: holdfast.arena.Arena | int | str, **options: Any) -> None:
        if not isinstance(arena, holdfast.arena.Arena):
            arena = holdfast.arena.Arena(arena, **options)
        elif options:
            raise InvalidArgumentError("options are for an arena that is made here")
        self.arena = arena
        super().__init__(_core.arena_resource(arena._core), f"Arena({arena.name!r})")

    def _array_handler(self) -> tuple[_core.ArrayHandler, Source]:
        return self.arena._array_handler()


class Pool(Resource):
    """Blocks of one size; larger requests are refused.

    Parameters
    ----------
    pool : holdfast.Pool, int or str
        A pool, or the bytes of the blocks of one of its own. An array needs 64 more than its data,
        at a multiple of 64. A pool that waits is not waited for.
    align : int
        Of every block [bytes].
    capacity : int, optional
        Blocks that can be out at once. None: no bound.
    name : str
        For reports and `holdfast.owners`.
    """

    __slots__ = ("pool",)

    def __init__(
        self,
        pool: holdfast.pool.Pool | int | str,
        *,
        align: int | None = None,
        capacity: int | None = None,
        name: str = "",
    ) -> None:
        self.pool: holdfast.pool.Pool | None = None
        if isinstance(pool, holdfast.pool.Pool):
            if align is not None or capacity is not None or name:
                raise InvalidArgumentError("options are for a pool that is made here")
            self.pool = pool
            core = _core.lent_pool_resource(pool)
            super().__init__(core, f"Pool({pool.name!r})")
            return
        size = parse_size(pool, "block_size")
        core = _core.pool_resource(size, 64 if align is None else align, capacity or 0, name)
        super().__init__(core, f"Pool({size})")


class Segment(Resource):
    """Every block a mapping of its own between two pages that fault: for few, large blocks.

    Parameters
    ----------
    huge_pages : bool
        Ask for transparent huge pages for blocks of 2 MiB and more.
    """

    __slots__ = ()

    def __init__(self, *, huge_pages: bool = False) -> None:
        super().__init__(_core.segment_resource(huge_pages), "Segment")


# --- adaptors ------------------------------------------------------------------------------------


class Adaptor(Resource):
    """A resource on another one, `upstream`: a resource, or a Heap, Arena or Pool of holdfast."""

    __slots__ = ("upstream",)

    upstream: Resource
    """The resource below."""


class Limit(Adaptor):
    """Refuses what would bring the bytes that are out above a limit.

    Parameters
    ----------
    upstream : Resource, Heap, Arena or Pool
    limit : int or str
        Bytes; ``"64M"`` works.
    name : str
        For the message of the refusal.
    """

    __slots__ = ("limit",)

    def __init__(self, upstream: Resource | Owner, limit: int | str, *, name: str = "") -> None:
        self.upstream = resource_of(upstream)
        self.limit = parse_size(limit)
        core = _core.limit_resource(self.upstream._core, self.limit, name)
        super().__init__(core, f"Limit({self.upstream._words}, {self.limit})")

    @property
    def used(self) -> int:
        """Bytes that are out."""
        return self._core.used()


class Counter(NamedTuple):
    """What was allocated since a counter began; below 0 if more went back than came."""

    bytes: int
    """Out now, of what was counted."""
    bytes_peak: int
    bytes_total: int
    blocks: int
    blocks_peak: int
    blocks_total: int


class Statistics(Adaptor):
    """Counts bytes and blocks, with counters that can be pushed and popped."""

    __slots__ = ()

    def __init__(self, upstream: Resource | Owner) -> None:
        self.upstream = resource_of(upstream)
        core = _core.statistics_resource(self.upstream._core)
        super().__init__(core, f"Statistics({self.upstream._words})")

    @property
    def counter(self) -> Counter:
        """The counter on top."""
        return Counter(*self._core.counter())

    @property
    def depth(self) -> int:
        """Counters on the stack, 1 at least."""
        return self._core.depth()

    def push(self) -> None:
        """Begin a counter at 0; those below go on counting."""
        self._core.push()

    def pop(self) -> Counter:
        """End the counter on top and get it; InvalidArgumentError for the last one."""
        return Counter(*self._core.pop())


class Outstanding(NamedTuple):
    """A block that has not gone back."""

    address: int
    size: int
    site: str
    """Lines of Python that asked for it, outermost first; empty if C code did."""


class Track(Adaptor):
    """Remembers what is out and which lines asked for it.

    Parameters
    ----------
    upstream : Resource, Heap, Arena or Pool
    frames : int
        Lines of the call stack that are kept, those of this package not counted.
    """

    __slots__ = ()

    def __init__(self, upstream: Resource | Owner, *, frames: int = 1) -> None:
        self.upstream = resource_of(upstream)
        ours = os.path.join(os.path.dirname(__file__), "")
        core = _core.track_resource(self.upstream._core, frames, ours)
        super().__init__(core, f"Track({self.upstream._words})")

    def outstanding(self) -> list[Outstanding]:
        """Get the blocks that are out, largest first."""
        rows = [Outstanding(*row) for row in self._core.outstanding()]
        return sorted(rows, key=lambda row: (-row.size, row.address))

    def leaks(self) -> dict[str, tuple[int, int]]:
        """Get what is out by site: (blocks, bytes), the most bytes first."""
        found: dict[str, tuple[int, int]] = {}
        for block in self.outstanding():
            blocks, size = found.get(block.site, (0, 0))
            found[block.site] = (blocks + 1, size + block.size)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


class Log(Adaptor):
    """Writes one line of CSV per operation: time_ns, thread, operation, address, size, align.

    Parameters
    ----------
    upstream : Resource, Heap, Arena or Pool
    path : path-like
        Appended to.
    """

    __slots__ = ()

    def __init__(self, upstream: Resource | Owner, path: str | os.PathLike[str]) -> None:
        self.upstream = resource_of(upstream)
        core = _core.log_resource(self.upstream._core, os.fspath(path))
        super().__init__(core, f"Log({self.upstream._words})")


class OnFailure(Adaptor):
    """Asks a callback when the resource below refuses.

    Parameters
    ----------
    upstream : Resource, Heap, Arena or Pool
    callback : callable
        Called with the bytes that were refused. True: try again. What it raises is raised by
        `alloc`, and goes to ``sys.unraisablehook`` when an array was asked for.
    """

    __slots__ = ()

    def __init__(self, upstream: Resource | Owner, callback: Callable[[int], object]) -> None:
        if not callable(callback):
            raise InvalidArgumentError(f"{callback!r} cannot be called")
        self.upstream = resource_of(upstream)
        core = _core.failure_resource(self.upstream._core, callback)
        super().__init__(core, f"OnFailure({self.upstream._words})")


class Prefault(Adaptor):
    """Has the pages of a block in memory before it is used."""

    __slots__ = ()

    def __init__(self, upstream: Resource | Owner) -> None:
        self.upstream = resource_of(upstream)
        core = _core.prefault_resource(self.upstream._core)
        super().__init__(core, f"Prefault({self.upstream._words})")


class Place(Adaptor):
    """Places the pages that lie wholly inside a block on a NUMA node.

    Parameters
    ----------
    upstream : Resource, Heap, Arena or Pool
    node : int
        Numbered from 0. On a machine with one node nothing changes.
    """

    __slots__ = ("node",)

    def __init__(self, upstream: Resource | Owner, node: int) -> None:
        if not 0 <= node < _core.node_count():
            raise InvalidArgumentError(f"node {node}: this machine has {_core.node_count()}")
        self.upstream = resource_of(upstream)
        self.node = node
        core = _core.place_resource(self.upstream._core, node)
        super().__init__(core, f"Place({self.upstream._words}, {node})")


# --- the current one -----------------------------------------------------------------------------


class _Entered:
    """One block of `use` that is under way."""

    __slots__ = ("elsewhere", "resource", "token")

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.elsewhere = False
        self.token = _entered.set((*_entered.get(), self))

    def leave(self) -> None:
        stack = _entered.get()
        # A generator may be closed in another context: then ours learns of it by the mark. If not,
        # copies of ours keep the resource, as tasks do that were started inside.
        try:
            _entered.reset(self.token)
        except ValueError:
            self.elsewhere = True
        # Not what was there before: blocks that began later may still be under way.
        _entered.set(tuple(e for e in stack if e is not self and not e.elsewhere))


# Innermost last.
_entered: contextvars.ContextVar[tuple[_Entered, ...]] = contextvars.ContextVar(
    "holdfast.mr", default=()
)


def current() -> Resource:
    """Get the resource of this context: that of the innermost `use`, else the process-wide heap."""
    for entered in reversed(_entered.get()):
        if not entered.elsewhere:
            return entered.resource
    return Heap()


class use:
    """Make a resource the current one inside a block, for this context and what it starts.

    Parameters
    ----------
    resource : Resource, Heap, Arena or Pool

    Examples
    --------
    >>> with use(Limit(Heap(), "64M")) as resource:
    ...     buffer = current().alloc(1000)
    """

    __slots__ = ("_open", "resource")

    def __init__(self, resource: Resource | Owner) -> None:
        self.resource = resource_of(resource)
        self._open: list[_Entered] = []

    def __enter__(self) -> Resource:
        self._open.append(_Entered(self.resource))
        return self.resource

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        mine = [e for e in _entered.get() if e in self._open]
        ended = mine[-1] if mine else self._open[-1]
        self._open.remove(ended)
        ended.leave()
