"""rss.py - what the resident memory of a process is made of.

    smaps (every mapping, resident bytes) --+
    heap ranges (which of them are ours) ---+--> classify() --> Breakdown, adds up to RSS
    heap account + pymalloc figures --------+

Invariants  the fields of a Breakdown sum to the Rss lines of smaps, to the byte.
Talks to    holdfast._core (lazily).  Called by holdfast.rss(), cli/collect.py.
Threads     any; reading /proc/self/smaps takes the kernel a few milliseconds in a large process.
Fails with  OSError when /proc is not mounted.
Source      proc_pid_smaps(5); ELF PT_LOAD (memory size beyond file size is a library's .bss).
"""

from __future__ import annotations

import dataclasses
import json
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Breakdown", "MemoryMapping", "classify", "parse_segments", "parse_smaps", "rss"]

PAGE = 4096
POOL = 16384  # CPython 3.11 and newer
STACK_GUARD_MAX = 1 << 20
HEAP_NAMES = ("[anon:holdfast", "[anon_shmem:holdfast")
KERNEL_NAMES = ("[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]", "[uprobes]")
SHARED_NAMES = ("/dev/shm/", "/memfd:", "/SYSV", "/dev/zero", "[anon_shmem:")


class MemoryMapping(NamedTuple):
    """One entry of smaps; addresses and ``rss`` in bytes."""

    start: int
    end: int
    perms: str
    path: str
    rss: int


class HeapRange(NamedTuple):
    """Addresses [start, end) held by the heap, and what for."""

    start: int
    end: int
    kind: str


@dataclasses.dataclass(frozen=True, slots=True)
class Breakdown:
    """Resident memory of a process, by what it is used for. All fields in bytes.

    The first eight are holdfast's heap and what stands on it, in the words of the account
    (docs/stats.md); the others are everything else the kernel counts.
    """

    live: int = 0
    """Blocks the program holds, without Python's small objects."""
    slack: int = 0
    """Rounding, headers and trailers of live blocks."""
    cached: int = 0
    """Free blocks held by threads, depots and the large cache."""
    free: int = 0
    """Free blocks and pages that did not go back to the system yet."""
    quarantined: int = 0
    """Taken out of service after corruption, or delayed before reuse."""
    meta: int = 0
    """The heap's own bookkeeping."""
    python_used: int = 0
    """pymalloc pools with a live object."""
    python_free: int = 0
    """pymalloc pools without a live object, and arena overhead."""
    other: int = 0
    """Private anonymous mappings of others: libraries with an allocator of their own, brk."""
    stacks: int = 0
    """Stacks of threads, the main thread included."""
    code: int = 0
    """Programs and libraries: instructions, constants, data and .bss."""
    files: int = 0
    """Other mapped files."""
    shared: int = 0
    """Shared memory: POSIX, System V, memfd, shared anonymous."""
    kernel: int = 0
    """Pages the kernel lends to every process (vdso)."""

    @property
    def heap(self) -> int:
        """Everything in holdfast's ranges that is not Python's small objects [bytes]."""
        return self.live + self.slack + self.cached + self.free + self.quarantined + self.meta

    @property
    def total(self) -> int:
        """Resident set size [bytes]; the sum of all fields."""
        return sum(getattr(self, field.name) for field in dataclasses.fields(self))

    def as_dict(self) -> dict[str, int]:
        """Fields by name, and ``total``; the shape used in JSON reports."""
        return {**dataclasses.asdict(self), "total": self.total}


def parse_smaps(text: str) -> list[MemoryMapping]:
    """Read the text of /proc/PID/smaps; unknown lines are skipped, addresses stay in order."""
    mappings: list[MemoryMapping] = []
    for line in text.splitlines():
        if line[:1] in "0123456789abcdef" and line:
            words = line.split(None, 5)
            low, dash, high = words[0].partition("-")
            if not dash or len(words) < 5:
                continue
            path = words[5] if len(words) > 5 else ""
            mappings.append(MemoryMapping(int(low, 16), int(high, 16), words[1], path, 0))
        elif line.startswith("Rss:") and mappings:
            mappings[-1] = mappings[-1]._replace(rss=int(line.split()[1]) * 1024)
    return mappings


def parse_segments(text: str) -> list[HeapRange]:
    """Read "start end kind" lines (hexadecimal addresses); lines that are none are skipped."""
    ranges: list[HeapRange] = []
    for line in text.splitlines():
        words = line.split(None, 2)
        try:
            start, end = int(words[0], 16), int(words[1], 16)
        except (IndexError, ValueError):
            continue
        if end > start:
            ranges.append(HeapRange(start, end, words[2] if len(words) > 2 else ""))
    return ranges


def classify(
    mappings: Sequence[MemoryMapping],
    ranges: Iterable[tuple[int, int, str]] = (),
    stats: Mapping[str, int] | None = None,
    python: Mapping[str, Any] | None = None,
) -> Breakdown:
    """Say what each resident byte is used for.

    Parameters
    ----------
    mappings : sequence of MemoryMapping
        All mappings of the process, in address order.
    ranges : iterable of (start, end, kind)
        Addresses the library holds; a kind that begins with "python" is the interpreter's. Mappings
        that carry the library's name count as its heap as well.
    stats : mapping, optional
        Account of the heap: ``bytes_in_use``, ``bytes_slack``, ... Without it the heap's resident
        bytes are all shown as live.
    python : mapping, optional
        pymalloc's figures as the library writes them; see `_pymalloc`.

    Returns
    -------
    Breakdown
        Its ``total`` is the sum of the resident bytes of `mappings`.
    """
    all_ranges = list(ranges)
    pythons = _merge(r for r in all_ranges if r[2].startswith("python"))
    owned = _merge(r for r in all_ranges if not r[2].startswith("python"))
    objects = {m.path for m in mappings if "x" in m.perms and m.path.startswith("/")}
    names = ("heap", "python", "other", "stacks", "code", "files", "shared", "kernel")
    sums = dict.fromkeys(names, 0)
    before: MemoryMapping | None = None
    for mapping in mappings:
        rest = mapping.rss
        for name, held_ranges in (("python", pythons), ("heap", owned)):
            held = min(rest, _overlap(mapping, held_ranges))
            if name == "heap" and mapping.path.startswith(HEAP_NAMES):
                held = rest
            sums[name] += held
            rest -= held
        if rest:
            kind = _kind(mapping, before, objects)
            if kind == "other" and before is not None and before.end == mapping.start:
                bss = min(rest, _bss(before, objects))
                sums["code"] += bss
                rest -= bss
            sums[kind] += rest
        before = mapping
    # The heap's bookkeeping is mapped apart from its blocks; the kernel merges it with others.
    meta = min(sums["other"], int((stats or {}).get("bytes_meta", 0)))
    sums["other"] -= meta
    account = _split(sums.pop("heap"), stats)
    return Breakdown(**account, **_pymalloc(sums, python), meta=meta)


def rss() -> Breakdown:
    """Take the resident memory of this process apart.

    Returns
    -------
    Breakdown
        Bytes by use; adds up to what the kernel reports as RSS at the moment of the call.

    Raises
    ------
    OSError
        /proc is not mounted.
    Source: proc_pid_smaps(5).
    """
    stats: Mapping[str, int] | None = None
    python: Mapping[str, Any] | None = None
    core = _core()
    if core is not None:
        stats = (_parsed(core.process_json()) or {}).get("stats")
        python = _parsed(core.python_json())
    with open("/proc/self/smaps", encoding="utf-8", errors="surrogateescape") as file:
        mappings = parse_smaps(file.read())
    ranges = [
        (int(found["start"], 16), int(found["end"], 16), str(found["kind"]))
        for found in (python or {}).get("ranges", ())
    ]
    if core is not None:
        ranges += [found for m in mappings if (found := _owned_part(m, core.owns)) is not None]
    return classify(mappings, ranges, stats, python)


def _owned_part(mapping: MemoryMapping, owns: Callable[[int], bool]) -> tuple[int, int, str] | None:
    """Find the part of a mapping that lies in the heap's one reservation.

    The kernel merges neighbours, so the reservation may begin or end inside a mapping.
    """
    start, end = mapping.start, mapping.end
    first, last = owns(start), owns(end - 1)
    if first != last:
        low, high = start // PAGE, end // PAGE - 1
        while high - low > 1:
            middle = (low + high) // 2
            if owns(middle * PAGE) == first:
                low = middle
            else:
                high = middle
        start, end = (start, high * PAGE) if first else (high * PAGE, end)
    return (start, end, "heap") if first or last else None


def _core() -> Any | None:
    try:
        from holdfast import _core
    except ImportError:
        return None
    return _core


def _parsed(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, (str, bytes)):
        value = json.loads(value) if value else None
    return value if isinstance(value, Mapping) else None


def _merge(ranges: Iterable[tuple[int, int, str]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end, *_ in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _overlap(mapping: MemoryMapping, owned: list[tuple[int, int]]) -> int:
    """Bytes of the mapping that lie in the heap's ranges."""
    if not owned:
        return 0
    index = max(0, bisect_right(owned, (mapping.start, mapping.start)) - 1)
    total = 0
    while index < len(owned) and owned[index][0] < mapping.end:
        start, end = owned[index]
        total += max(0, min(end, mapping.end) - max(start, mapping.start))
        index += 1
    return total


def _kind(mapping: MemoryMapping, before: MemoryMapping | None, objects: set[str]) -> str:
    path = mapping.path
    if path.startswith("[stack"):
        return "stacks"
    if path in KERNEL_NAMES:
        return "kernel"
    if path.startswith(SHARED_NAMES) or (not path and mapping.perms.endswith("s")):
        return "shared"
    if path.startswith("/"):
        return "code" if path in objects else "files"
    # A thread's stack is the writable mapping right above its guard.
    if (
        before is not None
        and not path
        and mapping.perms == "rw-p"
        and before.end == mapping.start
        and before.perms == "---p"
        and not before.path
        and before.end - before.start <= STACK_GUARD_MAX
    ):
        return "stacks"
    return "other"


def _bss(before: MemoryMapping, objects: set[str]) -> int:
    """Bytes of zeroed data a program or library has right behind this mapping of its data."""
    if before.path not in objects or "w" not in before.perms:
        return 0
    try:
        return _bss_of(before.path)
    except (OSError, struct.error):
        return 0


_bss_known: dict[str, int] = {}


def _bss_of(path: str) -> int:
    if path not in _bss_known:
        size = 0
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:5] == b"\x7fELF\x02":
                (offset,) = struct.unpack_from("<Q", head, 32)
                width, count = struct.unpack_from("<HH", head, 54)
                file.seek(offset)
                table = file.read(width * count)
                for index in range(count):
                    entry = struct.unpack_from("<IIQQQQQQ", table, index * width)
                    if entry[0] == 1:  # PT_LOAD
                        address, in_file, in_memory = entry[3], entry[5], entry[6]
                        end = _page_up(address + in_memory) - _page_up(address + in_file)
                        size = max(size, end)
        _bss_known[path] = size
    return _bss_known[path]


def _page_up(value: int) -> int:
    return (value + PAGE - 1) & -PAGE


def _split(resident: int, stats: Mapping[str, int] | None) -> dict[str, int]:
    """Spread the heap's resident bytes over its account.

    What is mapped and not resident was never touched, or is free and went back to the system: it
    is taken off the free side first, then off live blocks. What is resident beyond the account is
    free pages on their way back.
    """
    names = ("live", "slack", "cached", "free", "quarantined")
    parts = dict.fromkeys(names, 0)
    if stats is None:
        parts["live"] = resident
        return parts
    for name in names:
        parts[name] = int(stats.get("bytes_in_use" if name == "live" else f"bytes_{name}", 0))
    absent = sum(parts.values()) - resident
    if absent < 0:
        parts["free"] -= absent
        return parts
    for name in ("free", "cached", "quarantined", "live", "slack"):
        taken = min(absent, parts[name])
        parts[name] -= taken
        absent -= taken
    return parts


def _pymalloc(sums: dict[str, int], python: Mapping[str, Any] | None) -> dict[str, int]:
    """Replace "python", the resident bytes of pymalloc's arenas, by their used and free part."""
    resident = sums.pop("python")
    pools = (python or {}).get("pools") or {}
    used, free = POOL * int(pools.get("live", 0)), POOL * int(pools.get("free", 0))
    if not resident and used + free:  # the interpreter maps its arenas itself
        resident = min(used + free, sums["other"])
        sums["other"] -= resident
    # Pools nobody uses are what was given back first; the rest of an arena is its used pools.
    unused = min(free, max(0, resident - used)) if used else 0
    return {**sums, "python_used": resident - unused, "python_free": unused}
