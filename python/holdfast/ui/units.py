"""units.py - numbers as people read them, units spelled one way; foreign text, made harmless."""

from __future__ import annotations

import math

__all__ = ["block", "count", "percent", "printable", "rate", "seconds", "size"]


def size(value: float) -> str:
    """Bytes: ``"61.2 MiB"``, ``"512 B"``."""
    if abs(value) < 1024:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        value /= 1024
        if abs(value) < 1023.5 or unit == "PiB":
            break
    return f"{_three(value)} {unit}"


def block(value: int) -> str:
    """Write the size of a block, exactly where that is short: ``"48 B"``, ``"8 KiB"``."""
    return size(value) if value < 1024 or value % 1024 else f"{value // 1024} KiB"


def count(value: float) -> str:
    """Whole numbers, thousands set apart: ``"12,345,678"``."""
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """Events per second, short: ``"5.1 M/s"``."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{_three(value / factor)} {letter}/s"
    return f"{value:.0f} /s"


def seconds(value: float) -> str:
    """Durations: ``"2.41 s"``, ``"312 ms"``, ``"3 min 20 s"``."""
    if value >= 120:
        minutes, rest = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= factor * 0.9995:
            return f"{_three(value / factor)} {unit}"
    return f"{value * 1e9:.0f} ns"


def percent(part: float, whole: float) -> str:
    """Write a share: ``"12.3 %"``; what is not nothing is not shown as 0."""
    if whole <= 0 or part <= 0:
        return "0 %"
    share = 100 * part / whole
    if share < 0.05:
        return "<0.1 %"
    if 99.95 <= share < 100:
        return ">99.9 %"
    return f"{share:.1f} %" if share < 99.95 else "100 %"


def _three(value: float) -> str:
    if value <= 0:
        return f"{value:.0f}"
    decimals = max(0, 2 - math.floor(math.log10(value)))
    text = f"{value:.{decimals}f}"
    return text if len(text) <= 4 else f"{value:.{max(0, decimals - 1)}f}"


def printable(text: str) -> str:
    """Escape what would move the cursor, change colours or break the line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
