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
    """Keeps answers while there is room, sessions while they last, and a few rows for ever."""

    def __init__(self) -> None:
        self.answers: dict[int, bytes] = {}
        self.sessions: dict[int, list[dict[str, object]]] = {}
        self.kept: list[dict[str, object]] = []
        self.told = 0

    def shrink(self, mapped: int) -> None:
        """Called when the heap crosses the soft limit: what can be made again goes."""
        self.told += 1
        self.answers.clear()

    def request(self, number: int) -> None:
        text = json.dumps([{"id": i, "name": f"row {i}", "value": i / 3} for i in range(300)])
        rows = json.loads(text)
        self.answers[number] = text.encode()
        self.sessions[number] = rows
        if number % 10 == 0:
            self.kept.append(rows[number % 300])  # a survivor among what will be freed

    def spike(self, requests: int) -> None:
        for number in range(requests):
            self.request(number)


def main() -> None:
    service = Service()
    holdfast.limit(512 * MIB, soft=24 * MIB, on_soft=service.shrink)
    service.request(0)
    start, peak = resident(), 0.0
    for _ in range(3):
        service.spike(1500)
        peak = max(peak, resident())
        service.sessions.clear()
        service.answers.clear()
    time.sleep(2)  # nobody asks: freed memory decays by itself
    rest = resident()
    given_back = holdfast.reclaim()  # and this asks for the rest
    print(f"active: {holdfast.is_active()}")
    print(f"start {start:.0f} MiB, peak {peak:.0f} MiB, after two seconds {rest:.0f} MiB")
    print(f"reclaim gave back {given_back / MIB:.1f} MiB: {resident():.0f} MiB")
    print(f"{len(service.kept)} rows kept, told to shrink {service.told} times")


if __name__ == "__main__":
    main()
