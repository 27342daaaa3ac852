#!/usr/bin/env python3
"""Compare memory allocators side by side in one run.

    python benchmarks/compare.py --suite c --rounds 3
    python benchmarks/compare.py --suite all --quick
    python benchmarks/compare.py --suite c --programs xmallocN,sh6N --only mimalloc,holdfast-fast
    python benchmarks/compare.py --suite c --peer snmalloc=/opt/libsnmallocshim.so

Suites: c, instructions, rest, python, numpy, attribution, arena, pool, arrays, pyfiber,
fiber, shm, shm_map, all. Results go to benchmarks/results/, those of --quick to
build/bench/results/ unless --keep is given.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from harness import allocators, tables

SUITES = (
    "c",
    "instructions",
    "rest",
    "python",
    "numpy",
    "attribution",
    "arena",
    "pool",
    "arrays",
    "pyfiber",
    "fiber",
    "shm",
    "shm_map",
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare memory allocators side by side.")
    parser.add_argument("--suite", default="c", choices=[*SUITES, "all"])
    parser.add_argument("--rounds", type=int, help="rounds of every suite")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--keep", action="store_true", help="keep the results of --quick, too")
    parser.add_argument("--seed", type=int, default=1, help="of the order inside a round")
    parser.add_argument("--percent", type=int, default=100, help="work of our C programs")
    parser.add_argument("--holdfast", help="path of libholdfast_malloc.so")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH[,VAR=VALUE]")
    parser.add_argument("--only", default="", help="names of allocators, comma separated")
    parser.add_argument("--programs", default="", help="names of programs, comma separated")
    return parser.parse_args()


def main() -> int:
    """Run the suites asked for; the exit status is 1 when the baseline could not be measured."""
    given = _arguments()
    only = [name for name in given.only.split(",") if name]
    programs = [name for name in given.programs.split(",") if name]
    library = allocators.find_holdfast(given.holdfast)
    if library is None:
        print("libholdfast_malloc.so is not built: comparing the peers only", file=sys.stderr)
    columns = allocators.choose(library, given.peer, only)
    tables.keep = not only
    if given.quick and not given.keep:
        tables.folder = tables.TRIALS
    for suite in SUITES if given.suite == "all" else (given.suite,):
        module = importlib.import_module(f"harness.suite_{suite}")
        module.main(columns, given, programs)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
