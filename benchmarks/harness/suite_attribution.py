"""Suite "attribution": what sampling allocation sites costs, by default and for all blocks.

Columns are holdfast in the default profile with HOLDFAST_SITES off, sampled and all; CPU is
compared to `off` of the same round, for Python in both modes and for C programs that do little
but allocate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness import machine, measure, tables, workload
from harness.allocators import Allocator
from harness.workload import Figures, Workload

_SITES = ("off", "sampled", "all")
_PYTHON = ("churn", "json_records")
_C = ("alloc_test", "glibc_simple", "trees")


def _columns(library: str, mode: str) -> list[Allocator]:
    return [
        Allocator(sites, library, {"HOLDFAST_SITES": sites, "HOLDFAST_PYTHON_ALLOCATOR": mode})
        for sites in _SITES
    ]


def _run_c(
    program: str, columns: Sequence[Allocator], rounds: int, failures: list[str]
) -> dict[str, list[Figures | None]]:
    runs: dict[str, list[Figures | None]] = {column.name: [] for column in columns}
    for _ in range(rounds):
        for column in columns:
            command = [str(measure.BUILD / program), "100", "1"]
            sample = measure.run(command, column, {"HOLDFAST_QUIET": "1"})
            if sample.failure:
                failures.append(f"- {program} with sites {column.name}: {sample.failure}")
            figures = {"cpu_ms": sample.cpu_ms, "peak_mb": sample.rss_mb}
            runs[column.name].append(None if sample.failure else figures)
    return runs


def main(chosen: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py."""
    library = next((column.library for column in chosen if column.holdfast), None)
    if library is None:
        print("attribution: libholdfast_malloc.so is not built, skipped", file=sys.stderr)
        return
    measure.build()
    here = machine.describe()
    rounds = given.rounds or (2 if given.quick else 7)
    failures: list[str] = []
    data: dict[str, object] = {"rounds": rounds, "failures": failures}
    text = [f"{rounds} rounds; ratio to sites off in the same round, median of rounds."]
    for mode in ("arenas", "heap"):
        for name in _PYTHON:
            item = Workload.python(name, "3")
            runs = workload.collect(item, _columns(library, mode), rounds, given.seed, failures)
            title = f"{name}, {mode} mode"
            text.append(f"## {title}\n\n{workload.table(runs, 'off', 'cpu_ms', ('peak_mb',))}")
            data[title] = runs
    for program in _C:
        runs = _run_c(program, _columns(library, "none"), rounds, failures)
        text.append(f"## {program}\n\n{workload.table(runs, 'off', 'cpu_ms', ('peak_mb',))}")
        data[program] = runs
    if failures:
        text.append("## Failures\n\n" + "\n".join(failures))
    tables.save("attribution", here, data, "\n\n".join(text))
