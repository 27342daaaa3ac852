"""Suite "pool": object pools side by side, in C and in Python.

benchmarks/c/bench_object_pool.cpp holds our pools, glibc's malloc, std::pmr's pool resources, and
Boost's pools where their headers are; benchmarks/python/object_pool.py holds holdfast.Pool,
bytearray and NumPy. Slices of all of them take turns and the least time counts. Instructions are
those of callgrind, the difference of two numbers of cycles.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

from harness import machine, measure, tables
from harness.allocators import Allocator

WORKLOADS = ("pair", "stack", "queue", "random", "threads", "handed")
_COUNTED = ("pair", "stack", "queue")
_CYCLES = (2, 12)

Figures = dict[str, dict[str, float]]


def _rows(command: Sequence[str]) -> list[dict[str, str | float]]:
    run = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def times(rounds: int) -> tuple[Figures, Figures]:
    """Nanoseconds per acquire and release: least and median, by pool and workload."""
    least: Figures = {}
    middle: Figures = {}
    for row in _rows([str(measure.BUILD / "bench_object_pool"), str(rounds)]):
        least.setdefault(str(row["pool"]), {})[str(row["workload"])] = float(row["ns"])
        middle.setdefault(str(row["pool"]), {})[str(row["workload"])] = float(row["median"])
    return least, middle


def _collected(pool: str, workload: str, cycles: int) -> int | None:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [str(measure.BUILD / "bench_object_pool"), "--count", pool, workload, str(cycles)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = re.search(r"Collected\s*:\s*(\d+)", run.stderr)
    return int(found.group(1)) if run.returncode == 0 and found else None


def instructions(pools: Sequence[str]) -> Figures:
    """Instructions per acquire and release, loop and store included."""
    if shutil.which("valgrind") is None:
        print("pool: no instruction counts, valgrind is not installed", file=sys.stderr)
        return {}
    result: Figures = {}
    for pool in pools:
        for workload in _COUNTED:
            few, many = (_collected(pool, workload, cycles) for cycles in _CYCLES)
            if few is not None and many is not None and many > few:
                pairs = (_CYCLES[1] - _CYCLES[0]) * 1000
                result.setdefault(pool, {})[workload] = (many - few) / pairs
    return result


def _table(figures: Figures, workloads: Sequence[str], digits: int) -> str:
    rows = [
        [pool, *[tables.number(row.get(name, float("nan")), digits) for name in workloads]]
        for pool, row in figures.items()
    ]
    return tables.markdown(["pool", *workloads], rows)


def main(columns: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py; the allocators of the other suites have no part in this one."""
    measure.build()
    here = machine.describe()
    rounds = given.rounds or (30 if given.quick else 150)
    least, middle = times(rounds)
    counts = instructions(list(least))
    script = machine.ROOT / "benchmarks" / "python" / "object_pool.py"
    python = _rows([sys.executable, str(script), str(rounds)])
    text = (
        "Nanoseconds per acquire and release of 64 B, least of all slices; the first word of each "
        "block is written. `pair` one out and back, `stack` 100, `queue` 1,000 in order, `random` "
        "10,000 out, `threads` four threads, `handed` released by another thread.\n\n"
        + _table(least, WORKLOADS, 2)
    )
    if counts:
        text += "\n\nInstructions per acquire and release (callgrind).\n\n"
        text += _table(counts, _COUNTED, 1)
    text += "\n\nFrom Python, nanoseconds, least of all slices.\n\n" + tables.markdown(
        ["workload", "way", "ns", "median"],
        [
            [str(row["workload"]), str(row["way"])]
            + [tables.number(float(row[key]), 0) for key in ("ns", "median")]
            for row in python
        ],
    )
    data = {"rounds": rounds, "ns": least, "ns_median": middle, "instructions": counts}
    tables.save("pool", here, data | {"python": python}, text)
