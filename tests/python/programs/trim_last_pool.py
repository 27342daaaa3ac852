"""The only pool that is left of an arena is its last one: what happens when that is freed, too.

Arenas are filled, then everything goes but what lies in the last pool of each. After a pause, long
enough for the free pools to be given back, the survivors are dropped and made anew several times,
with other sizes in between: the interpreter's lists of arenas must still be those of its arenas.
"""

import time

ARENA, POOL = 1 << 20, 1 << 14


def in_last_pool(thing: object) -> bool:
    return id(thing) % ARENA >= ARENA - POOL


survivors = 0
for _ in range(6):
    things = [bytes(450) for _ in range(40_000)]
    kept = [thing for thing in things if in_last_pool(thing)]
    survivors += len(kept)
    del things
    time.sleep(0.25)
    for size in (450, 100, 300):
        del kept
        more = [bytes(size) for _ in range(3_000)]
        kept = [thing for thing in more if in_last_pool(thing)]
        del more
    del kept
    churn = [[number] * (number % 40) for number in range(50_000)]
    assert all(len(item) == number % 40 for number, item in enumerate(churn))
    del churn
print("ok", survivors > 0)
