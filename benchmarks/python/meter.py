"""What the workloads of this folder share: repeat, measure, print one JSON line.

``cpu_ms`` is the least process time of one repetition, all threads counted; ``median_ms`` the
median; ``end_mb`` is the RSS right after the last repetition with its data dropped, ``rest_mb``
two seconds later; ``faults_k`` counts thousands of minor faults of all repetitions.
"""

from __future__ import annotations

import gc
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path


def rss_mb() -> float:
    """Resident memory of this process in MiB, summed by the kernel page by page."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no Rss line in /proc/self/smaps_rollup")


def peak_mb() -> float:
    """Greatest resident memory so far in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM line in /proc/self/status")


def faults() -> int:
    """Minor faults so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def repeat(body: Callable[[int], int], repetitions: int, rest_s: float = 2.0) -> None:
    """Run ``body(i)`` again and again; print what it cost and the checksum of what it returned.

    The command line may name the repetitions and the seconds of rest.
    """
    count = int(sys.argv[1]) if len(sys.argv) > 1 else repetitions
    rest_s = float(sys.argv[2]) if len(sys.argv) > 2 else rest_s
    times, checksum = [], 0
    before = faults()
    for index in range(count):
        begun = time.process_time()
        checksum = (checksum * 31 + body(index)) % (1 << 61)
        times.append((time.process_time() - begun) * 1000)
    figures: dict[str, float | int] = {
        "cpu_ms": round(min(times), 2),
        "median_ms": round(statistics.median(times), 2),
        "faults_k": round((faults() - before) / 1000, 1),
    }
    gc.collect()
    figures["peak_mb"] = round(peak_mb(), 1)
    figures["end_mb"] = round(rss_mb(), 1)
    if rest_s > 0:
        time.sleep(rest_s)
        figures["rest_mb"] = round(rss_mb(), 1)
    figures["checksum"] = checksum
    print(json.dumps(figures))
