"""scope.py - a budget and a count for a stretch of a program: `with scope("load", limit="500M")`.

    scope ──► Statistics(Limit(current resource)) ──► mr.current(), and array memory

Invariants  what is allocated inside counts in every scope around it, and so does what goes back
            after the end.
Talks to    mr.py, numpy.py (if NumPy is loaded).   Called by users.
Threads     as `holdfast.mr.use` and `holdfast.numpy.allocator`: this context and tasks it starts.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from holdfast import mr
from holdfast.errors import InvalidArgumentError

__all__ = ["Scope", "scope"]


class Scope:
    """Figures of a stretch of a program. See `scope`."""

    __slots__ = ("_arrays", "_block", "_ended", "_statistics", "_track", "_use", "limit", "name")

    def __init__(
        self, name: str, limit: int | str | None, sites: bool, arrays: bool | None
    ) -> None:
        self.name = name
        self.limit = limit
        self._arrays = arrays
        self._track = sites
        self._statistics: mr.Statistics | None = None
        self._block: Any = None
        self._use: mr.use | None = None
        self._ended: mr.Counter | None = None

    def __enter__(self) -> Scope:
        if self._statistics is not None:
            raise InvalidArgumentError("a scope is entered once; make another one")
        below = mr.current()
        if self.limit is not None:
            below = mr.Limit(below, self.limit, name=self.name)
        if self._track:
            below = mr.Track(below, frames=4)
        self._statistics = mr.Statistics(below)
        self._use = mr.use(self._statistics)
        self._use.__enter__()
        if self._arrays or (self._arrays is None and "numpy" in sys.modules):
            from holdfast.numpy import allocator

            self._block = allocator(self._statistics)
            self._block.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._block is not None:
            self._block.__exit__(kind, value, traceback)
        assert self._use is not None
        self._use.__exit__(kind, value, traceback)
        self._ended = self._counter()

    def _counter(self) -> mr.Counter:
        if self._statistics is None:
            raise InvalidArgumentError("the scope was not entered")
        return self._statistics.counter

    @property
    def peak(self) -> int:
        """Largest `live` so far [bytes]."""
        return self._counter().bytes_peak

    @property
    def live(self) -> int:
        """Bytes allocated inside that have not gone back yet."""
        return self._counter().bytes

    @property
    def total(self) -> int:
        """Bytes allocated inside, gone back or not."""
        return self._counter().bytes_total

    @property
    def leaked(self) -> int:
        """Bytes that were out when the scope ended; 0 before. `live` says what is left of them."""
        return self._ended.bytes if self._ended is not None else 0

    @property
    def blocks(self) -> int:
        """Blocks allocated inside that have not gone back yet."""
        return self._counter().blocks

    def sites(self) -> dict[str, tuple[int, int]]:
        """Get what is out by the lines that asked for it: (blocks, bytes), the most first.

        Raises
        ------
        InvalidArgumentError
            The scope was made without ``sites=True``.
        """
        self._counter()
        assert self._statistics is not None
        below = self._statistics.upstream
        if not isinstance(below, mr.Track):
            raise InvalidArgumentError("give scope(..., sites=True)")
        return below.leaks()

    def __repr__(self) -> str:
        if self._statistics is None:
            return f"<holdfast.Scope {self.name!r}>"
        return (
            f"<holdfast.Scope {self.name!r}: live {self.live}, peak {self.peak}, "
            f"leaked {self.leaked} bytes>"
        )


def scope(
    name: str,
    limit: int | str | None = None,
    *,
    sites: bool = False,
    arrays: bool | None = None,
) -> Scope:
    """Count, and bound, what a stretch of a program allocates.

    Parameters
    ----------
    name : str
        For messages.
    limit : int or str, optional
        Bytes that may be out at once, ``"500MB"``; what goes beyond gets MemoryError.
    sites : bool
        Remember which lines asked; see `Scope.sites`. Slower.
    arrays : bool, optional
        Count array memory, too. By default if NumPy is loaded when the scope is entered.

    Returns
    -------
    Scope
        A context manager; its figures go on after the block, so that what is freed later is seen.

    Notes
    -----
    Counted is what goes through `holdfast.mr` (`mr.current`) and the data of NumPy arrays, which
    have 64 bytes more than their data each. Python objects and `malloc` of other libraries are not:
    see `holdfast.limit` for those.

    Examples
    --------
    >>> with scope("load", limit="500MB") as s:
    ...     table = read(path)
    >>> print(s.peak, s.live, s.leaked)
    """
    return Scope(name, limit, sites, arrays)
