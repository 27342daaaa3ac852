"""Blocks from Python, side by side in one process: a holdfast.Pool against what one would use else.

    object_pool.py [ROUNDS]      one JSON line per way and workload

Slices of all ways take turns; the least and the median slice count. ``empty`` is the call of a C
method that does nothing, twice, as acquire and release are two calls.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from timeit import Timer

import holdfast

NUMBER = 5000


def ways() -> dict[tuple[str, str], Callable[[], float]]:
    """Seconds of `NUMBER` runs, by workload and way."""
    pool, zero = holdfast.Pool(64), holdfast.Pool(64, sanitize="zero")
    big = holdfast.Pool(65536)
    timers = {
        ("block of 64 B", "holdfast.Pool"): Timer("a().release()", globals={"a": pool.acquire}),
        ("block of 64 B", "holdfast.Pool, pool.release"): Timer(
            "r(a())", globals={"a": pool.acquire, "r": pool.release}
        ),
        ("block of 64 B", "holdfast.Pool, with"): Timer(
            "with a():\n pass", globals={"a": pool.acquire}
        ),
        ("block of 64 B", "holdfast.Pool, zeroed"): Timer(
            "a().release()", globals={"a": zero.acquire}
        ),
        ("block of 64 B", "bytearray"): Timer("bytearray(64)"),
        ("block of 64 B", "empty"): Timer("u(); u()", globals={"u": [].__len__}),
        ("block of 64 KiB", "holdfast.Pool"): Timer("a().release()", globals={"a": big.acquire}),
        ("block of 64 KiB", "bytearray"): Timer("bytearray(65536)"),
        ("memoryview of 64 B", "holdfast.Pool"): Timer(
            "m(h).release()", globals={"m": memoryview, "h": pool.acquire()}
        ),
        ("memoryview of 64 B", "bytearray"): Timer(
            "m(h).release()", globals={"m": memoryview, "h": bytearray(64)}
        ),
    }
    if importlib.util.find_spec("numpy") is not None:
        import numpy as np

        kind = np.dtype([("position", "f4", 3), ("id", "i8")])
        records = holdfast.Pool(kind)
        timers |= {
            ("block of 64 B", "np.empty"): Timer(
                "e(64, t)", globals={"e": np.empty, "t": np.uint8}
            ),
            ("block of 64 KiB", "np.empty"): Timer(
                "e(65536, t)", globals={"e": np.empty, "t": np.uint8}
            ),
            ("record, one field written", "holdfast.Pool"): Timer(
                "h = a(); h.record['id'] = 1; h.release()", globals={"a": records.acquire}
            ),
            ("record, one field written", "np.zeros(())"): Timer(
                "z((), k)['id'] = 1", globals={"z": np.zeros, "k": kind}
            ),
        }
    return {key: (lambda timer=timer: timer.timeit(NUMBER)) for key, timer in timers.items()}


def main() -> None:
    """Print the figures in nanoseconds per run."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    every = ways()
    slices: dict[tuple[str, str], list[float]] = {key: [] for key in every}
    for _ in range(rounds):
        for key, run in every.items():
            slices[key].append(run() / NUMBER * 1e9)
    for (workload, way), values in slices.items():
        row = {"workload": workload, "way": way, "ns": min(values)}
        print(json.dumps(row | {"median": statistics.median(values)}))


if __name__ == "__main__":
    main()
