"""Suite "shm_map": maps in shared memory beside LMDB in /dev/shm and tables of one process.

benchmarks/c/bench_shm_map.cpp runs every contender in one process, in turns; the least time of a
slice counts. LMDB takes part where liblmdb-dev was installed when the program was built.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence

from harness import machine, measure, tables
from harness.allocators import Allocator

_OURS = "holdfast"

_TEXT = (
    "Nanoseconds per operation on maps from 8 to 56 bytes with 1,000 and 100,000 keys in random "
    "order, least of all slices. `cycle` puts a key and erases one (each counts), `walk` is per "
    "key. `holdfast` is shared and survives kill -9; `lmdb` has one transaction per operation, "
    "`lmdb-batch` one per 100, neither syncs; `unordered_map` is private to the process, `locked` "
    "the same under a robust mutex between processes. Figures in brackets are multiples of "
    "holdfast's time: above 1 it is faster."
)


def main(columns: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py; the allocators of the other suites have no part in this one."""
    measure.build()
    here = machine.describe()
    rounds = given.rounds or (10 if given.quick else 60)
    command = [str(measure.BUILD / "bench_shm_map"), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    figures: dict[str, dict[str, float]] = {}
    for row in rows:
        figures.setdefault(row["workload"], {})[row["name"]] = float(row["ns"])
    names = list(dict.fromkeys(str(row["name"]) for row in rows))
    table = []
    for workload, times in figures.items():
        cells = [workload]
        for name in names:
            text = tables.number(times[name], 1)
            if name != _OURS:
                text += f" ({tables.number(times[name] / times[_OURS], 2)})"
            cells.append(text)
        table.append(cells)
    text = _TEXT + "\n\n" + tables.markdown(["workload", *names], table)
    if "lmdb" not in names:
        text += "\n\nWithout LMDB: liblmdb-dev was not installed."
    tables.save("shm_map", here, {"rounds": rounds, "rows": rows}, text)
