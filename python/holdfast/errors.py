"""errors.py - one hierarchy; each class also inherits the builtin a caller would catch.

    HoldfastError
      OutOfMemoryError (MemoryError)      BusyError (BufferError)
      InvalidArgumentError (ValueError)   UnsupportedError (NotImplementedError)
      WaitTimeoutError (TimeoutError)
      CorruptionError (RuntimeError)      .report says what was found
        OverflowedBlockError  DoubleFreeError  InvalidFreeError  UseAfterFreeError
        StackOverflowError
      CancelledError (RuntimeError)
      ShmError (OSError) and those below it: holdfast.shm.errors

Invariants  which class stands for which status or kind of report is read from the C tables.
Talks to    holdfast._core (tables).   Called by the bindings (`from_status`) and report.py.
"""

from __future__ import annotations

from holdfast import _core

TYPE_CHECKING = False  # as in __init__.py
if TYPE_CHECKING:
    from typing import Any

    from holdfast.report import Report

__all__ = [
    "BusyError",
    "CancelledError",
    "CorruptionError",
    "DoubleFreeError",
    "HoldfastError",
    "InvalidArgumentError",
    "InvalidFreeError",
    "OutOfMemoryError",
    "OverflowedBlockError",
    "StackOverflowError",
    "UnsupportedError",
    "UseAfterFreeError",
    "WaitTimeoutError",
]


class HoldfastError(Exception):
    """Everything the library raises on its own account.

    Attributes
    ----------
    status : str
        Name of the C status, such as ``"HF_E_LIMIT"``; empty if there was none.
    """

    status: str = ""


class OutOfMemoryError(HoldfastError, MemoryError):
    """The operating system refused memory, or a limit did."""


class InvalidArgumentError(HoldfastError, ValueError):
    """An argument or an option is out of range, contradicts another, or names what is gone."""


class UnsupportedError(HoldfastError, NotImplementedError):
    """The machine, the kernel or this build cannot do it."""


class WaitTimeoutError(HoldfastError, TimeoutError):
    """What was waited for did not happen in time."""


class BusyError(HoldfastError, BufferError):
    """Memory is still borrowed.

    Attributes
    ----------
    count : int
        Living borrows (memoryviews, arrays, DLPack tensors) that were in the way.
    """

    def __init__(self, message: str = "", count: int = 1) -> None:
        super().__init__(message)
        self.count = count


class CorruptionError(HoldfastError, RuntimeError):
    """Memory was damaged by the program.

    Attributes
    ----------
    report : Report or None
        What was found, where, and which lines allocated and freed the block.
    """

    report: Report | None = None


class OverflowedBlockError(CorruptionError):
    """Bytes outside a block were overwritten."""


class DoubleFreeError(CorruptionError):
    """A block was freed twice."""


class InvalidFreeError(CorruptionError):
    """A pointer was freed that is not what its allocator handed out."""


class UseAfterFreeError(CorruptionError):
    """A block was written to after it was freed."""


class StackOverflowError(CorruptionError):
    """A stack ran into its guard; the process cannot go on."""


class CancelledError(HoldfastError, RuntimeError):
    """The fiber or task is to clean up and end."""


STATUS_CLASSES = {name: python for name, _, python, _ in _core.status_table() if python}
REPORT_CLASSES = {name: python for name, python, _, _ in _core.report_table() if python}
_STATUS_NAMES = {value: name for name, value, _, _ in _core.status_table()}


def _class(name: str) -> type[HoldfastError]:
    """Find a class by its name in the tables."""
    found: Any = globals().get(name)
    if found is None:  # only who shares memory pays for the import of `queue`
        from importlib import import_module

        found = getattr(import_module("holdfast.shm.errors"), name)
    made: type[HoldfastError] = found
    return made


def from_status(status: int, sentence: str) -> HoldfastError:
    """Make the exception that stands for a status of the C API.

    Parameters
    ----------
    status : int
        Negative value of status.def.
    sentence : str
        What went wrong, from the C or C++ side.

    Returns
    -------
    HoldfastError
        Of the class named in status.def; not raised.
    """
    name = _STATUS_NAMES.get(status, "HF_E_UNKNOWN")
    error = _class(STATUS_CLASSES.get(name, "HoldfastError"))(sentence)
    error.status = name
    return error


def from_report(report: Report) -> CorruptionError:
    """Make the exception that stands for a report of corruption.

    Parameters
    ----------
    report : Report
        As given to the callbacks of `on_corruption`.

    Returns
    -------
    CorruptionError
        Of the class named in report.def, with the report attached; not raised.
    """
    kind = _class(REPORT_CLASSES.get(report.kind, "CorruptionError"))
    error = kind(report.text.rstrip())
    assert isinstance(error, CorruptionError)
    error.status = "HF_E_CORRUPT"
    error.report = report
    return error
