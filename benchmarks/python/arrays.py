"""Array memory from holdfast inside a program, against plain NumPy and hand-written ``out=``.

    python arrays.py [--scale PERCENT] [--install]

Small arrays: nanoseconds of one call, plain, in `allocator` on a heap and on an arena, and of
`Arena.array`. Expressions on 1, 8 and 64 MiB of float64: microseconds of `r = a + b` (A) and
`r = (a * b + c) * d - a` (B), plain, with ``out=`` and in an arena with a scope per iteration. All
of them take turns, CPU time counts, the least of all slices is printed as one line of JSON. With
--install the process is served by `holdfast.numpy.install`, and "plain" is that.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import holdfast
import holdfast.numpy
import meter
import numpy as np

SIZES = {"1M": 1 << 20, "8M": 8 << 20, "64M": 64 << 20}
SMALL = {"empty8": 1, "empty1K": 128}
SUMS = {"a10+1": 10, "b200+1": 200, "c2000+1": 2000}

Body = Callable[[int], None]


def empty(make: Callable[[int], object], length: int) -> Body:
    """A loop that makes and drops an uninitialised array."""

    def body(count: int) -> None:
        for _ in range(count):
            make(length)

    return body


def add_one(length: int) -> Body:
    """A loop over a tiny expression."""
    values = np.ones(length)

    def body(count: int) -> None:
        for _ in range(count):
            values + 1

    return body


def chains(size: int, arena: holdfast.Arena) -> dict[str, Body]:
    """The expressions on arrays of size bytes."""
    a, c = (np.linspace(1.0, top, size // 8) for top in (2.0, 3.0))
    b, d = a[::-1].copy(), c[::-1].copy()
    r, t = np.empty_like(a), np.empty_like(a)

    def plain_a(count: int) -> None:
        for _ in range(count):
            a + b

    def plain_b(count: int) -> None:
        for _ in range(count):
            (a * b + c) * d - a

    def out_a(count: int) -> None:
        for _ in range(count):
            np.add(a, b, out=r)

    def out_b(count: int) -> None:
        for _ in range(count):
            np.multiply(a, b, out=t)
            np.add(t, c, out=t)
            np.multiply(t, d, out=t)
            np.subtract(t, a, out=r)

    def scope_a(count: int) -> None:
        for _ in range(count):
            with arena.scope():
                a + b

    def scope_b(count: int) -> None:
        for _ in range(count):
            with arena.scope():
                (a * b + c) * d - a

    return {
        "plainA": plain_a,
        "plainB": plain_b,
        "outA": out_a,
        "outB": out_b,
        "arenaA": scope_a,
        "arenaB": scope_b,
    }


def least(
    bodies: dict[str, tuple[Body, Callable[[], AbstractContextManager[object]]]],
    seconds: float,
    slices: int,
) -> dict[str, float]:
    """Seconds of one iteration of each body, least of slices that take turns."""
    counts = {}
    for name, (body, block) in bodies.items():
        with block():
            body(1)
            begun = time.process_time()
            body(1)
            once = max(time.process_time() - begun, 1e-7)
            counts[name] = max(1, int(seconds / slices / once))
    found = {name: float("inf") for name in bodies}
    for _ in range(slices):
        for name, (body, block) in bodies.items():
            with block():
                begun = time.process_time()
                body(counts[name])
                found[name] = min(found[name], (time.process_time() - begun) / counts[name])
    return found


def main() -> int:
    """Run everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=int, default=100)
    parser.add_argument("--install", action="store_true")
    given = parser.parse_args()
    if given.install:
        holdfast.numpy.install()
    seconds = 0.4 * given.scale / 100
    slices = max(3, 20 * given.scale // 100)
    heap, arena = holdfast.Heap(name="bench"), holdfast.Arena("512M", name="bench")
    blocks = {
        "plain": nullcontext,
        "heap": lambda: holdfast.numpy.allocator(heap),
        "arena": lambda: holdfast.numpy.allocator(arena),
    }
    bodies = {}
    for label, block in blocks.items():
        bodies |= {f"{name} {label}": (empty(np.empty, n), block) for name, n in SMALL.items()}
        bodies |= {f"{name} {label}": (add_one(n), block) for name, n in SUMS.items()}
    bodies |= {f"{x} array": (empty(arena.array, n), nullcontext) for x, n in SMALL.items()}
    figures = {name: 1e9 * value for name, value in least(bodies, seconds, slices).items()}
    for label, size in SIZES.items():
        made = {
            name + label: (body, blocks["arena"] if name.startswith("arena") else nullcontext)
            for name, body in chains(size, arena).items()
        }
        share = seconds * (4 if size > 1 << 24 else 1)
        figures |= {name: 1e6 * value for name, value in least(made, share, slices).items()}
    figures["peak_mb"] = meter.peak_mb()
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
