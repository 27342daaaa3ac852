"""Parsing: modules of the standard library into syntax trees, walked and dropped.

    python parsing.py [repetitions [seconds of rest]]

Prints one JSON line, see meter.py.
"""

from __future__ import annotations

import ast
from pathlib import Path

import meter

SOURCES = [
    path.read_text(encoding="utf-8") for path in sorted(Path(ast.__file__).parent.glob("*.py"))[:30]
]


def parse(index: int) -> int:
    """Parse all, keep ten trees at a time, count their nodes and names."""
    kept: list[ast.AST] = []
    checksum = index
    for source in SOURCES:
        kept.append(ast.parse(source))
        if len(kept) == 10:
            for module in kept:
                for node in ast.walk(module):
                    checksum += 2 if isinstance(node, ast.Name) else 1
            kept.clear()
    return checksum


if __name__ == "__main__":
    meter.repeat(parse, 4)
