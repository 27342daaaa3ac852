"""Suite "fiber": guarded stacks, switches and fibers beside Boost.Context and the bare system.

benchmarks/c/bench_stack.cpp and bench_switch.cpp run every contender in one process, in turns; the
least time of a slice counts. Instructions are counted under callgrind, as the difference of two
counts. One more run takes a million guarded stacks at once and touches each.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Sequence

from harness import machine, measure, tables
from harness.allocators import Allocator

_PROGRAMS = ("bench_stack", "bench_switch")
_COUNTS = (20_000, 60_000)  # whole rounds of every workload
_OURS = "holdfast"


def _lines(program: str, *arguments: str) -> list[dict[str, float | str]]:
    command = [str(measure.BUILD / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _instructions(program: str, workload: str, name: str) -> float | None:
    """Instructions per operation, loop included; None where callgrind cannot follow."""
    totals = []
    for count in _COUNTS:
        run = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                "--callgrind-out-file=/dev/null",
                str(measure.BUILD / program),
                "--count",
                workload,
                name,
                str(count),
            ],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        found = re.search(r"Collected\s*:\s*(\d+)", run.stderr)
        if run.returncode != 0 or found is None:
            return None
        totals.append(int(found[1]))
    return (totals[1] - totals[0]) / (_COUNTS[1] - _COUNTS[0])


def _rows(samples: list[dict[str, float | str]]) -> list[list[str]]:
    rows = []
    ours: dict[object, float] = {
        one["workload"]: float(one["ns"]) for one in samples if one["name"] == _OURS
    }
    for one in samples:
        least, count = float(one["ns"]), one.get("instructions")
        ratio = ours[one["workload"]] / least
        rows.append(
            [
                str(one["workload"]),
                str(one["name"]),
                tables.number(least),
                tables.number(float(one["median"])),
                "-" if one["name"] == _OURS else tables.number(ratio, 2 if ratio > 0.02 else 4),
                "-" if count is None else tables.number(float(count), 0),
            ]
        )
    return rows


def main(columns: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py; `only` names programs."""
    del columns  # not allocators: everybody is in the program
    measure.build()
    here = machine.describe()
    rounds = given.rounds or (20 if given.quick else 100)
    samples = []
    for program in _PROGRAMS:
        if only and program not in only:
            continue
        found = _lines(program, str(rounds))
        for one in found:
            counted = shutil.which("valgrind") and not str(one["workload"]).startswith("turn")
            if counted and one["name"] not in ("boost protected", "mmap+mprotect", "swapcontext"):
                one["instructions"] = _instructions(program, str(one["workload"]), str(one["name"]))
        samples += found
    million = _lines("bench_stack", "--million", "100000" if given.quick else "1000000")[0]
    header = ["workload", "who", "ns, least", "median", "holdfast / who", "instructions"]
    text = (
        f"Least time of {rounds} slices per operation, all contenders of a workload in turns. "
        "`switch` and `fiber` are half a round trip.\n\n"
        + tables.markdown(header, _rows(samples))
        + f"\n\n{int(million['count'])} guarded stacks of 64 KiB at once, one page of each "
        f"touched: {million['cpu_s']} s of CPU to take and touch ({million['take_s']} s and "
        f"{million['touch_s']} s on the clock), {million['rss_mb']} MB resident, "
        f"{million['page_tables_mb']} MB of page tables, {million['mappings']} mappings more than "
        f"before; {million['guards_missed']} guards missed; giving all back {million['give_s']} s, "
        f"their memory {million['trim_s']} s."
    )
    tables.save("fiber", here, {"rounds": rounds, "samples": samples, "million": million}, text)
