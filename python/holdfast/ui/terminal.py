"""terminal.py - the report in colour, drawn by rich for the width of the terminal.

Invariants  texts of the report never reach rich as markup: they are wrapped in Text objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text as Rich

from holdfast.ui import units
from holdfast.ui.model import Bars, Facts, Finding, Grid, Item, Section, Text

__all__ = ["draw", "render", "renderable"]

STYLES = {"normal": "", "good": "green", "warn": "yellow", "bad": "bold red", "quiet": "dim"}
BAR_STYLES = {"normal": "cyan", "good": "green", "warn": "yellow", "bad": "red", "quiet": "blue"}
EIGHTHS = " ▏▎▍▌▋▊▉█"
WIDTH_MAX = 100


def render(sections: Sequence[Section], file: TextIO) -> None:
    """Draw the sections on the terminal behind `file`, as wide as it is, up to WIDTH_MAX."""
    console = Console(file=file)
    console.width = max(40, min(console.width, WIDTH_MAX))
    draw(sections, console)


def draw(sections: Sequence[Section], console: Console) -> None:
    """Draw the sections on a console of rich."""
    console.print(renderable(sections, console.width))


def renderable(sections: Sequence[Section], width: int) -> RenderableType:
    """Make the sections one thing that rich can draw, also again and again."""
    parts: list[RenderableType] = [Rich("")]
    for number, section in enumerate(sections):
        if number:
            parts.append(Rich(""))
        parts.append(_heading(section, number == 0))
        parts += [Padding(_item(item, width), (0, 1)) for item in section.items]
    return Group(*parts, Rich(""))


def _heading(section: Section, first: bool) -> RenderableType:
    style = STYLES[section.tone] or "bold"
    title = Rich(section.title, style="bold cyan" if first else style)
    if section.note:
        title.append("  ")
        title.append(section.note, style="bold" if first else "dim")
    if first:
        return Rule(title, align="left", style="cyan")
    return Padding(title, (0, 0, 0, 1))


def _item(item: Item, width: int) -> RenderableType:
    if isinstance(item, Facts):
        return _facts(item)
    if isinstance(item, Bars):
        return _bars(item, width)
    if isinstance(item, Grid):
        return _grid(item)
    if isinstance(item, Finding):
        return _finding(item)
    return _text(item)


def _text(item: Text) -> RenderableType:
    mark = {"good": "✓ ", "warn": "! ", "bad": "✗ "}.get(item.tone, "")
    return Rich(mark + item.text, style=STYLES[item.tone])


def _plain_table() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _facts(facts: Facts) -> RenderableType:
    table = _plain_table()
    table.add_column(style="dim", no_wrap=True, min_width=13)
    table.add_column(overflow="fold")
    for label, value, tone in facts.rows:
        table.add_row(label, Rich(value, style=STYLES[tone]))
    return table


def _bars(bars: Bars, width: int) -> RenderableType:
    room = max(8, min(30, width - 56))
    table = _plain_table()
    table.add_column(no_wrap=True, min_width=29)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for row in bars.rows:
        sum_of = row.depth == 0
        share = units.percent(row.part, bars.whole)
        table.add_row(
            Rich(("" if sum_of else "  ") + row.label, style="bold" if sum_of else ""),
            Rich(units.size(row.part), style="bold" if sum_of else ""),
            Rich(share, style="bold" if sum_of else "dim"),
            Rich("" if sum_of else _bar(row.part, bars.whole, room), style=BAR_STYLES[row.tone]),
        )
    table.add_row(
        Rich("resident set", style="bold"), Rich(units.size(bars.whole), style="bold"), "100 %", ""
    )
    return table


def _bar(part: int, whole: int, room: int) -> str:
    eighths = max(1, round(8 * room * part / whole)) if whole else 0
    full, rest = divmod(eighths, 8)
    return "█" * full + (EIGHTHS[rest] if rest else "")


def _grid(grid: Grid) -> RenderableType:
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False
    )
    for name in grid.columns:
        left = name.endswith("<")
        table.add_column(
            name.rstrip("<"), justify="left" if left else "right", no_wrap=True, overflow="ellipsis"
        )
    for row in grid.rows:
        table.add_row(*(Rich(cell) for cell in row))
    return table


def _finding(finding: Finding) -> RenderableType:
    table = _plain_table()
    table.add_column(style="dim", no_wrap=True, min_width=9)
    table.add_column(overflow="fold")
    for label, values in finding.facts:
        table.add_row(label, Rich("\n".join(values)))
    title = Rich(finding.kind, style="bold red")
    if finding.times > 1:
        title.append(f" {finding.times} times", style="red")
    parts: list[RenderableType] = [Rich(finding.sentence, style="bold"), Rich(""), table, Rich("")]
    parts += [Rich(paragraph) for paragraph in finding.explanation]
    parts.append(Rich(f"see {finding.link}", style="cyan"))
    return Panel(Group(*parts), title=title, title_align="left", border_style="red")
