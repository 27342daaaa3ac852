"""Suite "arena": bump allocators side by side in one process, in time and in instructions.

benchmarks/c/bench_arena.cpp holds our arenas, std::pmr, LLVM's and protobuf's where their headers
are, and glibc; bumpalo joins where cargo can build benchmarks/rust/bumpalo. Slices of all of them
take turns and the least time counts. Instructions are those of callgrind, the difference of two
numbers of cycles.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import machine, measure, tables
from harness.allocators import Allocator

WORKLOADS = {
    "16": 8192,
    "16-runtime": 8192,
    "64-aligned": 8192,
    "mixed": 1000,
    "big": 1_000_000,
    "scope": 1000,
    "reset": 100,
}
_COUNTED = ("16", "16-runtime", "64-aligned", "mixed", "scope", "reset")
_CYCLES = (2, 12)

Figures = dict[str, dict[str, float]]


def bumpalo() -> Path | None:
    """Build bumpalo behind a C door; None, and a line that says why, where that cannot be done."""
    if shutil.which("cargo") is None:
        print("arena: bumpalo is left out, cargo is not installed", file=sys.stderr)
        return None
    target = measure.BUILD / "bumpalo"
    run = subprocess.run(
        ["cargo", "build", "--release", "--quiet"],
        cwd=machine.ROOT / "benchmarks" / "rust" / "bumpalo",
        env={**os.environ, "CARGO_TARGET_DIR": str(target)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    library = target / "release" / "libbumpalo_bench.so"
    if run.returncode != 0 or not library.exists():
        reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1].strip()
        print(f"arena: bumpalo is left out, cargo could not build it: {reason}", file=sys.stderr)
        return None
    return library


def times(rounds: int, library: Path | None) -> tuple[Figures, Figures]:
    """Nanoseconds per block: least and median, by arena and workload."""
    command = [
        str(measure.BUILD / "bench_arena"),
        str(rounds),
        *([str(library)] if library else []),
    ]
    output = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True).stdout
    least: Figures = {}
    middle: Figures = {}
    for line in output.splitlines():
        row = json.loads(line)
        least.setdefault(row["arena"], {})[row["workload"]] = row["ns"]
        middle.setdefault(row["arena"], {})[row["workload"]] = row["median"]
    return least, middle


def _collected(arena: str, workload: str, cycles: int, library: Path | None) -> int | None:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [str(measure.BUILD / "bench_arena"), "--count", arena, workload, str(cycles)]
    extra = {"BENCH_BUMPALO": str(library)} if library else {}
    run = subprocess.run(
        command,
        env={**os.environ, **extra},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = re.search(r"Collected\s*:\s*(\d+)", run.stderr)
    return int(found.group(1)) if run.returncode == 0 and found else None


def instructions(timed: Figures, library: Path | None) -> Figures:
    """Instructions per block, loop and store included."""
    if shutil.which("valgrind") is None:
        print("arena: no instruction counts, valgrind is not installed", file=sys.stderr)
        return {}
    jobs = [(arena, one) for arena, row in timed.items() for one in _COUNTED if one in row]

    def count(job: tuple[str, str]) -> float | None:
        few, many = (_collected(*job, cycles, library) for cycles in _CYCLES)
        if few is None or many is None or many <= few:
            return None
        return (many - few) / (_CYCLES[1] - _CYCLES[0]) / WORKLOADS[job[1]]

    result: Figures = {}
    with ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))) as pool:
        for (arena, workload), figure in zip(jobs, pool.map(count, jobs), strict=True):
            if figure is not None:
                result.setdefault(arena, {})[workload] = figure
    return result


def _table(figures: Figures, workloads: Sequence[str], digits: int) -> str:
    rows = [
        [arena, *[tables.number(row.get(name, float("nan")), digits) for name in workloads]]
        for arena, row in figures.items()
    ]
    return tables.markdown(["arena", *workloads], rows)


def main(columns: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py; the allocators of the other suites have no part in this one."""
    measure.build()
    here = machine.describe()
    library = bumpalo()
    rounds = given.rounds or (40 if given.quick else 200)
    least, middle = times(rounds, library)
    counts = instructions(least, library)
    text = (
        "Nanoseconds per block, least of all slices; `null` is the loop and the store alone. "
        "`big` is 1,000,000 blocks of 8 to 256 B, 132 MB, filled and reset again and again; "
        "`scope` is mark, one block of 48 B, and leaving; `reset` is the reset alone.\n\n"
        + _table(least, list(WORKLOADS), 2)
    )
    if counts:
        text += "\n\nInstructions per block (callgrind, difference of two numbers of cycles).\n\n"
        text += _table(counts, _COUNTED, 1)
    data = {"rounds": rounds, "ns": least, "ns_median": middle, "instructions": counts}
    tables.save("arena", here, data, text)
