"""structure.py - what all structures in shared memory have in common as Python objects.

Invariants  pickling hands over the name: the receiver opens the same structure in the same segment.
Talks to    segment.py (types only).   Called by every structure of this package.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

from holdfast.errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing import Self

    from holdfast.shm.records import Fault, Figures, Item
    from holdfast.shm.segment import Segment

    Mode = Literal["open", "create", "open_or_create"]

__all__ = ["MODES", "Structure", "mode_number", "whole"]

MODES = {"open": 0, "create": 1, "open_or_create": 2}


def mode_number(mode: str) -> int:
    """Number of hf_shm_mode; InvalidArgumentError if there is no such mode."""
    if mode not in MODES:
        raise InvalidArgumentError(f"mode must be one of {', '.join(MODES)}, it is {mode!r}")
    return MODES[mode]


def whole(what: str, value: SupportsIndex, bits: int = 64) -> int:
    """Look whether a number fits into the bits that C has for it.

    Raises
    ------
    InvalidArgumentError
        It does not fit.
    """
    number = index(value)
    if not 0 <= number < 1 << bits:
        raise InvalidArgumentError(f"{what} must be 0 or more and below 2**{bits}, it is {number}")
    return number


class Structure:
    """Something with a name in a segment; a handle on it in this process."""

    __slots__ = ()

    if TYPE_CHECKING:
        _segment: Segment
        _name: str

        @property
        def closed(self) -> bool:
            """True after `close`."""

        def close(self) -> None:
            """Close it in this process; BusyError while its memory is lent."""

    @property
    def name(self) -> str:
        """Its name in the segment."""
        return self._name

    @property
    def segment(self) -> Segment:
        """Where it lies."""
        return self._segment

    def figures(self) -> Figures:
        """See how full it is and what went through it."""
        return self._segment.figures(self._name)

    def view(self) -> list[Item]:
        """See every slot, object, record of it without owning any."""
        return self._segment.view(self._name)

    def check(self) -> list[Fault]:
        """Verify it; empty if all is well."""
        return self._segment.check(self._name)

    def repair(self) -> int:
        """Put right what can be; returns how many things were."""
        return self._segment.repair(self._name)

    def erase(self) -> None:
        """Take its name away; its bytes go when nobody has it open any more."""
        self._segment.erase(self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except BufferError:
            if kind is None:  # an error on its way is not hidden
                raise

    def __reduce__(self) -> tuple[Any, ...]:
        from holdfast.shm.structures import open_any

        return open_any, (self._segment, self._name)

    def __repr__(self) -> str:
        kind = f"holdfast.shm.{type(self).__name__} {self._name!r}"
        return f"<{kind}, closed>" if self.closed else f"<{kind} in {self._segment.name!r}>"
