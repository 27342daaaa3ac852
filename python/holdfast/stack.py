"""stack.py - guarded C stacks for Python: one call on a stack of its own, and pools of stacks.

    caller's stack:  run_on_stack(fn, ...) ──switch──┐        ┌──► result or exception
    borrowed stack:                                  └► fn(...)

Invariants  a stack is given back when the call ends, however it ends.
Talks to    holdfast._fiber.   Called by holdfast.run_on_stack, holdfast.StackPool.
Threads     any; a call stays on its thread.
"""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Callable
from typing import Any, TypeVar

from holdfast import _fiber
from holdfast.errors import InvalidArgumentError
from holdfast.options import parse_size
from holdfast.stats import Stats

__all__ = ["Stack", "StackPool", "run_on_stack"]

R = TypeVar("R")

_COUNT_MAX = 4_194_304
_NAME_MAX = 31
_MANY = 1 << 48  # bytes of addresses; more cannot be had anyway


@dataclasses.dataclass(frozen=True, slots=True)
class Stack:
    """One stack of a `StackPool`: plain addresses, valid until it is given back."""

    stack_ptr: int
    """The top, 16-aligned and exclusive: a stack grows down from here."""
    size: int
    """Usable bytes below `stack_ptr`."""
    guard_low: int
    """First byte of the guard below."""
    guard_high: int
    """First byte of the guard above; equals `stack_ptr`."""
    index: int
    """Place in the pool."""
    generation: int
    """Differs each time the place is taken."""


# Not dataclasses.astuple, which copies what it finds, and takes longer than all the rest.
_row = operator.attrgetter(*(field.name for field in dataclasses.fields(Stack)))


class StackPool(_fiber.StackPool):
    """Stacks of one size, carved from one reservation, each between guards that fault.

    Fibers of one pool share its limit, its figures and its name in reports.

    Parameters
    ----------
    stack_size : int or str
        Usable bytes of each, 4 KiB to 64 GiB; ``"1 MiB"`` works. Fibers need 128 KiB.
    guard_size : int or str
        Bytes that fault below each. A C frame larger than this may step over the guard.
    count_max : int
        Stacks that may be in use at once.
    decay : float
        Memory of stacks idle for so long goes back to the system [s].
    retain : int
        Idle stacks whose memory never decays.
    paint : bool
        Fill stacks with a pattern: `high_water` is exact, writes to idle stacks are reported.
    name : str
        For reports; 31 bytes.

    Raises
    ------
    InvalidArgumentError
        A size is no size or out of range.
    OutOfMemoryError
        The system refuses the reservation.
    """

    __slots__ = ()

    def __new__(
        cls,
        stack_size: int | str = "256 KiB",
        *,
        guard_size: int | str = "64 KiB",
        count_max: int = _COUNT_MAX,
        decay: float = 1.0,
        retain: int = 16,
        paint: bool = False,
        name: str = "stacks",
    ) -> StackPool:
        """Make a pool; see the class."""
        size = parse_size(stack_size, "stack_size")
        guard = parse_size(guard_size, "guard_size")
        if max(size, guard) >= _MANY:
            raise InvalidArgumentError(f"stack_size: {max(size, guard)} bytes cannot be had")
        if not 0 < count_max <= _COUNT_MAX:
            raise InvalidArgumentError(f"count_max: {count_max}; 1 to {_COUNT_MAX} are possible")
        if not 0 <= decay < 1e9 or not 0 <= retain < _MANY:
            raise InvalidArgumentError("decay, retain: seconds and stacks, not negative")
        if len(os.fsencode(name)) > _NAME_MAX:
            raise InvalidArgumentError(f"name: {name!r} is longer than {_NAME_MAX} bytes")
        count = min(count_max, max(1, _MANY // (size + guard or 1)))
        return super().__new__(cls, size, guard, count, int(decay * 1e9), retain, paint, name)

    def take(self, name: str = "") -> Stack:
        """Take a stack, for code that switches stacks itself; give it back with `give`.

        Parameters
        ----------
        name : str
            Of the stack, for reports; 31 bytes.

        Raises
        ------
        OutOfMemoryError
            The system refuses memory, or all `count_max` are in use.
        """
        return Stack(*self._take(name))

    def give(self, stack: Stack) -> None:
        """Give a stack back.

        Raises
        ------
        InvalidArgumentError
            It was given back before, or is not this pool's; that is also reported.
        """
        self._give(_row(stack))

    def high_water(self, stack: Stack) -> int:
        """Most bytes of a taken stack in use so far; whole pages unless the pool paints."""
        return self._high_water(_row(stack))

    def stats(self) -> Stats:
        """Get the figures: in use are taken stacks, cached and free those that are idle."""
        return Stats("stack", *self._stats())

    @property
    def light_guards(self) -> bool:
        """True if guards are marks in the page table, and do not count as mappings."""
        return self._info()[0]

    @property
    def guard_size(self) -> int:
        """Bytes that fault below each stack."""
        return self._info()[1]

    @property
    def count(self) -> int:
        """Stacks that exist, in use or idle."""
        return self._info()[2]

    @property
    def in_use(self) -> int:
        """Stacks that are taken."""
        return self._info()[3]

    @property
    def count_max(self) -> int:
        """Stacks that may exist at once; less than asked for where mappings are limited."""
        return self._info()[4]

    @property
    def high_water_max(self) -> int:
        """Most bytes that any stack of the pool was seen to use."""
        return self._info()[5]

    def __enter__(self) -> StackPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<holdfast.StackPool closed>"
        return (
            f"<holdfast.StackPool {self.name!r} of {self.stack_size} bytes, {self.in_use} in use>"
        )


def run_on_stack(
    function: Callable[..., R], /, *args: Any, stack_size: int | str = "64 MiB", **kwargs: Any
) -> R:
    """Call a function on a guarded C stack of its own, and return what it returns.

    For recursion in C that is too deep for the thread's stack: parsers, `json`, `pickle`, `repr`,
    `ast`, destructors of long chains, extensions. What recurses too deep for this stack as well
    gets RecursionError where the interpreter counts, and a report that names the function where
    it does not; the thread's own stack is never touched.

    Parameters
    ----------
    function : callable
        Called as ``function(*args, **kwargs)``, on this thread, in this context. Its frames are
        called by the caller's: tracebacks and `sys._getframe` look as without.
    stack_size : int or str
        Usable bytes, 128 KiB to 64 GiB; ``"64 MiB"`` works. Only what is used takes memory.
        Inside, recursion may go one level deeper per KiB: in C from Python 3.12 on, and in Python
        unless `sys.setrecursionlimit` allows more; 3.11 counts both together.

    Returns
    -------
    object
        The result.

    Raises
    ------
    UnsupportedError
        This interpreter is not one whose inside is known.
    InvalidArgumentError
        `stack_size` is no size or out of range.
    OutOfMemoryError
        There is no stack.
    Exception
        Whatever `function` raises.

    Notes
    -----
    Calls nest. A fiber may suspend inside. Stacks are kept for the next call and lose their memory
    after a second of rest. ``docs/python-fibers.md`` says what is not supported.
    """
    result: R = _fiber.run_on_stack(stack_size, function, *args, **kwargs)
    return result
