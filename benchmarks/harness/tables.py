"""Ratios, medians and geometric means of samples, as text tables and markdown."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence

from harness.machine import ROOT, sentence

RESULTS = ROOT / "benchmarks" / "results"
TRIALS = ROOT / "build" / "bench" / "results"

keep = True  # compare.py clears it when only some allocators are compared
folder = RESULTS  # where to; compare.py sets TRIALS for quick runs


def geometric_mean(values: Iterable[float]) -> float:
    """Geometric mean of positive values, NaN for none."""
    logs = [math.log(value) for value in values if value > 0]  # NaN > 0 is false
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def ratios(values: Sequence[float | None], base: Sequence[float | None]) -> list[float]:
    """Value over baseline, round by round, where both exist."""
    return [v / b for v, b in zip(values, base, strict=True) if v is not None and b]


def median(values: Sequence[float]) -> float:
    """Median, NaN for none."""
    return statistics.median(values) if values else math.nan


def spread(values: Sequence[float]) -> str:
    """Least and greatest value as text."""
    return f"{min(values):.2f}-{max(values):.2f}" if values else "-"


def number(value: float, digits: int = 2) -> str:
    """A figure of a table; a missing one is a dash."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A padded markdown table, readable as plain text."""
    body = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *body]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(header), rule, *map(line, body)])


def save(
    suite: str,
    machine: dict[str, object],
    data: dict[str, object],
    text: str,
    partial: bool = False,
) -> None:
    """Print the text; write <suite>.json and .md to `folder` unless only a part was measured."""
    page = f"# {suite}\n\n{sentence(machine)}\n\n{text}\n"
    print(page, flush=True)
    if partial or not keep:
        return
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"suite": suite, "machine": machine, **data}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in whole.items()]
    (folder / f"{suite}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    (folder / f"{suite}.md").write_text(page)
