"""Suite "arrays": array memory from arenas and heaps inside a program, against plain NumPy.

benchmarks/python/arrays.py runs in fresh processes, one after the other with and without
`install`; inside a process all variants take turns. Ratios are taken inside one process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence

from harness import machine, tables
from harness.allocators import Allocator

_PROGRAM = machine.ROOT / "benchmarks" / "python" / "arrays.py"
_SMALL = ("empty8", "empty1K", "a10+1", "b200+1", "c2000+1")
_SIZES = ("1M", "8M", "64M")

Figures = dict[str, float]


def _run(scale: int, *more: str) -> Figures:
    command = [sys.executable, str(_PROGRAM), "--scale", str(scale), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def _middle(runs: Sequence[Figures], name: str) -> float:
    return tables.median([run[name] for run in runs if name in run])


def _ratio(runs: Sequence[Figures], name: str, base: str) -> float:
    return tables.median([run[base] / run[name] for run in runs])


def _small(plain: Sequence[Figures], installed: Sequence[Figures]) -> str:
    rows = []
    for label, runs, of in (
        ("NumPy", plain, "plain"),
        ("allocator(heap)", plain, "heap"),
        ("allocator(arena)", plain, "arena"),
        ("install()", installed, "plain"),
        ("Arena.array", plain, "array"),
    ):
        rows.append([label, *[tables.number(_middle(runs, f"{x} {of}"), 1) for x in _SMALL]])
    return tables.markdown(["ns of one call", *_SMALL], rows)


def _large(plain: Sequence[Figures], installed: Sequence[Figures]) -> tuple[str, str]:
    labels = [f"{letter}{size}" for size in _SIZES for letter in "AB"]
    rows, speed = [], []
    for label, runs, of in (
        ("NumPy", plain, "plain"),
        ("out=", plain, "out"),
        ("arena, a scope per iteration", plain, "arena"),
        ("install()", installed, "plain"),
    ):
        rows.append([label, *[tables.number(_middle(runs, of + x), 0) for x in labels]])
        if of == "arena":
            for base in ("plain", "out"):
                ratios = [tables.number(_ratio(runs, of + x, base + x)) for x in labels]
                speed.append([f"arena over {'NumPy' if base == 'plain' else 'out='}", *ratios])
    return tables.markdown(["us", *labels], rows), tables.markdown(["speed", *labels], speed)


def main(chosen: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py; the allocators of the other suites have no part in this one."""
    if importlib.util.find_spec("numpy") is None:
        print("arrays: NumPy is not installed, skipped", file=sys.stderr)
        return
    here = machine.describe()
    rounds = given.rounds or (2 if given.quick else 5)
    scale = min(given.percent, 50 if given.quick else 100)
    plain, installed = [], []
    for _ in range(rounds):
        plain.append(_run(scale))
        installed.append(_run(scale, "--install"))
    times, speed = _large(plain, installed)
    small = [run["empty1K array"] / run["empty1K plain"] for run in plain]
    text = "\n\n".join(
        [
            f"{rounds} rounds; CPU time, least of slices that take turns in one process, medians "
            "over rounds. A `r = a + b`, B `r = (a*b + c)*d - a`.",
            "## Small arrays\n\n" + _small(plain, installed),
            f"`Arena.array` of 1 KiB takes {tables.median(small):.2f} times as long as "
            f"`numpy.empty` (least and greatest of rounds {tables.spread(small)}).",
            "## Expressions, microseconds\n\n" + times,
            "## Speed (above 1 the arena is faster)\n\n" + speed,
        ]
    )
    tables.save("arrays", here, {"rounds": rounds, "plain": plain, "installed": installed}, text)
