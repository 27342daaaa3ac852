#!/usr/bin/env python3
"""Instructions per malloc+free pair, counted by callgrind, loop included.

    python benchmarks/instructions.py [--only holdfast-fast,mimalloc] [--patterns 16,fifo]

Each pattern of benchmarks/c/instructions.c runs with two counts; the difference of the two totals
over the difference of the counts is the cost of one pair, free of start-up and warm-up. Counts do
not depend on how busy the machine is: one run is enough, and the figure repeats to a tenth.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from harness import allocators, machine, measure, tables
from harness.allocators import Allocator

PATTERNS = {
    "16": "16 B",
    "256": "256 B",
    "1024": "1 KiB",
    "8192": "8 KiB",
    "65536": "64 KiB",
    "calloc": "calloc 16",
    "lifo": "64 LIFO",
    "fifo": "1000 x 64 FIFO",
}
COUNTS = (64_000, 192_000)  # whole rounds of every pattern


def count(allocator: Allocator, pattern: str, pairs: int) -> int:
    """Instructions of one whole run under callgrind."""
    environment = measure.environment(allocator, {"HOLDFAST_QUIET": "1"})
    if allocator.library is not None:
        environment["LD_PRELOAD"] = allocator.library
    run = subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            str(measure.BUILD / "instructions"),
            pattern,
            str(pairs),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = re.search(r"Collected\s*:\s*(\d+)", run.stderr)
    if run.returncode != 0 or found is None:
        raise RuntimeError(f"{allocator.name}, {pattern}: {run.stderr.strip()[-300:]}")
    return int(found.group(1))


def per_pair(allocator: Allocator, pattern: str) -> float | None:
    """Instructions of one pair, None where the allocator does not run under callgrind."""
    try:
        few, many = (count(allocator, pattern, pairs) for pairs in COUNTS)
    except (RuntimeError, subprocess.TimeoutExpired) as failure:
        print(failure, file=sys.stderr)
        return None
    return (many - few) / (COUNTS[1] - COUNTS[0])


def measure_all(
    columns: Sequence[Allocator], patterns: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Instructions of every pattern under every allocator, as many at once as there are cores."""
    jobs = [(column, pattern) for column in columns for pattern in patterns]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        figures = list(pool.map(lambda job: per_pair(*job), jobs))
    result: dict[str, dict[str, float | None]] = {column.name: {} for column in columns}
    for (column, pattern), figure in zip(jobs, figures, strict=True):
        result[column.name][pattern] = figure
    return result


def table(result: dict[str, dict[str, float | None]], patterns: Sequence[str]) -> str:
    """The figures as a markdown table, one allocator a line."""
    rows = []
    for name, by_pattern in result.items():
        cells = [by_pattern[pattern] for pattern in patterns]
        rows.append([name, *["-" if cell is None else f"{cell:.0f}" for cell in cells]])
    return tables.markdown(["allocator", *[PATTERNS[pattern] for pattern in patterns]], rows)


def run(columns: Sequence[Allocator], patterns: Sequence[str]) -> None:
    """Measure, print, and write results/instructions.json and .md when everything was measured."""
    if shutil.which("valgrind") is None:
        print("instructions: valgrind is not installed, skipped", file=sys.stderr)
        return
    measure.build()
    here = machine.describe()
    result = measure_all(columns, patterns)
    text = "Instructions per malloc+free pair, loop included (callgrind, difference of two counts)."
    text += "\n\n" + table(result, patterns)
    if len(patterns) < len(PATTERNS):
        print(text)
        return
    tables.save("instructions", here, {"counts": COUNTS, "instructions": result}, text)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Instructions per malloc+free pair.")
    parser.add_argument("--holdfast", help="path of libholdfast_malloc.so")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH[,VAR=VALUE]")
    parser.add_argument("--only", default="", help="names of allocators, comma separated")
    parser.add_argument("--patterns", default=",".join(PATTERNS), help="comma separated")
    given = parser.parse_args()
    only = [name for name in given.only.split(",") if name]
    library = allocators.find_holdfast(given.holdfast)
    run(allocators.choose(library, given.peer, only), given.patterns.split(","))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
