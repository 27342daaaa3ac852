"""plain.py - the report as text without colours, for files, pipes and continuous integration.

Invariants  lines of prose and figures are at most WIDTH columns; paths and commands are not cut.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TextIO

from holdfast.ui import units
from holdfast.ui.model import Bars, Facts, Finding, Grid, Item, Section

__all__ = ["WIDTH", "render", "text"]

WIDTH = 78
BAR = 18


def render(sections: Sequence[Section], file: TextIO) -> None:
    """Write the sections to `file` in one piece."""
    made = text(sections)
    encoding = getattr(file, "encoding", None) or "utf-8"
    file.write(made.encode(encoding, "replace").decode(encoding, "replace"))
    file.flush()


def text(sections: Sequence[Section]) -> str:
    """Put the sections into one text that ends with a newline."""
    lines: list[str] = []
    for number, section in enumerate(sections):
        lines.append("")
        note = f" ({section.note})" if section.note and number else ""
        if number == 0:
            head = f"{section.title}: {section.note}"
            lines += [head, "=" * min(len(head), WIDTH)]
        else:
            lines.append(f"{section.title}{note}")
        for item in section.items:
            lines += _item(item)
    return "\n".join(lines) + "\n"


def _item(item: Item) -> list[str]:
    if isinstance(item, Facts):
        return [f"  {label:<14}{value}".rstrip() for label, value, _ in item.rows]
    if isinstance(item, Bars):
        return _bars(item)
    if isinstance(item, Grid):
        return _grid(item)
    if isinstance(item, Finding):
        return _finding(item)
    return textwrap.wrap(item.text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _bars(bars: Bars) -> list[str]:
    lines = []
    for row in bars.rows:
        label = "  " * (row.depth + 1) + row.label
        share = units.percent(row.part, bars.whole)
        drawn = ""
        if row.depth and bars.whole:
            drawn = "#" * round(BAR * row.part / bars.whole) or "."
        lines.append(f"{label:<34}{units.size(row.part):>10}{share:>9}  {drawn}".rstrip())
    lines.append(f"  {'resident set':<32}{units.size(bars.whole):>10}{'100 %':>9}")
    return lines


def _grid(grid: Grid) -> list[str]:
    names = [name.rstrip("<") for name in grid.columns]
    left = [name.endswith("<") for name in grid.columns]
    widths = [
        max(len(names[i]), *(len(row[i]) for row in grid.rows)) if grid.rows else len(names[i])
        for i in range(len(names))
    ]
    lines = []
    for row in [names, *grid.rows]:
        cells = [
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(row, widths, left, strict=True)
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _finding(finding: Finding) -> list[str]:
    times = f" ({finding.times} times)" if finding.times > 1 else ""
    lines = ["", f"  {finding.kind}{times}: {finding.sentence}"]
    for label, values in finding.facts:
        for number, value in enumerate(values):
            lines.append(f"    {label if number == 0 else '':<12}{value}")
    for paragraph in finding.explanation:
        lines += textwrap.wrap(paragraph, WIDTH, initial_indent="    ", subsequent_indent="    ")
    lines.append(f"    see {finding.link}")
    return lines
