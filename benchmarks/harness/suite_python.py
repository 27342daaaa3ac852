"""Suite "python": object churn, JSON, parsing, threads, a service with load spikes, start-up.

Every script of benchmarks/python prints its own CPU time and RSS; a round runs it once under every
column in random order, ratios are to stock Python of the same round.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence

from harness import machine, measure, tables, workload
from harness.allocators import Allocator
from harness.python_columns import STOCK, columns
from harness.workload import Figures, Workload

WORKLOADS = (
    (Workload.python("churn"), ("peak_mb", "end_mb", "rest_mb", "faults_k")),
    (Workload.python("json_records"), ("peak_mb", "end_mb", "rest_mb", "faults_k")),
    (Workload.python("parsing"), ("peak_mb", "end_mb", "rest_mb", "faults_k")),
    (Workload.python("threads"), ("peak_mb", "end_mb", "rest_mb", "faults_k")),
    (Workload.python("service"), ("base_mb", "peak_mb", "after_mb", "idle_mb")),
)


def _startup(wanted: Sequence[Allocator], runs: int, seed: int) -> dict[str, list[Figures | None]]:
    """Wall and CPU of ``python -c pass``, and what it costs over stock, run by run."""
    order = random.Random(seed)
    result: dict[str, list[Figures | None]] = {column.name: [] for column in wanted}
    for _ in range(runs):
        for column in order.sample(list(wanted), len(wanted)):
            sample = measure.run([sys.executable, "-c", "pass"], column)
            figures = {
                "wall_ms": sample.wall_ms,
                "cpu_ms": sample.cpu_ms,
                "peak_mb": sample.rss_mb,
            }
            result[column.name].append(None if sample.failure else figures)
    return result


def _startup_table(runs: dict[str, list[Figures | None]]) -> str:
    def least_and_median(name: str, figure: str) -> tuple[float, float]:
        got = [value for value in workload.values(runs[name], figure) if value is not None]
        return min(got, default=float("nan")), tables.median(got)

    base_least, base_median = least_and_median(STOCK, "wall_ms")
    rows = []
    for name in runs:
        least, middle = least_and_median(name, "wall_ms")
        rows.append(
            [name, *[tables.number(v) for v in (middle, least, middle - base_median)]]
            + [tables.number(least - base_least)]
            + [tables.number(least_and_median(name, "peak_mb")[1], 1)]
        )
    header = ["allocator", "wall ms", "least ms", "+ median", "+ least", "peak_mb"]
    return tables.markdown(header, rows)


def main(chosen: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py; `only` names workloads."""
    measure.build()
    wanted = columns(chosen)
    rounds = given.rounds or (1 if given.quick else 5)
    here = machine.describe()
    failures: list[str] = []
    text = [
        f"{rounds} rounds, interleaved, random order. cpu_ms: least of a run's repetitions, median "
        "over rounds; ratio: to stock in the same round, median of rounds. rest_mb, idle_mb: RSS "
        "two idle seconds after the load. `+malloc`: PYTHONMALLOC=malloc."
    ]
    data: dict[str, object] = {"rounds": rounds, "failures": failures}
    for item, others in WORKLOADS:
        if only and item.name not in only:
            continue
        runs = workload.collect(item, wanted, rounds, given.seed, failures)
        text.append(f"## {item.name}\n\n{workload.table(runs, STOCK, 'cpu_ms', others)}")
        data[item.name] = runs
    if not only or "startup" in only:
        started = _startup(wanted, 10 if given.quick else 40, given.seed)
        text.append(f"## startup: python -c pass\n\n{_startup_table(started)}")
        data["startup"] = started
    if failures:
        text.append("## Failures\n\n" + "\n".join(failures))
    tables.save("python", here, data, "\n\n".join(text), partial=bool(only))
