"""Suite "shm": shared memory between processes: messages from Python, structures, physical limits.

    benchmarks/python/shm_transports.py    a process pair per way, all sizes: holdfast, peers
    benchmarks/python/shm_structures.py    arrays, versions, maps, pools
    benchmarks/c/bench_shm_limits.c        cache line, memcpy, waking by a futex and by a queue
    benchmarks/c/bench_shm_queue.c         the queue beside a plain one that no kill may hit

A round runs everything once, the ways in random order; a figure is the median over rounds. Packages
that are not installed are left out, and the text says so:
    .venv/bin/pip install pyzmq faster-fifo iceoryx2 lmdb
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import machine, measure, tables
from harness.allocators import Allocator

_SCRIPTS = machine.ROOT / "benchmarks" / "python"
_SIZES = (8, 64, 1024, 65536, 1048576)
_OURS = (
    "Queue put/get",
    "Queue try_put/try_get",
    "Queue single try_",
    "Queue put_block/get_block",
    "Queue reserve/peek",
    "Queue reserve/peek written",
    "Queue of objects",
    "Ring push/pop",
)
_PEERS = (
    "multiprocessing.Queue",
    "Pipe objects",
    "Pipe bytes",
    "pyzmq ipc",
    "faster-fifo",
    "faster-fifo many",
    "iceoryx2",
    "iceoryx2 written",
    "iceoryx2 blocking",
)

_WORKLOADS = (
    ("stream", "a message to another process"),
    ("trip", "there and back, polling"),
    ("pair", "put and get, alone"),
)

Figures = dict[str, float]
Link = dict[str, Figures]  # by size


class Collector:
    """Runs of all rounds, and what went wrong."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.absent: dict[str, str] = {}
        self.links: dict[str, list[Link]] = {}
        self.limits: list[Figures] = []
        self.structures: list[dict[str, Figures]] = []

    def _lines(self, what: str, command: list[str], timeout: float) -> list[dict[str, object]]:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            self.failures.append(f"- {what}: no end after {timeout:.0f} s")
            return []
        if done.returncode != 0:
            last = " ".join(done.stderr.split())[-300:]
            self.failures.append(f"- {what}: exit {done.returncode}: {last}")
            return []
        return [json.loads(line) for line in done.stdout.splitlines()]

    def link(self, way: str, seconds: float) -> None:
        script = str(_SCRIPTS / "shm_transports.py")
        command = [sys.executable, script, way, str(seconds), *map(str, _SIZES)]
        for found in self._lines(way, command, 90):
            if "absent" in found:
                self.absent[way] = str(found["absent"])
            else:
                self.links.setdefault(way, []).append(found)  # type: ignore[arg-type]

    def limit(self, folder: Path, slices: int) -> None:
        program = str(folder / "bench_shm_limits")
        figures: Figures = {}
        for found in self._lines("limits", [program, str(slices)], 60):
            figures.update(found)  # type: ignore[arg-type]
        for size in (8, 64):
            program = str(folder / "bench_shm_queue")
            for row in self._lines("queue", [program, str(slices), str(size)], 60):
                figures[f"{row['workload']} {row['name']} {size}"] = row["p10"]  # type: ignore[assignment]
        self.limits.append(figures)

    def structure(self, slices: int) -> None:
        script = str(_SCRIPTS / "shm_structures.py")
        for found in self._lines("structures", [sys.executable, script, str(slices)], 60):
            self.absent.update(found.pop("absent"))  # type: ignore[arg-type]
            self.structures.append(found)  # type: ignore[arg-type]

    # --- medians over rounds ----------------------------------------------------------------------

    def of_link(self, way: str, size: int, figure: str) -> float:
        runs = [run.get(str(size), {}) for run in self.links.get(way, [])]
        return tables.median([run[figure] for run in runs if figure in run])

    def of_limit(self, figure: str) -> float:
        return tables.median([run[figure] for run in self.limits if figure in run])

    def limit_ratio(self, above: str, below: str) -> float:
        runs = [run for run in self.limits if above in run and below in run]
        return tables.median([run[above] / run[below] for run in runs])

    def of_structure(self, table: str, name: str) -> float:
        runs = [run[table] for run in self.structures]
        return tables.median([run[name] for run in runs if name in run])

    def structure_ratio(self, table: str, above: str, below: str) -> float:
        runs = [run[table] for run in self.structures]
        return tables.median([run[above] / run[below] for run in runs])


def _short(rate: float) -> str:
    """Messages per second: 5.1 M, 380 k, 940."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if rate >= unit:
            return f"{rate / unit:.{2 if rate < 10 * unit else 1}f}{name}"
    return tables.number(rate, 0)


def _size(size: int) -> str:
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def _messages(got: Collector) -> str:
    header = ["messages/s", *map(_size, _SIZES)]
    trips = ["round trip, us", *map(_size, _SIZES)]
    ways = [way for way in (*_OURS, *_PEERS) if way in got.links]
    rates = [[way, *[_short(got.of_link(way, size, "rate")) for size in _SIZES]] for way in ways]
    times = []
    for way in ways:
        values = [got.of_link(way, size, "trip_us") for size in _SIZES]
        if any(value == value for value in values):
            digits = [1 if value >= 10 else 2 for value in values]
            times.append([way, *[tables.number(v, d) for v, d in zip(values, digits, strict=True)]])
    return (
        "## Messages from Python process to Python process\n\n"
        + tables.markdown(header, rates)
        + "\n\n"
        + tables.markdown(trips, times)
        + "\n\nHoldfast's `put`, `get`, `reserve`, `peek` spin for 20 us and then sleep, `try_`,"
        " `written` and iceoryx2 poll. `reserve/peek` and `iceoryx2` hand a slot over: nobody"
        " writes or reads its bytes; `written`: the sender fills it, the receiver looks at the"
        " last byte."
        " `put_block`, `Ring` (streams) and `many` move up to 64 KiB, or 64 messages, by one call."
    )


def _limits(got: Collector) -> str:
    def row(what: str, figure: str, unit: str, digits: int = 1) -> list[str]:
        return [what, tables.number(got.of_limit(figure), digits), unit]

    rows = [
        row("cache line there and back", "line_ns", "ns"),
        row("memcpy of 64 KiB into 8 places", "copy_64k_gbs", "GB/s"),
        row("memcpy of 1 MiB into 8 places", "copy_1m_gbs", "GB/s"),
        row("futex, both ways, both asleep", "wake_futex_us", "us"),
        row("Queue, both ways, both asleep", "wake_queue_us", "us"),
        row("futex, longest as the other goes to sleep", "sleepy_futex_ms", "ms", 2),
        row("Queue, longest as the other goes to sleep", "sleepy_queue_ms", "ms", 2),
    ]
    rows += [
        row(f"{label}, {size} B, {text}", f"{workload} {name} {size}", "ns")
        for size in (8, 64)
        for workload, text in _WORKLOADS
        for name, label in (
            ("plain", "plain queue"),
            ("queue", "Queue"),
            ("single", "Queue, single"),
        )
    ]
    return "## Limits of the machine, in C\n\n" + tables.markdown(["", "found", "unit"], rows)


def _structures(got: Collector) -> str:
    texts = []
    for table, title in (
        ("arrays", "Arrays: NumPy on private memory and in a segment"),
        ("versions", "64 KiB replaced and read as a whole"),
        ("maps", "10,000 keys of 16 bytes, values of 64"),
        ("places", "Places and numbers"),
    ):
        names = got.structures[0][table]
        rows = [[name, tables.number(got.of_structure(table, name), 0)] for name in names]
        texts.append(f"## {title}\n\n" + tables.markdown(["", "ns"], rows))
    return "\n\n".join(texts)


def _goal(text: str, found: float, holds: bool, digits: int = 2, unit: str = "") -> list[str]:
    verdict = "-" if found != found else "reached" if holds else "missed"
    return [text, tables.number(found, digits) + unit, verdict]


def _goals(got: Collector) -> str:
    rows = []
    polling = ("Queue try_put/try_get", "Queue single try_", "Queue put/get")
    for size in (8, 64):
        rate = max(got.of_link(way, size, "rate") for way in polling)
        rows.append(_goal(f"{size} B: 4 M messages/s", rate / 1e6, rate >= 4e6, 2, " M"))
    for size in (8, 64):
        trip = min(got.of_link(way, size, "trip_us") for way in polling[:2])
        rows.append(_goal(f"{size} B: round trip of 1 us", trip, trip <= 1, 2, " us"))
    ours, theirs = "Queue reserve/peek", "iceoryx2"
    for written in ("", " written"):
        name = "bytes written" if written else "handed over"
        ratio = got.of_link(ours + written, 65536, "rate") / got.of_link(
            theirs + written, 65536, "rate"
        )
        rows.append(_goal(f"64 KiB in place, {name}, over iceoryx2: 1", ratio, ratio >= 1))
    speed = got.of_link("Queue reserve/peek written", 1 << 20, "rate") * (1 << 20) / 1e9
    ratio = speed / got.of_limit("copy_1m_gbs")
    rows.append(_goal("1 MiB written in place over memcpy: 0.8", ratio, ratio >= 0.8))
    ratio = got.limit_ratio("wake_queue_us", "wake_futex_us")
    rows.append(_goal("wake-up over a bare futex: 1.2 at most", ratio, ratio <= 1.2))
    for size in (8, 64):
        for workload, text in _WORKLOADS:
            ratio = got.limit_ratio(f"{workload} queue {size}", f"{workload} plain {size}")
            what = f"Queue over a plain one, {size} B, {text}: 1.5 at most"
            rows.append(_goal(what, ratio, ratio <= 1.5))
    for name in ("sum 64K", "sum 4M", "a+b 64K", "a+b 4M"):
        ratio = got.structure_ratio("arrays", f"{name} shared", f"{name} private")
        rows.append(_goal(f"array, {name}, over private memory: 1.05", ratio, ratio <= 1.05))
    return "## Goals\n\n" + tables.markdown(["goal", "found", ""], rows)


def main(chosen: Sequence[Allocator], given: argparse.Namespace, only: Sequence[str]) -> None:
    """Entry point of compare.py; `only` names ways; allocators have no part in it."""
    if importlib.util.find_spec("numpy") is None:
        print("shm: NumPy is not installed, skipped", file=sys.stderr)
        return
    folder = measure.build()
    here = machine.describe()
    rounds = given.rounds or (1 if given.quick else 3)
    slices = 5 if given.quick else 15
    seconds = 0.06 if given.quick else 0.2
    order = random.Random(given.seed)
    got = Collector()
    ways = [way for way in (*_OURS, *_PEERS) if not only or way in only]
    for _ in range(rounds):
        for way in order.sample(ways, len(ways)):
            got.link(way, seconds)
        if not only:
            got.limit(folder, slices)
            got.structure(slices)
    text = [
        f"{rounds} rounds, ways in random order, each a fresh pair of processes on two processors; "
        "medians over rounds. How to read it: docs/shm-performance.md."
    ]
    if got.limits and got.structures:
        text.append(_goals(got))
    text.append(_messages(got))
    if got.limits:
        text.append(_limits(got))
    if got.structures:
        text.append(_structures(got))
    if got.absent:
        missing = "\n".join(f"- {name}: {why}" for name, why in got.absent.items())
        text.append("## Left out\n\n" + missing)
    if got.failures:
        text.append("## Failures\n\n" + "\n".join(got.failures))
    data: dict[str, object] = {
        "rounds": rounds,
        "failures": got.failures,
        "absent": got.absent,
        "links": got.links,
        "limits": got.limits,
        "structures": got.structures,
    }
    tables.save("shm", here, data, "\n\n".join(text), partial=bool(only))
