"""Suite "c": every program under every allocator, interleaved, ratio to glibc per round.

One round runs each program once under each allocator, in random order, side by side; a figure is
the median over rounds of (allocator / glibc of the same round), the mean over programs is
geometric.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness import machine, measure, tables
from harness.allocators import BASELINE, Allocator
from harness.measure import Sample
from harness.programs import Program, programs

_FIGURES = (("cpu_ms", "CPU"), ("wall_ms", "wall"), ("rss_mb", "peak RSS"))

Samples = dict[str, dict[str, list[Sample]]]


def _collect(
    rows: Sequence[Program], columns: Sequence[Allocator], rounds: int, seed: int
) -> Samples:
    order = random.Random(seed)
    samples: Samples = {row.name: {c.name: [] for c in columns} for row in rows}
    for index in range(rounds):
        for row in rows:
            for column in order.sample(list(columns), len(columns)):
                samples[row.name][column.name].append(row.run(column))
            print(f"\rround {index + 1}/{rounds} {row.name:20s}", end="", file=sys.stderr)
    print("\r" + " " * 50 + "\r", end="", file=sys.stderr)
    return samples


def _values(samples: Sequence[Sample], figure: str) -> list[float | None]:
    return [None if s.failure else float(getattr(s, figure)) for s in samples]


def _failures(samples: Samples, columns: Sequence[Allocator]) -> list[str]:
    lines = []
    for row, by_column in samples.items():
        expected = {s.output for s in by_column[BASELINE]}
        for column in columns:
            failures = {s.failure for s in by_column[column.name] if s.failure}
            lines += [f"- {row} under {column.name} failed: {text}" for text in sorted(failures)]
            outputs = {s.output for s in by_column[column.name] if not s.failure}
            if outputs - expected:
                lines.append(f"- {row} under {column.name} printed another result than glibc")
    return lines


def _best_means(
    samples: Samples, rows: Sequence[Program], names: Sequence[str], figure: str
) -> dict[str, float]:
    """Geometric means of (least of all rounds / glibc's least): what a busy machine blurs least."""

    def least(row: Program, name: str) -> float:
        values = [v for v in _values(samples[row.name][name], figure) if v is not None]
        return min(values, default=math.nan)

    return {
        name: tables.geometric_mean(
            ratio
            for row in rows
            if not math.isnan(ratio := least(row, name) / least(row, BASELINE))
        )
        for name in names
    }


def _ratio_table(
    samples: Samples, rows: Sequence[Program], columns: Sequence[Allocator], figure: str
) -> tuple[str, dict[str, dict[str, float]]]:
    others = [c.name for c in columns if c.name != BASELINE]
    unit = "MB" if figure == "rss_mb" else "ms"
    medians: dict[str, dict[str, float]] = {}
    lines = []
    for row in rows:
        base = _values(samples[row.name][BASELINE], figure)
        by_column = {
            name: tables.ratios(_values(samples[row.name][name], figure), base) for name in others
        }
        medians[row.name] = {name: tables.median(values) for name, values in by_column.items()}
        widest = max((max(v) - min(v) for v in by_column.values() if v), default=0.0)
        absolute = tables.median([value for value in base if value is not None])
        lines.append(
            [row.name, tables.number(absolute, 0)]
            + [tables.number(medians[row.name][name]) for name in others]
            + [f"{widest:.2f}"]
        )
    for title, chosen in (("geomean, field", [r for r in rows if r.field]), ("geomean, all", rows)):
        means = {n: tables.geometric_mean(medians[r.name][n] for r in chosen) for n in others}
        medians[title] = means
        lines.append([title, "", *[tables.number(means[n], 3) for n in others], ""])
    best = _best_means(samples, [r for r in rows if r.field], others, figure)
    medians["geomean, field, best"] = best
    lines.append(["geomean, field, best", "", *[tables.number(best[n], 3) for n in others], ""])
    header = ["program", f"glibc {unit}", *others, "widest spread"]
    return tables.markdown(header, lines), medians


def run(
    columns: Sequence[Allocator],
    rounds: int,
    seed: int,
    percent: int = 100,
    only: Sequence[str] = (),
) -> None:
    """Run the suite, print its tables, write results/c.json and c.md."""
    measure.build()
    rows = [p for p in programs(percent) if not only or p.name in only]
    here = machine.describe()
    samples = _collect(rows, columns, rounds, seed)
    text = [
        f"{rounds} rounds, interleaved, random order, seed {seed}. Ratio to glibc of the same "
        "round, median of rounds; below 1 is less. `field`: the programs that published "
        "comparisons share (mimalloc-bench's kind) and the real ones. `best`: least of all rounds "
        "instead of the median, less blurred on a busy machine.",
    ]
    summary: dict[str, object] = {}
    for figure, title in _FIGURES:
        table, medians = _ratio_table(samples, rows, columns, figure)
        summary[figure] = medians
        text.append(f"## {title}\n\n{table}")
    failures = _failures(samples, columns)
    if failures:
        text.append("## Failures\n\n" + "\n".join(failures))
    data: dict[str, object] = {
        "rounds": rounds,
        "seed": seed,
        "percent": percent,
        "allocators": {
            c.name: {"library": c.library and Path(c.library).name, "environment": c.environment}
            for c in columns
        },
        "ratios": summary,
        "failures": failures,
        "samples": {
            row: {column: [s.as_dict() for s in runs] for column, runs in by_column.items()}
            for row, by_column in samples.items()
        },
    }
    tables.save("c", here, data, "\n\n".join(text), partial=bool(only) or percent != 100)


def main(columns: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py."""
    settings = {"HOLDFAST_PYTHON_ALLOCATOR": "none", "HOLDFAST_QUIET": "1"}
    columns = [replace(c, environment={**settings, **c.environment}) for c in columns]
    rounds = given.rounds or (1 if given.quick else 3)
    run(columns, rounds, given.seed, given.percent, only)
