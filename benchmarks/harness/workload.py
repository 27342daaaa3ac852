"""Runs of scripts that print one JSON line of figures, interleaved, and their ratios."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import measure, tables
from harness.allocators import Allocator
from harness.machine import ROOT

SCRIPTS = ROOT / "benchmarks" / "python"

Figures = dict[str, float]


@dataclass(frozen=True)
class Workload:
    """A name and the command that prints the figures."""

    name: str
    command: tuple[str, ...]

    @classmethod
    def python(cls, script: str, *arguments: str) -> Workload:
        """A script of benchmarks/python under this interpreter."""
        return cls(script, (sys.executable, str(SCRIPTS / f"{script}.py"), *arguments))


def collect(
    workload: Workload,
    columns: Sequence[Allocator],
    rounds: int,
    seed: int,
    failures: list[str],
) -> dict[str, list[Figures | None]]:
    """Figures of every round by column, None for a run that failed; order in a round is random."""
    order = random.Random(f"{seed} {workload.name}")
    runs: dict[str, list[Figures | None]] = {column.name: [] for column in columns}
    extra = {"PYTHONHASHSEED": "0", "HOLDFAST_QUIET": "1", "OPENBLAS_NUM_THREADS": "1"}
    checksums: dict[float, str] = {}
    for _ in range(rounds):
        for column in order.sample(list(columns), len(columns)):
            sample = measure.run(list(workload.command), column, extra)
            if sample.failure:
                failures.append(f"- {workload.name} under {column.name} failed: {sample.failure}")
                runs[column.name].append(None)
                continue
            figures: Figures = json.loads(sample.output.splitlines()[-1])
            figures["process_peak_mb"] = sample.rss_mb
            if "checksum" in figures:
                checksums.setdefault(figures.pop("checksum"), column.name)
            runs[column.name].append(figures)
    if len(checksums) > 1:
        failures.append(f"- {workload.name}: results differ, {checksums}")
    return runs


def values(runs: Sequence[Figures | None], figure: str) -> list[float | None]:
    """One figure of every round."""
    return [None if run is None else run.get(figure) for run in runs]


def table(
    runs: Mapping[str, Sequence[Figures | None]],
    base: str,
    ratio_of: str,
    others: Sequence[str],
) -> str:
    """Median of one figure, its ratio to the base column with spread, and medians of the others."""
    lines = []
    for name, by_round in runs.items():
        ratios = tables.ratios(values(by_round, ratio_of), values(runs[base], ratio_of))
        present = [value for value in values(by_round, ratio_of) if value is not None]
        cells = [name, tables.number(tables.median(present), 1)]
        cells += [tables.number(tables.median(ratios)), tables.spread(ratios)]
        for figure in others:
            got = [value for value in values(by_round, figure) if value is not None]
            cells.append(tables.number(tables.median(got), 1))
        lines.append(cells)
    header = ["allocator", ratio_of, f"/ {base}", "spread", *others]
    return tables.markdown(header, lines)
