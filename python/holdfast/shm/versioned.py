"""versioned.py - an array that is replaced as a whole: one process writes, many read.

Invariants  what a reader gets is one version, whole; the writer never waits for readers. A writer
            that is killed leaves the last whole version.
Talks to    holdfast._shm.   Called by segment.py.
Threads     one at a time on an object; open another for another thread.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from holdfast import _shm
from holdfast.errors import InvalidArgumentError, WaitTimeoutError
from holdfast.shm.array import Shaped, close_lent, shape_of
from holdfast.shm.dtypes import format_of
from holdfast.shm.errors import StaleError
from holdfast.shm.structure import mode_number, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from holdfast.shm.records import Entry
    from holdfast.shm.segment import Segment

__all__ = ["Versioned"]


class Versioned(Shaped):
    """Versions 1, 2, 3, ... of an array; 0: never written, all zero.

    Examples
    --------
    >>> positions = segment.versioned("positions", (1000, 3), "f4")
    >>> positions.write(array)                   # in the process that simulates
    >>> array, version = positions.read()        # in those that look on
    >>> version = positions.wait(version)        # until there is a newer one
    """

    __slots__ = ()

    @classmethod
    def _make(
        cls,
        segment: Segment,
        name: str,
        shape: int | tuple[int, ...],
        dtype: npt.DTypeLike,
        buffers: int,
        mode: str,
    ) -> Self:
        text, size = format_of(dtype)
        checked = shape_of(shape)
        core = _shm.versioned_open(
            segment._core,
            name,
            mode_number(mode),
            checked,
            size,
            text,
            whole("buffers", buffers, 32),
        )
        return cls._typed(segment, name, core, checked, text, size)

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        core = _shm.versioned_open(segment._core, entry.name, 0, None, 0, "", 0)
        return cls._typed(segment, entry.name, core, entry.shape, entry.format, entry.element_size)

    # --- writing ------------------------------------------------------------------------------

    def write(self, values: npt.ArrayLike) -> int:
        """Replace the whole array; readers see all of it or nothing.

        Returns
        -------
        int
            The new version.

        Raises
        ------
        BusyError
            Another living process writes it.
        """
        import numpy as np

        made = np.asarray(values, self.dtype, order="C")
        if made.shape != self.shape:
            made = np.ascontiguousarray(np.broadcast_to(made, self.shape))
        return int(self._core.write(made.reshape(-1).view("u1")))

    @contextlib.contextmanager
    def writing(self, *, keep: bool = False) -> Iterator[np.ndarray[Any, Any]]:
        """Fill the next version in place; readers see it when the block ends.

        Parameters
        ----------
        keep : bool
            It starts as a copy of the last version; otherwise as some older one.

        Yields
        ------
        ndarray, shape ``self.shape``
            For the time of the block, after which it is read-only; if the block raises, the version
            does not come to be.

        Raises
        ------
        BusyError
            A view of the array is alive when the block ends: it would change what readers see. The
            version does not come to be.
        """
        import numpy as np

        array: np.ndarray[Any, Any] = np.ndarray(self.shape, self.dtype, self._core.begin(keep))
        try:
            yield array
            close_lent(array)
        except BaseException:
            self._core.cancel()
            raise
        self._core.commit()

    def claim(self) -> None:
        """Become the writer, which the first write does by itself."""
        self._core.claim()

    def release(self) -> None:
        """Let another write."""
        self._core.release()

    # --- reading ------------------------------------------------------------------------------

    def read(self, out: np.ndarray[Any, Any] | None = None) -> tuple[np.ndarray[Any, Any], int]:
        """Copy the newest whole version.

        Parameters
        ----------
        out : ndarray, optional
            Where to; of the same shape and dtype, C order.

        Returns
        -------
        tuple of ndarray and int
            The array, of this process alone, and its version.

        Raises
        ------
        BusyError
            The writer came round faster than a copy takes, again and again; see `buffers`.
        """
        made = self._room(out)
        return made, int(self._core.read(made.reshape(-1).view("u1"), 0))

    def read_newer(
        self, version: int, out: np.ndarray[Any, Any] | None = None
    ) -> tuple[np.ndarray[Any, Any], int] | None:
        """Copy the newest version unless it is `version`: then None."""
        if version == 0 and self.version == 0:
            return None
        made = self._room(out)
        found = self._core.read(made.reshape(-1).view("u1"), version)
        return None if found is None else (made, int(found))

    def _room(self, out: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
        import numpy as np

        if out is None:
            return np.empty(self.shape, self.dtype)
        if out.shape != self.shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise InvalidArgumentError(
                f"out must have shape {self.shape} and dtype {self.dtype} in C order, "
                f"it has {out.shape} and {out.dtype}"
            )
        return out

    @contextlib.contextmanager
    def viewing(self) -> Iterator[np.ndarray[Any, Any]]:
        """Look at the newest version in place, without a copy.

        Raises
        ------
        StaleError
            At the end of the block: the writer has come round to this version meanwhile, and what
            was read of it is no good.
        """
        import numpy as np

        memory, version = self._core.view()
        array: np.ndarray[Any, Any] = np.ndarray(self.shape, self.dtype, memory)
        yield array
        if not self._core.intact(version):
            raise StaleError(f"version {version} of {self._name!r} was overwritten meanwhile")

    def wait(self, version: int = 0, timeout: float | None = None) -> int:
        """Wait until the newest version is later than `version`; returns it.

        Raises
        ------
        WaitTimeoutError
            There was none for `timeout` seconds.
        """
        found = self._core.wait(version, timeout)
        if found is None:
            raise WaitTimeoutError(f"no version of {self._name!r} after {version} in time")
        return int(found)

    @property
    def version(self) -> int:
        """The newest whole version; 0: never written."""
        return int(self._core.version)

    @property
    def buffers(self) -> int:
        """Copies that are kept."""
        return int(self._core.buffers)

    @property
    def writer(self) -> int | None:
        """Index of the participant that writes; None: nobody."""
        found: int | None = self._core.writer()
        return found
