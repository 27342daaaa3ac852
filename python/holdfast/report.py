"""report.py - corruption as values, callbacks and exceptions.

Invariants  callbacks run at safe points, never inside the allocator; policy ``raise`` raises each
            report once.
Talks to    holdfast._core, safe_point.py, errors.py.   Called by holdfast.on_corruption.
Threads     any. Callbacks run on the main thread, or on the thread whose call of holdfast met the
            corruption.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

from holdfast import _core, safe_point
from holdfast.errors import InvalidArgumentError, from_report

__all__ = ["Report", "Watch", "on_corruption", "policy", "recent_reports", "report_count"]


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """One corruption, as it was found. Addresses and sizes in bytes.

    Attributes
    ----------
    kind : str
        ``"OVERFLOW"``, ``"DOUBLE_FREE"`` and so on: the rows of report.def.
    address : int
        The pointer the program gave, or the block's start.
    block, block_size, class_size : int
        Start of the block, bytes that were asked for, bytes it occupies; 0 if unknown.
    damage_offset, damage_length : int
        First overwritten byte, counted from `block`, and how many were seen.
    data : bytes
        What was written there, at most 32 bytes.
    site_noticed, site_allocated, site_freed : str
        Call stacks, outermost first, one frame a line; empty if unknown.
    text : str
        The whole report as it is printed.
    """

    kind: str
    sentence: str
    anchor: str
    time_ns: int
    thread_id: int
    found_by: str
    address: int
    block: int
    block_size: int
    class_size: int
    damage_offset: int
    damage_length: int
    expected: int
    found: int
    data: bytes
    domain: str
    freed_as: str
    given_size: int
    owner: str
    heap_id: int
    site_noticed: str
    site_allocated: str
    site_freed: str
    text: str

    def __str__(self) -> str:
        return self.text

    def as_dict(self) -> dict[str, Any]:
        """Every field by name; `data` as hexadecimal text, so that JSON can carry it."""
        return dataclasses.asdict(self) | {"data": self.data.hex()}


Callback = Callable[[Report], object]

_lock = threading.RLock()  # re-entered when a safe point falls inside on_corruption
_raising = False


class Watch:
    """A callback that is installed; `remove` it, or use it as a context manager."""

    def __init__(self, callback: Callback) -> None:
        self.callback = callback

    def remove(self) -> None:
        """Stop calling; again does nothing."""
        global _watches
        with _lock:
            _watches = tuple(watch for watch in _watches if watch is not self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


_watches: tuple[Watch, ...] = ()


def on_corruption(callback: Callback) -> Watch:
    """Have every report of corruption told to a function, in this whole process.

    Parameters
    ----------
    callback : callable
        Called with one `Report` at the next safe point: on the main thread between two steps of
        the interpreter, or at the end of the holdfast call that met the corruption. It may do
        anything. What it raises goes to ``sys.unraisablehook``.

    Returns
    -------
    Watch
        Removes the callback again.
    """
    global _watches
    if not callable(callback):
        raise InvalidArgumentError("on_corruption takes a function of one Report")
    watch = Watch(callback)
    with _lock:
        safe_point.add_poller(_poll)
        _core.watch_reports()
        _watches = (*_watches, watch)
    return watch


def policy(value: str) -> None:
    """Set what happens after a report, for the whole process.

    Parameters
    ----------
    value : {"report", "abort", "raise"}
        Go on (the damaged block is taken out of service); abort the process; or go on and raise a
        `CorruptionError` at the next safe point.

    Raises
    ------
    InvalidArgumentError
        `value` is none of the three.
    """
    global _raising
    choices = next(row[3] for row in _core.options_table() if row[0] == "on_corruption")
    if value not in choices:
        raise InvalidArgumentError(f"policy is one of {', '.join(choices)}, not {value!r}")
    with _lock:
        if value == "raise":
            safe_point.add_poller(_poll)
            _core.watch_reports()
        _core.set_policy(choices.index(value))
        _raising = value == "raise"


def raise_pending() -> None:
    """Raise the oldest report nobody took yet under policy ``raise``; nothing if there is none.

    Raises
    ------
    CorruptionError
        Of the class that stands for the kind of the report.
    """
    fields = _core.take_pending()
    if fields is not None:
        raise from_report(Report(**fields))


def recent_reports() -> list[Report]:
    """The most recent reports of this process, at most 64, oldest first."""
    return [Report(**fields) for fields in _core.recent_reports()]


def report_count() -> int:
    """Reports of this process so far."""
    return _core.report_count()


def _poll() -> None:
    while (fields := _core.take_report()) is not None:
        report = Report(**fields)
        for watch in _watches:
            _core.call_quietly(watch.callback, report)
    if _raising:
        raise_pending()
