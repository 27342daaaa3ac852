"""Sends every structure to workers of every kind, and prints what came of it.

python shm_workers.py METHOD named|anonymous|file [PATH]
"""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from holdfast import shm


def make(segment: shm.Segment) -> dict[str, Any]:
    return {
        "array": segment.array("array", 4, "i8"),
        "barrier": segment.barrier("barrier", 1),
        "bytes": segment.queue("bytes", 64, size=64),
        "cells": segment.cells("cells", 2),
        "event": segment.event("event"),
        "map": segment.map("map", 16),
        "mutex": segment.mutex("mutex"),
        "objects": segment.queue("objects", 64, size=256, objects=True),
        "pool": segment.pool("pool", 4, size=64),
        "records": segment.queue("records", 64, dtype="i8"),
        "ring": segment.ring("ring", 64, dtype="i8", reliable=True),
        "semaphore": segment.semaphore("semaphore", 2),
        "versioned": segment.versioned("versioned", 3, "i8"),
    }


def use(made: dict[str, Any]) -> tuple[int, int]:
    """Change each of them once; participant and segments of this process."""
    with made["mutex"]:
        made["array"][0] += 1
        made["versioned"].write(made["versioned"].read()[0] + 1)
        made["versioned"].release()
        made["ring"].push(7)
        made["ring"].release()
    made["cells"].add(1)
    made["bytes"].put(b"b")
    made["objects"].put(["o"])
    made["records"].put(3)
    made["map"].update_with("n", lambda old: b"%d" % (int(old) + 1), b"0")
    with made["pool"].acquire() as one, made["semaphore"]:
        one.memory()[:1] = b"x"
    made["event"].set()
    made["barrier"].wait(timeout=60)
    segments = {structure.segment for structure in made.values()}
    return made["array"].segment.info().self, len(segments)


def counts(made: dict[str, Any]) -> list[int]:
    return [
        int(made["array"][0]),
        int(made["versioned"].read()[0][0]),
        made["ring"].total_written,
        made["cells"][0],
        len(made["bytes"].get_many(64)),
        len(made["objects"].get_many(64)),
        len(made["records"].get_many(64)),
        int(made["map"]["n"]),
        made["barrier"].round,
    ]


def main() -> None:
    method, kind, *path = sys.argv[1:]
    context = multiprocessing.get_context(method)
    if kind == "file":
        segment = shm.Segment(path=path[0], size="4 MiB")
    else:
        segment = shm.Segment(path[0] if kind == "named" else None, size="4 MiB")
    made = make(segment)
    child = context.Process(target=use, args=(made,))
    child.start()
    child.join(60)
    assert child.exitcode == 0, child.exitcode
    with context.Pool(2) as pool:
        found = pool.map(use, [made] * 4)
        pool.close()
        pool.join()
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        found += executor.map(use, [made] * 4)
    own = segment.info().self
    assert all(number != own and segments == 1 for number, segments in found), found
    assert segment.info().participants_live == 1
    assert (made["pool"].live, made["semaphore"].value, made["event"].is_set()) == (0, 2, True)
    assert segment.check() == []
    print(counts(made), segment.info().participants_dead)


if __name__ == "__main__":
    main()
