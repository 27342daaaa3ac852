"""Switching and starting: fibers, greenlets and generators take turns, slice by slice.

``main.py SLICES`` prints one JSON line: nanoseconds of one operation by (kind, workload), the least
and the median of the slices. All kinds are measured in the same process, in an order that turns
around every slice.

- round_trip   into one that loops, and back
- deep100      the same with 100 C calls between the loop and its start, two of them alternating
- create       make one, run an empty function in it to its end, drop it
- live10000    a turn of each of 10,000, per turn
- call         run_on_stack against a plain call (kind "plain")
"""

from __future__ import annotations

import functools
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import holdfast
from holdfast import Fiber, suspend

Slice = Callable[[int], None]
COUNTS = {"round_trip": 2000, "deep100": 1000, "create": 400, "live10000": 10_000, "call": 1000}


def nothing(*_: object) -> None:
    """What is called where only the call counts."""


def below(levels: int, function: Callable[[], object]) -> object:
    """Call a function under so many C calls, each of which called Python again."""
    if levels == 0:
        return function()
    return list(map(functools.partial(below, levels - 1), (function,)))


def repeat(call: Callable[[], object]) -> Slice:
    """A slice that makes the same call again and again."""

    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


def in_turn(calls: list[Callable[[], object]]) -> Slice:
    """A slice that goes round the calls, as many times as it fits."""

    def run(count: int) -> None:
        for _ in range(count // len(calls)):
            for call in calls:
                call()

    return run


def fibers() -> dict[str, Slice]:
    """Every workload with holdfast.Fiber."""

    def loop() -> None:
        leave = suspend
        while True:
            leave()

    def started(levels: int, **how: Any) -> Callable[[], object]:
        fiber = Fiber(below, **how)
        fiber.resume(levels, loop)
        return fiber.resume

    def create(count: int) -> None:
        for _ in range(count):
            Fiber(nothing).resume()

    return {
        "round_trip": repeat(started(0)),
        "deep100": in_turn([started(100, stack_size="1 MiB") for _ in range(2)]),
        "create": create,
        "live10000": in_turn([started(0) for _ in range(10_000)]),
        "call": repeat(lambda: holdfast.run_on_stack(nothing)),
    }


def greenlets() -> dict[str, Slice]:
    """The same with greenlet."""
    from greenlet import getcurrent, greenlet

    def loop() -> None:
        leave = getcurrent().parent.switch
        while True:
            leave()

    def started(levels: int) -> Callable[[], object]:
        made = greenlet(below)
        made.switch(levels, loop)
        return made.switch

    def create(count: int) -> None:
        for _ in range(count):
            greenlet(nothing).switch()

    return {
        "round_trip": repeat(started(0)),
        "deep100": in_turn([started(100) for _ in range(2)]),
        "create": create,
        "live10000": in_turn([started(0) for _ in range(10_000)]),
    }


def generators() -> dict[str, Slice]:
    """The same with generators, as far as they can."""

    def loop() -> Iterator[None]:
        while True:
            yield

    def once() -> Iterator[None]:
        yield

    def started() -> Callable[[], object]:
        return loop().__next__

    def create(count: int) -> None:
        for _ in range(count):
            next(once())

    return {
        "round_trip": repeat(started()),
        "create": create,
        "live10000": in_turn([started() for _ in range(10_000)]),
    }


def main() -> None:
    """Measure and print."""
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    sys.setrecursionlimit(5000)
    kinds = {"fiber": fibers(), "generator": generators(), "plain": {"call": repeat(nothing)}}
    if importlib.util.find_spec("greenlet") is not None:
        kinds["greenlet"] = greenlets()
    samples: dict[str, list[float]] = {}
    work = [(kind, name, run) for kind, runs in kinds.items() for name, run in runs.items()]
    for number in range(slices):
        for kind, name, run in work if number % 2 else reversed(work):
            count = COUNTS[name]
            start = time.perf_counter_ns()
            run(count)
            spent = time.perf_counter_ns() - start
            samples.setdefault(f"{kind} {name}", []).append(spent / count)
    figures = {
        name: {"least": min(values), "median": statistics.median(values)}
        for name, values in samples.items()
    }
    print(json.dumps({"python": sys.version.split()[0], "figures": figures}))


if __name__ == "__main__":
    main()
