"""The files a run leaves behind, written by hand: two processes, two corruptions, known sums.

The heap of the sample maps 40 MiB, of which 36 MiB are resident; arenas hold 8 MiB; the library
libdemo keeps 3 MiB of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdfast.cli.launch import Ending

KIB, MIB = 1024, 1024 * 1024
PID, CHILD = 4242, 4250

SMAPS_ROWS = (
    # start, end, perms, path, resident KiB
    (0x5500_0000_0000, 0x5500_0010_0000, "r-xp", "/usr/bin/demo", 600),
    (0x5500_0010_0000, 0x5500_0011_0000, "rw-p", "/usr/bin/demo", 64),
    (0x5500_0100_0000, 0x5500_0110_0000, "rw-p", "[heap]", 132),
    (0x7000_0000_0000, 0x7000_0280_0000, "rw-p", "", 36 * 1024),
    (0x7000_0280_0000, 0x7001_0000_0000, "---p", "", 0),
    (0x7100_0000_0000, 0x7100_0100_0000, "rw-p", "", 8 * 1024),
    (0x7200_0000_0000, 0x7200_0000_1000, "---p", "", 0),
    (0x7200_0000_1000, 0x7200_0080_1000, "rw-p", "", 96),
    (0x7300_0000_0000, 0x7300_0040_0000, "rw-p", "", 3 * 1024),
    (0x7400_0000_0000, 0x7400_0010_0000, "r--p", "/usr/share/locale.dat", 256),
    (0x7500_0000_0000, 0x7500_0010_0000, "rw-s", "/dev/shm/ring", 512),
    (0x7FFF_0000_0000, 0x7FFF_0002_1000, "rw-p", "[stack]", 40),
    (0x7FFF_0010_0000, 0x7FFF_0010_2000, "r-xp", "[vdso]", 4),
)
SEGMENTS = """\
0x700000000000 0x700100000000 reservation
0x700000000000 0x700002800000 segment
0x710000000000 0x710001000000 python arenas
"""
STATS = {
    "profile": "checked",
    "bytes_mapped": 40 * MIB,
    "bytes_in_use": 28 * MIB,
    "bytes_slack": 2 * MIB,
    "bytes_cached": 1 * MIB,
    "bytes_free": 8 * MIB,
    "bytes_quarantined": 64 * KIB,
    "bytes_meta": 1 * MIB - 64 * KIB,
    "bytes_mapped_peak": 96 * MIB,
    "bytes_returned": 56 * MIB,
    "allocs": 1_234_567,
    "frees": 1_200_000,
    "blocks_in_use": 34_567,
    "reallocs_in_place": 800,
    "reallocs_moved": 200,
    "cache_misses": 12_000,
    "small_allocs": 1_230_000,
    "middle_allocs": 4_467,
    "large_allocs": 100,
    "large_cache_hits": 80,
    "lock_waits": 17,
    "lock_wait_ns": 250_000,
    "failures": 3,
    "limit_hits": 2,
    "purges": 44,
    "reclaims": 12,
    "reclaim_ns": 3_100_000,
    "slabs_quarantined": 1,
    "reports": 3,
}
CLASSES = [
    {"size": size, "alignment": 16, "allocs": allocs, "blocks": allocs // 50, "cached": 64,
     "free": 100, "slabs": 4, "misses": allocs // 100, "lock_waits": 1}
    for size, allocs in ((32, 700_000), (64, 400_000), (1024, 100_000), (8192, 30_000), (48, 0))
]  # fmt: skip
OVERFLOW: dict[str, Any] = {
    "kind": "OVERFLOW",
    "sentence": "bytes after the end of the block were overwritten",
    "anchor": "overflow",
    "exception": "OverflowedBlockError",
    "time_ns": 1,
    "thread_id": 4242,
    "found_by": "free",
    "address": "0x700000001000",
    "block": "0x700000001000",
    "block_size": 40,
    "class_size": 64,
    "damage_offset": 40,
    "damage_length": 4,
    "expected": "0x00000000000000aa",
    "found": "0x0000000044434241",
    "bytes": "41 42 43 44",
    "domain": "libc",
    "freed_as": "libc",
    "given_size": 0,
    "owner": "default",
    "heap_id": 1,
    "site_noticed": "app.py:3 in <module>\napp.py:9 in release",
    "site_allocated": "app.py:2 in <module>\napp.py:5 in [bold]make[/bold]",
    "site_freed": "",
}
DOUBLE: dict[str, Any] = {
    **OVERFLOW,
    "kind": "DOUBLE_FREE",
    "sentence": "the block was freed twice",
    "anchor": "double-free",
    "damage_length": 0,
    "bytes": "",
    "site_allocated": "",
}


def ending(**changes: Any) -> Ending:
    """A program that ran for two seconds and left with status 0."""
    usual = Ending(PID, 0, None, 2.0, 1.5, 0.25, 120 * MIB, False)
    return usual._replace(**changes)


def smaps() -> str:
    """The mappings in the kernel's words."""
    text = ""
    for start, end, perms, path, resident in SMAPS_ROWS:
        text += f"{start:x}-{end:x} {perms} 00000000 00:00 0                  {path}\n"
        text += f"Size:           {(end - start) // 1024} kB\nRss:            {resident} kB\n"
        text += f"Pss:            {resident} kB\nVmFlags: rd wr mr mw me ac\n"
    return text


def final(pid: int, ppid: int, argv: list[str], **changes: Any) -> dict[str, Any]:
    """PID.json of one process."""
    return {
        "pid": pid,
        "ppid": ppid,
        "argv": argv,
        "exit": "exit",
        "wall_ns": 2_000_000_000,
        "user_ns": 1_500_000_000,
        "sys_ns": 250_000_000,
        "maxrss_kb": 118 * 1024,
        "minflt": 1000,
        "majflt": 0,
        "process": {
            "stats": STATS,
            "classes": CLASSES,
            "options": {"profile": "checked"},
            "reports": [],
        },
        "python": {
            "version": "3.11.7",
            "mode": "arenas",
            "arenas": {"used": 8, "used_peak": 20, "bytes_returned": 12 * MIB},
            "pools": {"live": 384, "free": 128, "blocks": 90_000, "bytes_returned": 3 * MIB},
        },
        **changes,
    }


def write(folder: Path, *, child: bool = True, corruption: bool = True) -> None:
    """Put the files of the sample into `folder`."""
    main = final(PID, 1, ["/usr/bin/python3", "app.py", "two words"])
    (folder / f"{PID}.json").write_text(json.dumps(main))
    (folder / f"{PID}.smaps").write_text(smaps())
    (folder / f"{PID}.segments").write_text(SEGMENTS)
    if corruption:
        lines = [json.dumps(report) for report in (OVERFLOW, OVERFLOW, DOUBLE)]
        (folder / f"{PID}.reports").write_text("\n".join(lines) + "\n")
    if child:
        second = final(CHILD, PID, ["/bin/sh", "-c", "true"], python=None)
        (folder / f"{CHILD}.json").write_text(json.dumps(second))
