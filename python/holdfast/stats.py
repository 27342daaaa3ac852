"""stats.py - the figures of one heap, as a frozen dataclass made from stats.def.

At rest  bytes_mapped = bytes_in_use + bytes_slack + bytes_cached + bytes_free
                      + bytes_quarantined + bytes_meta
Invariants  one field per row of stats.def, in its order, under its name.
Talks to    holdfast._core.   Called by heap.py, health.py, holdfast.stats().
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast import _core

__all__ = ["Block", "ClassStats", "Stats", "process"]

TABLE = _core.stats_table()
ACCOUNT = (
    "bytes_in_use",
    "bytes_slack",
    "bytes_cached",
    "bytes_free",
    "bytes_quarantined",
    "bytes_meta",
)


class _Figures:
    """What can be said about the figures of a heap; the fields are in `Stats`."""

    __slots__ = ()

    if TYPE_CHECKING:
        profile: str

        def __getattr__(self, name: str) -> int: ...

    @property
    def hit_rate(self) -> float:
        """Share of small allocations that a thread cache served, 0 to 1; 1 if there were none."""
        return 1.0 - self.cache_misses / self.small_allocs if self.small_allocs else 1.0

    @property
    def fragmentation_internal(self) -> float:
        """Bytes of live blocks beyond what was asked for, as a share of those blocks, 0 to 1."""
        live = self.bytes_in_use + self.bytes_slack
        return self.bytes_slack / live if live else 0.0

    @property
    def fragmentation_external(self) -> float:
        """Free bytes in slabs and middle pools, as a share of what the heap holds, 0 to 1."""
        return self.bytes_free / self.bytes_mapped if self.bytes_mapped else 0.0

    @property
    def bytes_accounted(self) -> int:
        """Right-hand side of the account [bytes]."""
        return sum(int(getattr(self, name)) for name in ACCOUNT)

    def adds_up(self) -> bool:
        """Tell if every mapped byte stands on exactly one line of the account.

        Returns
        -------
        bool
            Exact at rest; while other threads allocate, lines may be read a moment apart.
        """
        return self.bytes_mapped == self.bytes_accounted

    def as_dict(self) -> dict[str, Any]:
        """Every field by name, and the ratios."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        ratios = ("hit_rate", "fragmentation_internal", "fragmentation_external")
        return fields | {name: getattr(self, name) for name in ratios}

    def json(self) -> str:
        """The same as one JSON object."""
        return json.dumps(self.as_dict())


if TYPE_CHECKING:

    class Stats(_Figures):
        """The figures of one heap; fields as in stats.def."""

        def __init__(self, *figures: str | int) -> None: ...

else:
    Stats = dataclasses.make_dataclass(
        "Stats",
        [("profile", str), *((name, int) for name, _, _ in TABLE)],
        bases=(_Figures,),
        namespace={"__module__": __name__},
        frozen=True,
        slots=True,
    )
    Stats.__doc__ = (
        "The figures of one heap at one moment.\n\nAttributes\n----------\n"
        + "\n".join(
            f"{name} : int\n    {sentence[0].upper()}{sentence[1:]} [{unit}]."
            for name, unit, sentence in TABLE
        )
    )


class ClassStats(NamedTuple):
    """Figures of one size class of the small tier."""

    size: int
    """Bytes of one block, trailer included."""
    alignment: int
    allocs: int
    blocks: int
    """Live blocks."""
    cached: int
    """Free blocks held by threads and depots."""
    free: int
    """Free blocks in slabs."""
    slabs: int
    misses: int
    """Allocations that a thread cache could not serve."""
    lock_waits: int


class Block(NamedTuple):
    """One block as seen from outside; true at the moment its slab or pool was read."""

    address: int
    size: int
    """Bytes that were asked for; the class size in profile ``fast``."""
    class_size: int
    """Bytes it occupies."""
    state: str
    """``live``, ``cached``, ``free`` or ``quarantined``."""
    tier: str
    """``small``, ``middle`` or ``large``."""
    domain: str
    """``libc``, ``raw``, ``mem`` or ``obj``: whose functions asked for it."""
    owner: int
    """Number of its slab, pool or mapping."""


def from_row(row: tuple[int, ...]) -> Stats:
    """Name the figures that the bindings hand over in the order of stats.def."""
    profiles = _core.options_table()[0][3]
    return Stats(profiles[row[0]], *row[1:])


def process() -> dict[str, Any]:
    """Everything the process-wide heap knows: totals, size classes, options, recent reports.

    Returns
    -------
    dict
        The JSON of ``hf_process_json``; keys are described in docs/stats.md.
    """
    document: dict[str, Any] = json.loads(_core.process_json())
    return document
