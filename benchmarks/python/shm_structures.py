"""Structures in shared memory beside what Python has for the same: one line of JSON, nanoseconds.

    python shm_structures.py [SLICES]

Contenders of one table take turns, slice by slice; a figure is the median of the slices. "another
writes": a second process replaces the array all the time.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from holdfast import shm

FORK = multiprocessing.get_context("fork")
LIMIT_S = 0.004  # of a slice

Body = Callable[[int], object]


def _turns(bodies: dict[str, Body], slices: int) -> dict[str, float]:
    """Nanoseconds of one repetition."""
    counts: dict[str, int] = {}
    for name, body in bodies.items():
        count, took = 1, 0.0
        while True:
            begun = time.perf_counter()
            body(count)
            took = time.perf_counter() - begun
            if took > LIMIT_S / 4:
                break
            count *= 4
        counts[name] = max(1, int(count * LIMIT_S / took))
    times: dict[str, list[float]] = {name: [] for name in bodies}
    for _ in range(slices):
        for name, body in bodies.items():
            begun = time.perf_counter_ns()
            body(counts[name])
            times[name].append((time.perf_counter_ns() - begun) / counts[name])
    return {name: statistics.median(of) for name, of in times.items()}


def _again(call: Callable[[], object]) -> Body:
    def body(count: int) -> None:
        for _ in range(count):
            call()

    return body


def arrays(segment: shm.Segment, slices: int) -> dict[str, float]:
    """Sum and a + b, 64 KiB and 4 MiB, on private memory and in a segment."""
    bodies: dict[str, Body] = {}
    for label, count in (("64K", 8192), ("4M", 1 << 19)):
        private = [np.ones(count) for _ in range(3)]
        shared = [segment.array(f"{label}{i}", count).ndarray for i in range(3)]
        for array in shared:
            array[:] = 1
        for kind, (a, b, out) in (("private", private), ("shared", shared)):
            bodies[f"sum {label} {kind}"] = _again(a.sum)
            bodies[f"a+b {label} {kind}"] = _again(
                lambda a=a, b=b, out=out: np.add(a, b, out)  # type: ignore[misc]
            )
    return _turns(bodies, slices)


def _rewrite(versioned: Any, values: Any, stop: Any) -> None:
    while not stop.is_set():
        versioned.write(values)


def versions(segment: shm.Segment, slices: int) -> dict[str, float]:
    """A snapshot of 64 KiB beside copying with a lock of multiprocessing."""
    versioned = segment.versioned("versioned", 8192, buffers=4)
    values, out = np.ones(8192), np.empty(8192)
    versioned.write(values)
    lock = FORK.Lock()
    shared = segment.array("locked", 8192).ndarray

    def locked_write() -> None:
        with lock:
            np.copyto(shared, values)

    def locked_read() -> None:
        with lock:
            np.copyto(out, shared)

    bodies = {
        "write, Versioned": _again(lambda: versioned.write(values)),
        "write, lock and copy": _again(locked_write),
        "read, Versioned": _again(lambda: versioned.read(out)),
        "read, lock and copy": _again(locked_read),
        "copy, private": _again(lambda: np.copyto(out, values)),
    }
    figures = _turns(bodies, slices)
    versioned.release()
    stop = FORK.Event()
    writer = FORK.Process(target=_rewrite, args=(versioned, values, stop), daemon=True)
    writer.start()
    time.sleep(0.05)
    busy = {"read, another writes": _again(lambda: versioned.read(out))}
    figures.update(_turns(busy, slices))
    stop.set()
    writer.join(10)
    return figures


def maps(segment: shm.Segment, slices: int, absent: dict[str, str]) -> dict[str, float]:
    """get and put of 64 bytes under 16-byte keys, 10,000 of them."""
    keys = [b"key %012d" % i for i in range(10000)]
    value = bytes(64)
    made = segment.map("map", 16384, key=16, value=64)
    manager = multiprocessing.Manager()
    plain: dict[bytes, bytes] = {}
    proxy = manager.dict()
    for key in keys:
        made[key] = plain[key] = value
    proxy.update(plain)

    def walk(call: Callable[[bytes], object]) -> Body:
        def body(count: int) -> None:
            for i in range(count):
                call(keys[i * 7919 % 10000])

        return body

    def set_in(mapping: Any) -> Body:
        def body(count: int) -> None:
            for i in range(count):
                mapping[keys[i * 7919 % 10000]] = value

        return body

    bodies = {
        "get, Map": walk(made.__getitem__),
        "put, Map": set_in(made),
        "get, Manager().dict()": walk(proxy.__getitem__),
        "put, Manager().dict()": set_in(proxy),
        "get, dict of one process": walk(plain.__getitem__),
        "put, dict of one process": set_in(plain),
    }
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        try:
            lmdb: Any = importlib.import_module("lmdb")
        except ImportError:
            absent["LMDB"] = "lmdb is not installed"
        else:
            # No write to a disk: it lies in memory as ours does.
            database = lmdb.open(folder, map_size=64 << 20, sync=False, metasync=False)
            with database.begin(write=True) as change:
                for key in keys:
                    change.put(key, value)

            def get(key: bytes) -> None:
                with database.begin() as look:
                    look.get(key)

            def put(key: bytes) -> None:
                with database.begin(write=True) as change:
                    change.put(key, value)

            bodies["get, LMDB"] = walk(get)
            bodies["put, LMDB"] = walk(put)
        figures = _turns(bodies, slices)
    manager.shutdown()
    return figures


def pools(segment: shm.Segment, slices: int) -> dict[str, float]:
    """An object of 64 bytes taken and given back, and what else counts places between processes."""
    pool = segment.pool("pool", 64, size=64)
    ours, theirs = segment.semaphore("semaphore", 64), FORK.Semaphore(64)
    mutex, lock = segment.mutex("mutex"), FORK.Lock()
    cells = segment.cells("cells", 1)
    value = FORK.Value("q", 0)

    def count_up() -> None:
        with value.get_lock():
            value.value += 1

    def pair(take: Callable[[], object], give: Callable[[], object]) -> Body:
        def body(count: int) -> None:
            for _ in range(count):
                take()
                give()

        return body

    return _turns(
        {
            "Pool acquire, release": _again(lambda: pool.acquire().release()),
            "Semaphore": pair(ours.acquire, ours.release),
            "multiprocessing.Semaphore": pair(theirs.acquire, theirs.release),
            "Mutex": pair(mutex.lock, mutex.unlock),
            "multiprocessing.Lock": pair(lock.acquire, lock.release),
            "Cells.add": _again(lambda: cells.add(1)),
            "multiprocessing.Value, locked": _again(count_up),
        },
        slices,
    )


def main() -> int:
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    absent: dict[str, str] = {}
    name = f"bench-structures-{os.getpid()}"
    figures: dict[str, object] = {}
    with shm.Segment(name, "64 MiB", mode="create", prefault=True) as segment:
        figures["arrays"] = arrays(segment, slices)
        figures["versions"] = versions(segment, slices)
        figures["maps"] = maps(segment, slices, absent)
        figures["places"] = pools(segment, slices)
        print(json.dumps({**figures, "absent": absent}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
