"""Suite "instructions": benchmarks/instructions.py on the allocators of compare.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import instructions

from harness.allocators import Allocator


def main(columns: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py; `only` names patterns here."""
    instructions.run(columns, list(only) or list(instructions.PATTERNS))
