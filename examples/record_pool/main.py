"""A record pool: orders come in, are filled in place as NumPy records, and their blocks go round.

A bounded pool is the back-pressure: when all records are out, the reader waits until a worker gives
one back, so memory does not grow with the load. Prints what was handled and what the pool saw.
"""

from __future__ import annotations

import queue
import threading

import holdfast
import numpy as np

ORDER = np.dtype([("id", "i8"), ("price", "f8"), ("quantity", "i4"), ("paid", "?")])
ORDERS, RECORDS, WORKERS = 5_000, 64, 3


def worker(inbox: queue.Queue[holdfast.PoolHandle | None], totals: list[float]) -> None:
    """Book orders until there are no more; every record goes back to the pool."""
    total = 0.0
    while (handle := inbox.get()) is not None:
        with handle:
            order = handle.record
            total += order["price"] * order["quantity"]
            order["paid"] = True
            del order  # a record borrows its block: it must be gone before the block goes back
    totals.append(total)


def main() -> None:
    """Run the service once."""
    inbox: queue.Queue[holdfast.PoolHandle | None] = queue.Queue()
    totals: list[float] = []
    with holdfast.Pool(ORDER, RECORDS, "wait", timeout=60, sanitize="zero", name="orders") as pool:
        threads = [threading.Thread(target=worker, args=(inbox, totals)) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for number in range(ORDERS):
            handle = pool.acquire()  # waits while all 64 records are out
            order = handle.record
            assert not order["paid"]  # zeroed when it was released
            order["id"], order["price"], order["quantity"] = number, 2.5, number % 10
            del order
            inbox.put(handle)
            del handle
        for _ in threads:
            inbox.put(None)
        for thread in threads:
            thread.join()

        expected = sum(2.5 * (number % 10) for number in range(ORDERS))
        figures, stats = pool.figures(), pool.stats()
        print(f"{ORDERS} orders, {sum(totals):.1f} booked, {expected:.1f} expected")
        print(f"{figures.blocks} records were made, {len(pool)} are out, check: {pool.check()}")
        print(f"the account adds up: {stats.adds_up()}, allocations: {stats.allocs}")
        first = pool.acquire()
        first.release()
        try:
            first.release()
        except holdfast.InvalidArgumentError as error:
            print(f"twice: {error}")


if __name__ == "__main__":
    main()
