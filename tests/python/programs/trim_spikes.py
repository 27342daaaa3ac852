"""Repeated load spikes with contents checked: argv[1] seed, argv[2] rounds, argv[3] threads.

Objects of every small size are made, most of them dropped, the survivors kept over several rounds
with a record of what they must contain. Pauses are long enough for free pools to be given back, and
some are shorter, so that pools are used again in every state of that. Prints "ok N" at the end.
"""

import gc
import random
import sys
import threading
import time

seed, rounds, workers = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def make(rng: random.Random, number: int) -> tuple[int, object]:
    kind = number % 6
    if kind == 0:
        return number, bytes([number % 251]) * rng.randrange(1, 480)
    if kind == 1:
        return number, {"n": number, "t": "x" * rng.randrange(200)}
    if kind == 2:
        return number, [number] * rng.randrange(1, 50)
    if kind == 3:
        return number, (number, str(number), float(number))
    if kind == 4:
        return number, f"{number}:{'y' * rng.randrange(300)}"
    return number, {number, number + 1, str(number)}


def right(number: int, value: object) -> bool:
    kind = number % 6
    if kind == 0:
        return value == bytes([number % 251]) * len(value)
    if kind == 1:
        return value["n"] == number and set(value["t"]) <= {"x"} and len(value) == 2
    if kind == 2:
        return set(value) == {number}
    if kind == 3:
        return value == (number, str(number), float(number))
    if kind == 4:
        return value.startswith(f"{number}:") and set(value.split(":")[1]) <= {"y"}
    return value == {number, number + 1, str(number)}


failures: list[int] = []
kept: list[list[tuple[int, object]]] = [[] for _ in range(workers)]


def spike(worker: int, turn: int) -> None:
    rng = random.Random(seed * 1000 + worker * 100 + turn)
    mine = kept[worker]
    things = [make(rng, rng.randrange(10**6)) for _ in range(60000 // workers)]
    failures.extend(n for n, v in things if not right(n, v))
    share = rng.choice([0.001, 0.01, 0.1, 0.5])
    mine.extend(thing for thing in things if rng.random() < share)
    failures.extend(n for n, v in mine if not right(n, v))
    rng.shuffle(mine)
    del mine[rng.randrange(4000) :]


def storm(turn: int) -> None:
    threads = [threading.Thread(target=spike, args=(w, turn)) for w in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


for turn in range(rounds):
    storm(turn)
    if turn % 3 == 0:
        gc.collect()
    time.sleep([0.0, 0.05, 0.3, 0.15][turn % 4])
    for group in kept:
        failures.extend(n for n, v in group if not right(n, v))
print(f"FAILED {failures[:5]}" if failures else f"ok {sum(map(len, kept))}")
