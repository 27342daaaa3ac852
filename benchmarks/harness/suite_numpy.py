"""Suite "numpy": expressions with temporaries of 64 KiB to 64 MiB, against hand-written ``out=``.

Speed is stock's microseconds over the column's, so above 1 is faster; the last lines compare the
plain expressions under holdfast with the ``out=`` versions under stock Python.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping, Sequence

from harness import machine, measure, tables, workload
from harness.allocators import Allocator
from harness.python_columns import STOCK, columns
from harness.workload import Figures, Workload

_LABELS = [f"{name}{size}" for size in ("64K", "1M", "8M", "64M") for name in "ABC"]


def _speed(
    runs: Mapping[str, Sequence[Figures | None]], name: str, figure: str, base: str, of: str
) -> float:
    """Median over rounds of base's figure over this column's."""
    theirs = workload.values(runs[base], of)
    return tables.median(tables.ratios(theirs, workload.values(runs[name], figure)))


def main(chosen: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py."""
    if importlib.util.find_spec("numpy") is None:
        print("numpy: NumPy is not installed, skipped", file=sys.stderr)
        return
    measure.build()
    here = machine.describe()
    rounds = given.rounds or (2 if given.quick else 5)
    failures: list[str] = []
    wanted = columns(chosen, with_malloc=False)
    item = Workload.python("numpy_temporaries")
    runs = workload.collect(item, wanted, rounds, given.seed, failures)

    absolute, faults, speed, against_out = [], [], [], []
    for name, by_round in runs.items():

        def middle(figure: str, by_round: Sequence[Figures | None] = by_round) -> float:
            return tables.median([v for v in workload.values(by_round, figure) if v is not None])

        absolute.append([name, *[tables.number(middle(label), 1) for label in _LABELS]])
        absolute[-1].append(tables.number(middle("peak_mb"), 0))
        faults.append([name, *[tables.number(middle("faults" + label), 0) for label in _LABELS]])
        speed.append([name, *[tables.number(_speed(runs, name, x, STOCK, x)) for x in _LABELS]])
        pairs = [label for label in _LABELS if label[0] != "C"]
        against_out.append(
            [name, *[tables.number(_speed(runs, name, x, STOCK, "out" + x)) for x in pairs]]
        )
    text = [
        f"{rounds} rounds, interleaved. CPU microseconds of one operation: A `r = a + b`, "
        "B `r = (a*b + c)*d - a`, C `where` and `astype`.",
        "## Microseconds\n\n" + tables.markdown(["allocator", *_LABELS, "peak_mb"], absolute),
        "## Speed against stock (above 1 is faster)\n\n"
        + tables.markdown(["allocator", *_LABELS], speed),
        "## Speed against stock with hand-written out=\n\n"
        + tables.markdown(["allocator", *pairs], against_out),
        "## Faults of one operation\n\n" + tables.markdown(["allocator", *_LABELS], faults),
    ]
    if failures:
        text.append("## Failures\n\n" + "\n".join(failures))
    tables.save("numpy", here, {"rounds": rounds, "runs": runs}, "\n\n".join(text))
