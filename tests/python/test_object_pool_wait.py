"""Pools whose blocks are all out: they grow, refuse, or let acquire wait.

Method: each policy by its word; threads that wait for each other, a close and a signal meanwhile.
What is promised to one who holds a block is in test_object_pool.py.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import holdfast
import pytest
from holdfast import BusyError, OutOfMemoryError, Pool


def test_raise_says_what_is_out() -> None:
    with Pool(32, 3, "raise", name="small") as pool:
        handles = [pool.acquire() for _ in range(3)]
        with pytest.raises(OutOfMemoryError, match="'small': 3 of 3 blocks are out"):
            pool.acquire()
        with pytest.raises(MemoryError):
            pool.acquire_many(1)
        handles.pop().release()
        assert pool.acquire().released is False
        pool.release_many(handles)


def test_grow_goes_past_the_capacity() -> None:
    with Pool(32, 3) as pool:
        handles = pool.acquire_many(1000)
        assert len(pool) == 1000
        pool.release_many(handles)


def test_wait_times_out_and_is_woken() -> None:
    with Pool(32, 1, "wait", timeout=0.02) as pool:
        handle = pool.acquire()
        with pytest.raises(TimeoutError):
            pool.acquire()
        with pytest.raises(holdfast.WaitTimeoutError):
            pool.acquire_within(0)
        with pytest.raises(holdfast.WaitTimeoutError):
            pool.acquire_many(1)
        assert pool.figures().timeouts >= 2
        timer = threading.Timer(0.05, handle.release)
        timer.start()
        pool.acquire_within(30).release()
        timer.join()


def test_wait_gives_the_gil_back_and_serves_everybody() -> None:
    served: list[int] = []
    with Pool(32, 2, "wait") as pool:

        def work(number: int) -> None:
            for _ in range(50):
                with pool.acquire():
                    served.append(number)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(served) == 300
        assert len(pool) == pool.check() == 0


def test_close_is_refused_while_another_thread_waits() -> None:
    pool = Pool(32, 1, "wait")
    handle = pool.acquire()
    waiter = threading.Thread(target=lambda: pool.acquire().release())
    waiter.start()
    while pool.figures().waits == 0:
        time.sleep(0.001)
    with pytest.raises(BusyError):
        pool.close()
    handle.release()
    waiter.join(30)
    pool.close()


@pytest.mark.parametrize("wait", ["acquire()", "acquire_many(1)", "acquire_within(1e9)"])
def test_a_signal_interrupts_a_wait(wait: str) -> None:
    program = f"""
import holdfast, os, signal, threading
pool = holdfast.Pool(32, 1, "wait")
handle = pool.acquire()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    pool.{wait}
except KeyboardInterrupt:
    handle.release()
    print(len(pool))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "0\n"
