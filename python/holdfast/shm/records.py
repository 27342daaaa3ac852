"""records.py - what a segment says about itself: plain rows, of a moment that is over.

Talks to    nothing.   Called by segment.py, the command line.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Entry", "Fault", "Figures", "Info", "Item", "Participant"]


@dataclass(frozen=True, slots=True)
class Info:
    """A segment at one moment; sizes in bytes."""

    name: str
    """Empty without one."""
    id: str
    """Drawn when it was made; never the same again."""
    size: int
    size_max: int
    """Up to which it may grow."""
    bytes_used: int
    """By structures."""
    bytes_free: int
    largest_free: int
    """Longest run of free bytes."""
    bytes_meta: int
    """Header, participants and table."""
    created_ns: int
    """Since 1970 [ns]."""
    layout: int
    """Version of the layout."""
    participants_max: int
    participants_live: int
    participants_dead: int
    """Killed and not recovered yet."""
    entries_max: int
    entries: int
    self: int
    """Index of this participant."""
    persist: bool
    """Outlives its participants."""
    access: int
    """File mode."""
    on_file: bool
    recoveries: int
    """Participants that were killed and recovered."""
    power_cuts: int
    """On a file: times the machine went down while it was open, repaired each time."""


@dataclass(frozen=True, slots=True)
class Participant:
    """One process that has the segment open, or had it when it was killed."""

    index: int
    generation: int
    pid: int
    life: str
    """``self``, ``live`` or ``dead`` (killed, not recovered yet), as the kernel says."""
    started: int
    """Of the process, clock ticks since boot."""
    joined_ns: int
    """Since 1970 [ns]."""
    role: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One structure of the table."""

    name: str
    kind: str
    """``array``, ``queue`` and so on."""
    format: str
    """Of one element; see `holdfast.shm.dtypes`."""
    layout: int
    """Version of the structure's layout."""
    offset: int
    """From the start of the segment [bytes]."""
    size: int
    """[bytes]."""
    element_size: int
    """[bytes]."""
    element_count: int
    """Or its capacity."""
    shape: tuple[int, ...]
    users: int
    """Participants that have it open."""
    created_ns: int
    """Since 1970 [ns]."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How full a structure is and what went through it; 0 where it has no meaning."""

    capacity: int
    count: int
    written: int
    read: int
    lost: int
    """Overwritten, or given up with a killed process."""
    waits: int
    recovered: int
    """Repairs after a death."""
    readers: int
    writers: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong."""

    structure: str
    """Name, or empty for header and table."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of a structure, as `view` saw it: a slot, an object, a record."""

    index: int
    """Among the pieces of its kind."""
    piece: str
    """What it is: ``slot``, ``object``, ``reader`` and so on; see docs/shm.md."""
    state: str
    """``free``, ``writing``, ``full`` and so on, likewise."""
    number: int
    """Position, generation, version or round, by piece."""
    value: int
    """Lag of a reader, bits of a cell, keys of a shard and so on; 0 where there is none."""
    participant: int | None
    """Index of who has it; None: nobody."""
    pid: int | None
    """Of who has it."""
    dead: bool
    """Who has it was killed, and it is not given back yet."""
    offset: int
    """Of its bytes, from the start of the segment [bytes]."""
    size: int
    """Of its bytes; of a lock and the like, of its word [bytes]."""
