"""options.py - every option of the library: what there is, and what is in force.

Invariants  names, defaults, ranges and sentences come from options.def.
Talks to    holdfast._core.   Called by heap.py, limits.py.
Fails with  InvalidArgumentError, with the sentence of the C parser.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast import _core
from holdfast.errors import InvalidArgumentError

__all__ = ["Option", "OptionValue", "active_options", "all_options"]

OptionValue = str | int | bool


class Option(NamedTuple):
    """One row of options.def."""

    name: str
    """As in ``Heap(name=…)``; the environment variable is ``HOLDFAST_`` and this in capitals."""
    kind: str
    """``"enum"``, ``"size"`` (bytes; text takes K, M and G) or ``"number"``."""
    default: str | int
    choices: tuple[str, ...]
    """Words an enum takes; empty for others."""
    minimum: int | None
    maximum: int | None
    sentence: str

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return "HOLDFAST_" + self.name.upper()


def all_options() -> dict[str, Option]:
    """Every option there is.

    Returns
    -------
    dict of str to Option
        In the order of options.def.
    """
    return {row[0]: Option(*row) for row in _core.options_table()}


def active_options() -> dict[str, str | int]:
    """What the process-wide heap runs with: defaults and environment.

    Returns
    -------
    dict of str to str or int
        The word of an enum, a number otherwise (sizes in bytes).
    """
    return _core.Options.active().values()


def build(values: dict[str, OptionValue]) -> _core.Options:
    """Defaults with `values` on top, judged by the C parser."""
    options = _core.Options()
    for name, value in values.items():
        options.set(name, str(int(value)) if isinstance(value, int) else str(value))
    options.check()
    return options


def parse_size(value: str | int | None, name: str = "limit") -> int:
    """Bytes of ``"64M"``, ``"64 MiB"``, a number, or None (which is 0: no limit)."""
    if value is None:
        return 0
    if isinstance(value, str):
        value = value.strip()
    try:
        size = build({"limit": value}).values()["limit"]
    except InvalidArgumentError as error:
        raise InvalidArgumentError(str(error).replace("limit", name, 1)) from None
    assert isinstance(size, int)
    return size
