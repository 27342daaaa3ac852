"""A pool of four processes, started by the method argv[1]; prints "ok" and the sum of work."""

import multiprocessing
import sys


def work(n: int) -> int:
    rows = [{"n": n, "i": str(i)} for i in range(3_000)]
    assert all(row["n"] == n for row in rows)
    return len(rows)


if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(4) as pool:
        print("ok", sum(pool.map(work, range(20))))
