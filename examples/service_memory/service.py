"""A service with a memory budget: caches shrink at the soft limit, and a quiet hour costs little.

    holdfast run --limit 512M service.py

Three load spikes build large answers and keep a few hundred small results, as services do. Without
care such a process stays at its peak: the survivors pin what was around them.
"""

import json
import time

import holdfast

MIB = 1 << 20


def resident() -> float:
    """RSS of this process [MiB]."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / MIB


class Service:
    """Answers requests; remembers answers while there is room."""

    def __init__(self) -> None:
        self.cache: dict[int, bytes] = {}
        self.results: list[str] = []
        self.told = 0

    def shrink(self, mapped: int) -> None:
        """Called when the heap crosses the soft limit: what can be made again goes."""
        self.told += 1
        self.cache.clear()

    def answer(self, number: int) -> str:
        rows = [{"id": i, "name": f"row {i}", "value": i / 3} for i in range(200)]
        body = json.dumps(rows)
        self.cache[number] = body.encode() * 4
        return body[:64]

    def spike(self, requests: int) -> None:
        for number in range(requests):
            summary = self.answer(number)
            if number % 10 == 0:
                self.results.append(summary)


def main() -> None:
    service = Service()
    holdfast.limit(512 * MIB, soft=48 * MIB, on_soft=service.shrink)
    service.answer(0)
    start = resident()
    peak = 0.0
    for _ in range(3):
        service.spike(1000)
        peak = max(peak, resident())
    service.cache.clear()
    time.sleep(2)  # nobody asks: freed memory decays by itself
    rest = resident()
    given_back = holdfast.reclaim()  # and this asks for the rest, pymalloc's pools included
    print(f"active: {holdfast.is_active()}")
    print(f"start {start:.0f} MiB, peak {peak:.0f} MiB, after two seconds {rest:.0f} MiB")
    print(f"reclaim gave back {given_back / MIB:.1f} MiB: {resident():.0f} MiB")
    print(f"{len(service.results)} results kept, told to shrink {service.told} times")


if __name__ == "__main__":
    main()
