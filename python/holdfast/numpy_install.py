"""numpy_install.py - every array of the process: NumPy's default handler, exchanged in place.

Invariants  what was served once is recognised for ever; a NumPy that is not known is left alone.
Talks to    holdfast._numpy (patch), holdfast._core.   Called by numpy.py.
Threads     any; new arrays of all threads are served from the moment install returns.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from holdfast import _core, _numpy
from holdfast.errors import UnsupportedError
from holdfast.numpy_stats import StoreStats, store_stats
from holdfast.source import ArraySource, Source

__all__ = ["Installation", "install_on", "installed", "installed_owner", "uninstall"]

_TESTED = ((1, 26), (2, 6))  # NumPy versions whose default handler is known: [first, beyond)


class Installation:
    """The process-wide installation; a context manager that uninstalls. See `install`."""

    __slots__ = ("_handler", "_source")

    def __init__(self, handler: _core.ArrayHandler, source: Source) -> None:
        self._handler = handler
        self._source = source

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, *_: object) -> None:
        uninstall()

    def stats(self) -> StoreStats:
        """Get the figures of the arrays that were served."""
        return store_stats(self._handler.figures())

    def __repr__(self) -> str:
        return f"<holdfast.numpy.Installation on {self._source.kind} {self._source.name!r}>"


_installed: dict[int, tuple[Source, ArraySource]] = {}  # by the index of _numpy; never forgotten
_install_lock = threading.Lock()


def install_on(chosen: ArraySource) -> Installation:
    """Serve every array of the process from `chosen`; see `holdfast.numpy.install`."""
    _check_numpy()
    with _install_lock:
        handler, described = chosen._array_handler()
        if not handler.can_tell or (described.kind == "heap" and described.id == _default_id()):
            raise UnsupportedError(
                "this owner cannot tell its blocks from those of others: install a Heap of your "
                "own, an Arena or 'hugepages'"
            )
        _numpy.patch(handler.door())
        try:
            index = _test_patch()
        except BaseException:
            _numpy.unpatch()
            raise
        _installed[index] = (described, chosen)
    return Installation(handler, described)


def uninstall() -> None:
    """New arrays are NumPy's own again; those that were served stay and are freed as before."""
    _numpy.unpatch()


def installed() -> bool:
    """True while `install` is in force."""
    return _numpy.patched()


def installed_owner(address: int) -> Source | None:
    """Tell which installed owner an address is of."""
    index = _numpy.patched_owns(address)
    return _installed[index][0] if index in _installed else None


def _default_id() -> int:
    return _core.default_heap().id


def _check_numpy() -> None:
    version = tuple(int(part) for part in np.__version__.split(".")[:2])
    if not _TESTED[0] <= version < _TESTED[1]:
        raise UnsupportedError(f"NumPy {np.__version__} is not known to install(); use allocator()")
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise UnsupportedError("install() is not proven on builds without the GIL")
    at = _numpy.default_handler_at()
    try:
        with open("/proc/self/maps") as maps:
            spans = [line.split(None, 2)[:2] for line in maps]
    except OSError as error:
        raise UnsupportedError("/proc/self/maps cannot be read") from error
    for span, rights in spans:
        first, last = (int(part, 16) for part in span.split("-"))
        if first <= at < last and rights.startswith("rw"):
            return
    raise UnsupportedError("NumPy's default handler is not in writable memory")


def _test_patch() -> int:
    """Make, stretch and free arrays; returns the index of the installed owner."""
    before = _numpy.set_handler(None)
    try:
        empty, zeros = np.empty(100_000), np.zeros(1000)
        zeros[:10] = np.arange(10)
        zeros.resize(50_000, refcheck=False)
        grown = np.resize(zeros, 60_000)
        index = _numpy.patched_owns(empty.ctypes.data)
        good = (
            index >= 0
            and _numpy.patched_owns(zeros.ctypes.data) == index
            and zeros.ctypes.data % 64 == 0
            and bool((zeros[:10] == np.arange(10)).all())
            and not zeros[1000:].any()
            and bool((grown[:10] == np.arange(10)).all())
        )
    finally:
        _numpy.set_handler(before)
    if not good:
        raise UnsupportedError(f"NumPy {np.__version__} did not pass the test of install()")
    return index
