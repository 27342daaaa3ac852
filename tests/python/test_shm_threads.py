"""Several threads of one process on one segment: closing beside calls, forking beside opening.

Method: one thread is inside a call, another closes or forks; what may crash runs on its own.
"""

from __future__ import annotations

import multiprocessing.util
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import holdfast
import pytest
from holdfast import shm
from shm_tools import fresh_name

pytest_plugins = ("shm_tools",)

CHURN = """
import sys, threading
import holdfast
from holdfast import shm

def churn(segment):
    try:
        for _ in range(20):
            segment.check()
            segment.sweep()
            segment.repair()
    except holdfast.InvalidArgumentError as error:
        assert "closed" in str(error), error

def close(segment):
    while not segment.closed:
        try:
            segment.close()
        except holdfast.BusyError:
            pass

sys.setswitchinterval(1e-5)
for number in range(60):
    segment = shm.Segment(f"{sys.argv[1]}-{number}", size="1 MiB")
    segment.map("m", 500, key=8, value=8)["a"] = b"1"
    calls = (churn, churn, close, close, close)
    threads = [threading.Thread(target=call, args=(segment,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("whole")
"""

FORK = """
import os, signal, threading
from holdfast import shm
from holdfast.shm import opened

held, go = threading.Event(), threading.Event()

def hold():  # stands for a thread that is opening a segment
    with opened.opening():
        held.set()
        go.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    shm.Segment(size="1 MiB").close()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
go.set()
thread.join()
"""


def program(text: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", text, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def beside(call: Callable[[], Any], inside: Callable[[], bool]) -> threading.Thread:
    """Run a call in a thread; back when it is inside."""
    thread = threading.Thread(target=call)
    thread.start()
    deadline = time.monotonic() + 60
    while not inside():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return thread


def is_busy(close: Callable[[], None]) -> bool:
    try:
        close()
    except holdfast.BusyError as error:
        return "inside" in str(error)
    return False


def test_segment_is_not_closed_beside_calls() -> None:
    name = fresh_name()
    assert program(CHURN, name) == "whole\n"
    assert not list(Path("/dev/shm").glob(f"holdfast-{name}*"))


def test_reader_and_segment_are_not_closed_beside_a_pop(segment: shm.Segment) -> None:
    ring = segment.ring("r", 64, dtype="i8")
    other, reader = ring.reader(), ring.reader()
    begun = threading.Event()
    got: list[Any] = []

    def pop() -> None:
        begun.set()
        got.append(reader.pop(timeout=60))

    thread = beside(pop, begun.is_set)
    time.sleep(0.2)  # until it is in there
    assert is_busy(reader.close)
    assert is_busy(segment.close)
    assert not segment.closed
    ring.push(5)
    thread.join(60)
    assert got[0].tolist() == [5]
    assert not reader.closed
    del other
    segment.close()
    assert reader.closed


def test_fork_beside_a_thread_that_opens_does_not_block_the_child() -> None:
    assert program(FORK) == "7\n"


def test_opening_and_forking_register_once(shm_name: str) -> None:
    util: Any = multiprocessing.util

    def registered() -> tuple[int, int]:
        return len(util._finalizer_registry), len(util._afterfork_registry)

    shm.Segment(shm_name, size="1 MiB").close()
    before = registered()
    for _ in range(5):
        with shm.Segment(shm_name, size="1 MiB"):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
    assert registered() == before


def test_handle_of_a_former_segment_is_stale(shm_name: str) -> None:
    with shm.Segment(shm_name, size="1 MiB") as segment:
        pickled = pickle.dumps((segment, segment.array("a", 4)))
    with shm.Segment(shm_name, size="1 MiB"), pytest.raises(shm.StaleError, match=shm_name):
        pickle.loads(pickled)
    with pytest.raises(shm.NotFoundError):
        pickle.loads(pickled)


@pytest.mark.parametrize("presence", ["guest", "watcher"])
def test_pickled_handle_is_present_as_before(shm_name: str, presence: Any) -> None:
    with shm.Segment(shm_name, size="1 MiB", persist=True) as segment:
        segment.array("a", 4)
    with shm.Segment(shm_name, mode="open", presence=presence) as seen:
        lives = seen.info().participants_live
        with pickle.loads(pickle.dumps(seen)) as again:
            assert again is not seen
            assert again.info().participants_live == lives + (presence == "guest")


def test_object_of_a_pool_is_not_copied_by_pickle(segment: shm.Segment) -> None:
    queue = segment.queue("q", 4, size=1000, objects=True)
    with segment.pool("p", 2, size=64).acquire() as one, pytest.raises(TypeError, match="adopt"):
        queue.put(one)
    assert queue.empty()
