"""arena.py - arenas: memory that is handed out by moving a cursor and dies all at once.

    Arena ──array──► ndarray ┐ borrows: reset, close and the end of a scope
      │  └─allocate─► Buffer ┘ raise BusyError while they live
      └ scope(): what was made inside is gone at its end

Invariants  an array keeps its arena's memory alive; a Buffer that was rewound shows nothing.
Talks to    holdfast._core, holdfast._numpy (array), handle.py.   Called by users, numpy.py, mr.py.
Threads     every method may be called from any thread; scopes belong to the arena, not to a thread.
Source      Hanson, Fast allocation and deallocation of memory based on object lifetimes, 1990.
"""

from __future__ import annotations

import dataclasses
import operator
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast import _core
from holdfast.errors import BusyError, InvalidArgumentError
from holdfast.handle import Handle
from holdfast.options import parse_size
from holdfast.safe_point import settle
from holdfast.source import Source
from holdfast.stats import Block, Stats, from_row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from holdfast._core import Arena as CoreArena
    from holdfast._core import ArrayHandler, Buffer

__all__ = ["Arena", "ArenaFigures", "ArenaOperation", "ArenaScope", "TrackedBlock"]

_POLICIES = {"default": 0, "performance": 1, "safety": 2}
_SIZES = ("capacity", "limit", "reserve", "retain", "guard", "prefetch", "alignment", "min_size")
_HUGE = {None: None, "auto": 0, False: 1, "never": 1, True: 2, "always": 2}


class TrackedBlock(NamedTuple):
    """A block that is still there, of an arena with ``track_allocations``."""

    address: int
    size: int
    """Bytes that were asked for."""
    serial: int
    """1 for the first block of the arena, and so on."""
    site: str
    """Call stack that made it, where it was recorded."""


class ArenaOperation(NamedTuple):
    """One operation of an arena with ``log_operations``."""

    number: int
    time_ns: int
    thread_id: int
    verb: str
    alignment: int
    address: int
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class ArenaFigures:
    """What an arena knows about itself; sizes in bytes."""

    counted: bool
    """True: blocks and padding are exact; else they are 0 or estimates."""
    bytes_in_use: int
    """Handed out, or asked for where that is counted."""
    bytes_in_use_peak: int
    """Largest so far, looked at when a scope begins or ends, and at reset."""
    bytes_total: int
    """Handed out since creation."""
    bytes_padding: int
    """Of live blocks: rounding, alignment, canaries, ends of chunks."""
    bytes_left: int
    """That fit without growth."""
    bytes_usable: int
    bytes_reserved: int
    """Address space."""
    bytes_recent: int
    """Largest need of the recent cycles: what the decay keeps."""
    blocks: int
    blocks_total: int
    chunks: int
    resets: int
    rewinds: int
    failures: int
    """Allocations that were refused."""
    fragmentation: float
    """Padding as a share of what is handed out, 0 to 1."""


class ArenaScope:
    """What is made inside is gone at the end. See `Arena.scope`."""

    __slots__ = ("_arena", "_core")

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._core: _core.ArenaScope | None = None

    def __enter__(self) -> ArenaScope:
        if self._core is not None:
            raise InvalidArgumentError("a scope is entered once; call arena.scope() again")
        self._core = self._arena._core.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        lived = self._entered().leave()
        settle()
        # An error that is on its way refers to the frames, and those to arrays: it must not be
        # hidden by BusyError. The memory then stays until the scope around it ends.
        if lived and kind is None:
            raise _busy(lived, "made in this scope", "leave the scope")

    @property
    def live(self) -> int:
        """Arrays and views in memory of this scope that are alive."""
        return self._entered().live

    def leaks(self) -> list[TrackedBlock]:
        """Tracked blocks made since it was entered that nobody freed; as `Arena.leaks`."""
        return [TrackedBlock(*row) for row in self._entered().leaks()]

    def _entered(self) -> _core.ArenaScope:
        if self._core is None:
            raise InvalidArgumentError("the scope was not entered")
        return self._core


class Arena(Handle):
    """Memory that is handed out by moving a cursor and dies all at once.

    Parameters
    ----------
    capacity : int or str, optional
        Usable at once [bytes]; ``"64M"`` works.
    limit : int or str, optional
        Bytes of blocks it ever holds; equal to `capacity` it is of fixed size. None: it grows.
    policy : {"default", "performance", "safety"}
        Ready-made options: ``performance`` without guards, on huge pages, keeping its memory;
        ``safety`` with wide guards, zeroed blocks and all debug switches.
    thread_safe : bool
        For C code that allocates from several threads at once; Python needs it not.
    huge_pages : bool or "auto", optional
        Transparent huge pages.
    node : int, optional
        NUMA node of its memory.
    name : str
        For reports and `holdfast.owners`; 31 bytes are kept.
    buffer : writable buffer, optional
        The arena lives in this memory (a bytearray, an mmap, a shared segment), which it keeps, and
        does not grow.
    resource : resource of `holdfast.mr`, Heap, Arena or Pool, optional
        The arena lives in `capacity` bytes of it, and does not grow.
    **options
        ``reserve, retain, guard, prefetch, alignment, min_size`` [bytes]; ``decay_ms``, a number
        or ``"never"``; ``zero, statistics, track_allocations, validate_access, check_corruption,
        log_operations`` (bool); see docs/arena.md.

    Raises
    ------
    InvalidArgumentError
        No such option, options that contradict each other, or a buffer that is too small.
    OutOfMemoryError
        The system or a limit refused.

    Examples
    --------
    >>> arena = Arena("16M", name="frames")
    >>> with arena.scope():
    ...     frame = arena.array((480, 640), "f4")
    ...     frame[:] = 0
    ...     del frame
    """

    if TYPE_CHECKING:
        _core: CoreArena
    else:
        __slots__ = {
            "__weakref__": "",
            "_core": "",
            "array": "array(shape, dtype='f8', *, align=64, zero=False): an array of the arena",
        }

    def __init__(
        self,
        capacity: int | str | None = None,
        limit: int | str | None = None,
        policy: str = "default",
        *,
        thread_safe: bool = False,
        huge_pages: bool | str | None = None,
        node: int | None = None,
        name: str = "",
        buffer: Any = None,
        resource: Any = None,
        **options: int | str | bool,
    ) -> None:
        if not isinstance(policy, str) or policy not in _POLICIES:
            raise InvalidArgumentError(f"policy {policy!r} is none of {', '.join(_POLICIES)}")
        if not isinstance(huge_pages, bool | str | None) or huge_pages not in _HUGE:
            raise InvalidArgumentError(f"huge_pages {huge_pages!r} is no bool and not 'auto'")
        asked: dict[str, Any] = dict(options)
        asked |= {"capacity": capacity, "limit": limit, "node": node}
        asked["huge_pages"] = _HUGE[huge_pages]
        if thread_safe:
            asked["thread_safe"] = True
        made = {
            key: parse_size(value, key) if key in _SIZES else _number(key, value)
            for key, value in asked.items()
            if value is not None
        }
        if resource is not None:
            if buffer is not None or capacity is None:
                raise InvalidArgumentError("resource= needs a capacity, and no buffer")
            from holdfast import mr

            buffer = memoryview(mr.resource_of(resource).alloc(made.pop("capacity"), align=64))
        self._core = _core.Arena(_POLICIES[policy], made, name, buffer)

    def allocate(self, size: int, align: int = 0) -> Buffer:
        """Get a block.

        Parameters
        ----------
        size : int
            Bytes; their content is undefined unless the arena zeroes.
        align : int
            Alignment of the first byte [bytes], a power of two up to 2 MiB; 0 is the arena's own.

        Returns
        -------
        Buffer
            Shows its bytes until the scope it was made in ends or the arena is reset; views of it
            prevent both. Its ``release()``, or the end of ``with`` on it, says that the block is no
            longer needed: the youngest one is reused, any other is no leak any more.

        Raises
        ------
        OutOfMemoryError
            The arena is full; the message says what was asked and what is left.
        InvalidArgumentError
            `align` is no power of two, `size` is negative, or the arena is closed.
        """
        if size < 0:
            raise InvalidArgumentError(f"size must not be negative, it is {size}")
        if align < 0 or align & (align - 1):
            raise InvalidArgumentError(f"align must be a power of two, it is {align}")
        return self._core.allocate(size, align)

    def allocate_aligned(self, size: int, align: int) -> Buffer:
        """Get a block at a multiple of `align` bytes; see `allocate`."""
        return self.allocate(size, align)

    def allocate_simd(self, size: int) -> Buffer:
        """Get a block at a multiple of 64 bytes, for vector loads; see `allocate`."""
        return self.allocate(size, 64)

    def bulk(self, count: int, size: int, align: int = 0) -> list[Buffer]:
        """Get `count` blocks of `size` bytes each, or none; see `allocate`."""
        if size < 0 or count < 0:
            raise InvalidArgumentError("count and size must not be negative")
        if align < 0 or align & (align - 1):
            raise InvalidArgumentError(f"align must be a power of two, it is {align}")
        return self._core.bulk(size, align, count)

    if TYPE_CHECKING:

        def array(
            self,
            shape: int | Sequence[int],
            dtype: npt.DTypeLike = "f8",
            *,
            align: int = 64,
            zero: bool = False,
        ) -> np.ndarray[Any, Any]:
            """Carve an array out of the arena.

            Parameters
            ----------
            shape : int or sequence of int
                C order.
            dtype : data type
                Anything but one that holds Python objects.
            align : int
                Alignment of element 0 [bytes]; a power of two, at most 2 MiB, 64 at least.
            zero : bool
                Fill with zero bytes; else the content is undefined.

            Returns
            -------
            ndarray, shape `shape`
                Owns its data, which is the arena's: `reset`, `close` and the end of the scope raise
                BusyError while it lives. When it dies its block serves the next array of its size.

            Raises
            ------
            OutOfMemoryError, InvalidArgumentError
                As `allocate`; also for a dtype that holds objects or a negative length.
            """
            ...

    def __getattr__(self, name: str) -> Any:
        # The slot is filled at first use, with a function of C: importing arenas needs no NumPy.
        if name == "array":
            maker = self._make_maker()
            object.__setattr__(self, "array", maker)
            return maker
        raise AttributeError(f"'Arena' object has no attribute {name!r}")

    def _make_maker(self) -> Any:
        from holdfast import _numpy

        handler, source = self._array_handler()
        return _numpy.maker(_numpy.handler(handler.door(), source))

    def _array_handler(self) -> tuple[ArrayHandler, Source]:
        if self.closed:
            raise InvalidArgumentError("the arena is closed")
        return self._core.handler(), Source("arena", self.name, self.id, weakref.ref(self))

    def scope(self) -> ArenaScope:
        """Make a scope: at its end everything that was made inside is gone.

        Returns
        -------
        ArenaScope
            A context manager. Scopes nest; each is entered once.

        Raises
        ------
        BusyError
            At the end, if arrays or views made inside live; ``error.count`` says how many. Their
            memory stays until the scope around ends. Not if an exception leaves the block.
        InvalidArgumentError
            At the end, if a scope that was entered later is still open.
        """
        return ArenaScope(self)

    def reset(self, release: bool = False) -> None:
        """Let every block die; takes the same time however many there are.

        Parameters
        ----------
        release : bool
            Give the memory back to the system, too, but for ``retain`` bytes. Otherwise it is kept,
            but for what recent cycles did not need and ``decay_ms`` has passed.

        Raises
        ------
        BusyError
            Arrays or views live; ``error.count`` says how many. Nothing has happened.
        InvalidArgumentError
            A scope is open, or the arena is closed.
        """
        lived = self._core.reset(release)
        settle()
        if lived:
            raise _busy(lived, "on this arena", "reset")

    def close(self) -> None:
        """Give all memory back; again does nothing.

        Raises
        ------
        BusyError
            Arrays or views live; the arena stays open. ``error.count`` says how many.
        """
        lived = self._core.close()
        settle()
        if lived:
            raise _busy(lived, "on this arena", "close")

    def check(self) -> int:
        """Verify headers, footers and canaries; damage is reported. Returns places found."""
        found = self._core.check()
        settle()
        return found

    def validate(self, address: int, size: int) -> bool:
        """Tell if all bytes of a range are memory that was handed out."""
        return self._core.validate(address, size)

    def owns(self, address: int) -> bool:
        """Tell if an address lies in memory of this arena."""
        return self._core.owns(address)

    def stats(self) -> Stats:
        """Get the account every owner keeps; exact at rest."""
        return from_row(self._core.stats())

    def figures(self) -> ArenaFigures:
        """Get what only arenas know: total, peak, padding, chunks."""
        return ArenaFigures(**self._core.figures())

    def view(self) -> list[Block]:
        """See every block where they are tracked, else what is handed out of each chunk."""
        return [Block(*row) for row in self._core.view()]

    def leaks(self) -> list[TrackedBlock]:
        """See the tracked blocks that nobody freed.

        Raises
        ------
        UnsupportedError
            The arena was made without ``track_allocations``.
        """
        return [TrackedBlock(*row) for row in self._core.leaks()]

    def log(self) -> list[ArenaOperation]:
        """See the last operations, oldest first; empty without ``log_operations``."""
        return [ArenaOperation(*row) for row in self._core.log()]

    @property
    def depth(self) -> int:
        """Scopes that are open."""
        return self._core.depth

    def __repr__(self) -> str:
        label = f" {self.name!r}" if self.name else ""
        if self.closed:
            return f"<holdfast.Arena{label} #{self.id}, closed>"
        return f"<holdfast.Arena{label} #{self.id}, {self.borrows} borrows>"


def _number(name: str, value: Any) -> int:
    """A switch, ``node`` or ``decay_ms``, whose ``"never"`` is -1 below."""
    if name == "decay_ms" and value == "never":
        return -1
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{name} is no whole number: {value!r}") from None
    if not (-1 if name == "node" else 0) <= number < 1 << 63:
        raise InvalidArgumentError(f"{name} is out of range: {number}")
    return number


def _busy(lived: int, where: str, then: str) -> BusyError:
    plural = "s" if lived > 1 else ""
    verb = "live" if lived > 1 else "lives"
    return BusyError(
        f"{lived} array{plural} or view{plural} {where} {verb}: drop them, then {then}", lived
    )
