"""Threads: four workers compress, hash and format messages handed over by a queue.

    python threads.py [repetitions [seconds of rest]]

Blocks of bytes cross from the thread that makes them to the one that drops them; zlib and hashlib
run without the interpreter lock. Prints one JSON line, see meter.py.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import zlib

import meter


def load(index: int) -> int:
    """6000 messages of up to 24 KiB through four workers."""
    todo: queue.Queue[bytes | None] = queue.Queue(200)
    done: list[int] = []

    def work() -> None:
        total = 0
        while (message := todo.get()) is not None:
            packed = zlib.compress(message, 1)
            digest = hashlib.sha256(packed).hexdigest()
            fields = {digest[i : i + 8]: message[i : i + 50] for i in range(0, 64, 8)}
            total += len(zlib.decompress(packed)) + len(fields)
        done.append(total)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for i in range(6000):
        todo.put((b"%d message " % (i + index)) * (1 + i * 37 % 2000))
    for _ in workers:
        todo.put(None)
    for worker in workers:
        worker.join()
    return sum(done)


if __name__ == "__main__":
    meter.repeat(load, 4)
