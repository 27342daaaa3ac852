"""NumPy temporaries: expressions as people write them, and the same with hand-written ``out=``.

    python numpy_temporaries.py [--scale PERCENT]

A: ``r = a + b``; B: ``r = (a * b + c) * d - a``; C: ``where`` and ``astype``, three temporaries
alive. Arrays of 64 KiB, 1 MiB, 8 MiB and 64 MiB of float64. Prints one JSON line: microseconds of
CPU of one operation (least of five batches) as ``A64K`` ... ``C64M``, ``outA64K`` ... for the
versions with ``out=``, faults of one operation as ``faultsA64K`` ..., peak RSS.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import meter
import numpy as np

SIZES = {"64K": 64 << 10, "1M": 1 << 20, "8M": 8 << 20, "64M": 64 << 20}
BATCHES = 5


def measure(body: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Microseconds of CPU of one call, least of batches that last about `seconds`; its faults."""
    body()
    begun = time.process_time()
    body()
    count = max(2, int(seconds / BATCHES / max(time.process_time() - begun, 1e-6)))
    times = []
    before = meter.faults()
    for _ in range(BATCHES):
        begun = time.process_time()
        for _ in range(count):
            body()
        times.append((time.process_time() - begun) / count * 1e6)
    return min(times), (meter.faults() - before) / (BATCHES * count)


def expressions(size: int) -> dict[str, Callable[[], object]]:
    """The five bodies on arrays of size bytes."""
    a, c = (np.linspace(1.0, top, size // 8) for top in (2.0, 3.0))
    b, d = a[::-1].copy(), c[::-1].copy()
    r, t = np.empty_like(a), np.empty_like(a)
    # the result lives until the next one exists, as in a loop that rebinds its name
    kept: dict[str, object] = {}

    def add() -> None:
        kept["r"] = a + b

    def chain() -> None:
        kept["r"] = (a * b + c) * d - a

    def select() -> None:
        x = np.where(a > b, a, b)
        y = x.astype(np.float32)
        kept["r"] = y + y

    def out_add() -> None:
        np.add(a, b, out=r)

    def out_chain() -> None:
        np.multiply(a, b, out=t)
        np.add(t, c, out=t)
        np.multiply(t, d, out=t)
        np.subtract(t, a, out=r)

    return {"A": add, "B": chain, "C": select, "outA": out_add, "outB": out_chain}


def main() -> int:
    """Run all expressions at all sizes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=int, default=100)
    seconds = 0.12 * parser.parse_args().scale / 100
    figures: dict[str, float] = {}
    for label, size in SIZES.items():
        share = seconds * (3 if size > 1 << 24 else 1)
        for name, body in expressions(size).items():
            figures[name + label], figures["faults" + name + label] = measure(body, share)
    figures["peak_mb"] = meter.peak_mb()
    print(json.dumps({name: round(figure, 2) for name, figure in figures.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
