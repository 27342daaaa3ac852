"""Suite "rest": what stays resident after a load spike, with nobody asking for it back.

benchmarks/c/rest.c keeps 33 MB, spikes to about 300 MB, frees the spike, and looks at its RSS right
after, one and two seconds later without a call into the allocator, and after a little traffic.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from harness import machine, measure, tables
from harness.allocators import Allocator

_MOMENTS = ("live", "peak", "after", "after_1s", "after_2s", "traffic")


def main(columns: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py."""
    measure.build()
    here = machine.describe()
    rounds = given.rounds or (1 if given.quick else 3)
    samples: dict[str, list[dict[str, float]]] = {column.name: [] for column in columns}
    for _ in range(rounds):
        for column in columns:
            sample = measure.run([str(measure.BUILD / "rest")], column, {"HOLDFAST_QUIET": "1"})
            if sample.failure:
                print(f"rest under {column.name}: {sample.failure}")
                continue
            figures = json.loads(sample.output)
            mb = {moment: figures[moment] / 1024 for moment in _MOMENTS}
            samples[column.name].append(mb | {"live_mb": figures["live_bytes"] / 2**20})
    rows = []
    for name, runs in samples.items():
        medians = [tables.median([run[moment] for run in runs]) for moment in _MOMENTS]
        live = tables.median([run["live_mb"] for run in runs])
        at_rest = [run["after_2s"] for run in runs]
        rows.append(
            [name, *[tables.number(m, 0) for m in medians]]
            + [tables.number(tables.median(at_rest) / live), tables.spread(at_rest)]
        )
    header = ["allocator", "live", "peak", "after", "1 s", "2 s", "traffic", "2 s / live bytes"]
    text = (
        f"RSS in MB, median of {rounds} runs; `live` is the RSS of the 33 MB before the spike; the "
        "ratio is to the bytes asked for and not freed.\n\n"
        + tables.markdown([*header, "spread of 2 s"], rows)
    )
    tables.save("rest", here, {"rounds": rounds, "samples": samples}, text)
