"""A service after load spikes: eight worker threads, three spikes, a few hundred survivors, idle.

    python service.py [seconds of idleness]

A spike is 480 requests: each parses a JSON document of 200 records, transforms it and holds the
answer until the spike is over, about 100 MB in all. Every fourth request leaves something small
behind: a session, an entry of a cache. Those 360 survivors pin memory all over the heap. Then the
service is idle: its workers wait for the queue, the main thread sleeps.

Prints one JSON line: RSS in MB at the beginning, at the peak, after the last spike, two seconds
later; CPU time of the spikes; a checksum that must not depend on the allocator.
"""

from __future__ import annotations

import json
import os
import queue
import random
import sys
import threading
import time
from typing import Any

WORKERS = 8
SPIKES = 3
REQUESTS = 480  # in one spike
RECORDS = 200  # in one document


def rss_mb() -> float:
    """Resident memory now [MB]."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def document(seed: int, records: int) -> str:
    rng = random.Random(seed)
    return json.dumps(
        [
            {
                "id": rng.randrange(10**9),
                "name": f"customer-{rng.randrange(10**6)}",
                "tags": [f"t{rng.randrange(1000)}" for _ in range(4)],
                "position": {"x": rng.random(), "y": rng.random()},
            }
            for _ in range(records)
        ]
    )


class Service:
    """Workers, a queue, and what requests leave behind."""

    def __init__(self, requests: int, records: int) -> None:
        self.requests = requests
        self.documents = [document(seed, records) for seed in range(16)]
        self.todo: queue.Queue[int | None] = queue.Queue()
        self.survivors: dict[int, dict[str, Any]] = {}
        self.checksum = 0
        self.lock = threading.Lock()
        self.held: dict[int, list[Any]] = {}
        self.workers = [
            threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(WORKERS)
        ]
        for worker in self.workers:
            worker.start()

    def work(self, worker: int) -> None:
        while True:
            request = self.todo.get()
            if request is None:
                return
            self.handle(worker, request)
            self.todo.task_done()

    def handle(self, worker: int, request: int) -> None:
        rows = json.loads(self.documents[request % len(self.documents)])
        answer = [
            {**row, "key": f"{row['name']}/{row['id']}", "near": row["position"]["x"] < 0.5}
            for row in rows
        ]
        total = sum(row["id"] for row in answer) + sum(len(row["key"]) for row in answer)
        with self.lock:
            self.checksum += total
            self.held.setdefault(worker, []).append(answer)
            if request % 4 == 0:
                row = answer[request % len(answer)]
                self.survivors[request] = {
                    "id": row["id"],
                    "name": row["name"],
                    "token": f"token-{request}-{total}",
                }

    def spike(self, number: int) -> None:
        for i in range(self.requests):
            self.todo.put(number * self.requests + i)
        self.todo.join()

    def verify(self) -> int:
        """A checksum over the survivors' contents."""
        return sum(
            session["id"] + len(session["token"]) + len(session["name"])
            for session in self.survivors.values()
        )


def main() -> None:
    idle_s = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    service = Service(REQUESTS, RECORDS)
    base = rss_mb()
    peak = 0.0
    cpu = time.process_time()
    for number in range(SPIKES):
        service.spike(number)
        peak = max(peak, rss_mb())
        service.held.clear()
        time.sleep(0.05)
    cpu = time.process_time() - cpu
    after = rss_mb()
    time.sleep(idle_s)
    idle = rss_mb()
    json.dump(
        {
            "base_mb": round(base, 1),
            "peak_mb": round(peak, 1),
            "after_mb": round(after, 1),
            "idle_mb": round(idle, 1),
            "cpu_ms": round(cpu * 1e3, 1),
            "survivors": len(service.survivors),
            "checksum": service.checksum + service.verify(),
            "python": sys.version.split()[0],
        },
        sys.stdout,
    )
    print()


if __name__ == "__main__":
    main()
