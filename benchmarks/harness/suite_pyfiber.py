"""Suite "pyfiber": Python fibers against greenlet and generators, all in one process by turns.

Every interpreter that has holdfast installed is measured: the running one, and .venv-3.12 and so
on where they are (`make pythons`). Each round is a fresh process; ratios are taken within it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import machine, tables
from harness.allocators import Allocator

_PROGRAM = machine.ROOT / "benchmarks" / "python" / "fibers.py"
_WORKLOADS = ("round_trip", "deep100", "create", "live10000", "call")
_KINDS = ("fiber", "greenlet", "generator", "plain")

Figures = dict[str, dict[str, float]]


def _interpreters() -> list[Path]:
    found = [Path(sys.executable)]
    for folder in sorted(machine.ROOT.glob(".venv-3.*")):
        python = folder / "bin" / "python"
        check = [str(python), "-c", "import holdfast, greenlet"]
        if python.exists() and subprocess.run(check, capture_output=True).returncode == 0:
            found.append(python)
    return found


def _run(python: Path, slices: int, failures: list[str]) -> tuple[str, Figures]:
    command = [str(python), str(_PROGRAM), str(slices)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        failures.append(f"- {python}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        return str(python), {}
    result = json.loads(done.stdout)
    return str(result["python"]), result["figures"]


def _ratio(runs: Sequence[Figures], above: str, below: str) -> float:
    """Median over rounds of one least time over another of the same process."""
    pairs = [(run.get(above), run.get(below)) for run in runs]
    return tables.median([a["least"] / b["least"] for a, b in pairs if a and b])


def _least(runs: Sequence[Figures], name: str) -> float:
    return min((run[name]["least"] for run in runs if name in run), default=float("nan"))


def main(chosen: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py."""
    here = machine.describe()
    rounds = given.rounds or (2 if given.quick else 5)
    slices = 60 if given.quick else 200
    failures: list[str] = []
    interpreters = _interpreters()
    by_version: dict[str, list[Figures]] = {}
    for _ in range(rounds):
        for python in interpreters:
            version, figures = _run(python, slices, failures)
            if figures:
                by_version.setdefault(version, []).append(figures)

    least, ratios = [], []
    for version, runs in by_version.items():
        for kind in _KINDS:
            row = [tables.number(_least(runs, f"{kind} {name}"), 0) for name in _WORKLOADS]
            least.append([f"{version} {kind}", *row])
        row = [
            tables.number(_ratio(runs, f"fiber {name}", f"greenlet {name}"), 3)
            for name in _WORKLOADS
        ]
        ratios.append([version, *row])
    text = (
        f"{rounds} rounds of {slices} slices, kinds by turns in one process. `call` of `fiber` is "
        "run_on_stack, of `plain` the same call without.\n\n## Nanoseconds, least of all slices\n\n"
        + tables.markdown(["", *_WORKLOADS], least)
        + "\n\n## Fiber over greenlet (below 1 is faster), median of rounds\n\n"
        + tables.markdown(["", *_WORKLOADS], ratios)
    )
    if failures:
        text += "\n\n## Failures\n\n" + "\n".join(failures)
    tables.save("pyfiber", here, {"rounds": rounds, "runs": by_version}, text)
