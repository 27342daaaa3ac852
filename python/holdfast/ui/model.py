"""model.py - the report as data: sections of facts, bars, grids and findings; no layout.

Invariants  every text is plain: no markup, no escape sequences, nothing that depends on a terminal.
Made by     document.py.   Printed by plain.py and terminal.py, which must know every class here.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["Bar", "Bars", "Facts", "Finding", "Grid", "Item", "Section", "Text", "Tone"]

Tone = Literal["normal", "good", "warn", "bad", "quiet"]


@dataclasses.dataclass(frozen=True)
class Facts:
    """Label and text, one pair a line; a tone per line."""

    rows: list[tuple[str, str, Tone]]


@dataclasses.dataclass(frozen=True)
class Bar:
    """One line of a composition. `part` is a share of the whole in bytes."""

    label: str
    part: int
    depth: int = 1
    tone: Tone = "normal"


@dataclasses.dataclass(frozen=True)
class Bars:
    """A whole and the parts that add up to it; rows of depth 0 are sums of those below them."""

    whole: int
    rows: list[Bar]


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table; columns whose name ends in "<" are left-aligned, all others right-aligned."""

    columns: list[str]
    rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One corruption, or several alike: what, the facts about it, stacks, explanation."""

    kind: str
    sentence: str
    times: int
    facts: list[tuple[str, list[str]]]
    explanation: list[str]
    link: str


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    tone: Tone = "normal"


Item = Facts | Bars | Grid | Finding | Text


@dataclasses.dataclass(frozen=True)
class Section:
    """A title, a remark beside it, and what stands below."""

    title: str
    items: list[Item]
    note: str = ""
    tone: Tone = "normal"
