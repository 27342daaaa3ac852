"""Segments from Python: names, sizes, who lives, what remains, handles across processes.

Method: real processes, started in every way multiprocessing knows, killed where that is the point.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import holdfast
import numpy as np
import pytest
from holdfast import shm
from shm_tools import files, fresh_name

pytest_plugins = ("shm_tools",)

METHODS = ["fork", "spawn", "forkserver"]


def test_last_one_out_removes_it(shm_name: str) -> None:
    with shm.Segment(shm_name, size="1 MiB"):
        assert f"holdfast-{shm_name}" in files()
    assert f"holdfast-{shm_name}" not in files()


def test_persistent_one_stays_until_it_is_removed(shm_name: str) -> None:
    with shm.Segment(shm_name, size="1 MiB", persist=True):
        pass
    assert f"holdfast-{shm_name}" in files()
    shm.remove(shm_name)
    assert f"holdfast-{shm_name}" not in files()


@pytest.mark.parametrize(
    "bad",
    ["", "../x", "/a", "a/b", ".", "..", ".hidden", "x" * 201, "x" * 300, "sp ace", "ä", "a\0b"],
)
def test_bad_names_are_refused(bad: str) -> None:
    with pytest.raises((holdfast.InvalidArgumentError, ValueError)):
        shm.Segment(bad, size="1 MiB")
    assert not files()


def test_open_what_is_not_there(shm_name: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        shm.Segment(shm_name, mode="open")
    assert isinstance(caught.value, shm.NotFoundError)
    assert shm_name in str(caught.value)


def test_create_what_is_there(segment: shm.Segment) -> None:
    with pytest.raises(FileExistsError):
        shm.Segment(segment.name, size="1 MiB", mode="create")


def test_new_one_needs_a_size(shm_name: str) -> None:
    with pytest.raises(holdfast.InvalidArgumentError):
        shm.Segment(shm_name, mode="create")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("size", "much"),
        ("size_max", -1),
        ("access", "0600"),
        ("access", 0o1600),
        ("group", 1 << 32),
        ("owner", 1 << 32),
        ("participants", 1 << 40),
        ("entries", -1),
        ("timeout", -1.0),
        ("timeout", float("nan")),
        ("role", "r" * 24),
    ],
)
def test_options_out_of_range_are_named(shm_name: str, option: str, value: Any) -> None:
    options: dict[str, Any] = {"size": "1 MiB", option: value}
    with pytest.raises(holdfast.InvalidArgumentError, match=option):
        shm.Segment(shm_name, **options)
    assert not files()


@pytest.mark.parametrize("timeout", [None, 0, 0.5, float("inf")])
def test_longest_wait_is_any_time(shm_name: str, timeout: float | None) -> None:
    with shm.Segment(shm_name, size="1 MiB", timeout=timeout) as segment:
        assert segment.cells("cells", 1).load() == 0


def test_mode_is_that_of_the_file(shm_name: str) -> None:
    for name in (shm_name, None):
        for access in (0o600, 0o660):
            with shm.Segment(name, size="1 MiB", access=access, group=os.getegid()) as segment:
                assert segment.info().access == access


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_descriptor_of_another_user_is_opened_if_trusted() -> None:
    made = shm.Segment(size="1 MiB", access=0o666)
    file = os.dup(made.file)
    os.fchown(file, 12345, 12345)
    try:
        with pytest.raises(shm.AccessError, match="12345"):
            shm.Segment.from_file(file)
        # The same memory, so the segment that is open here.
        assert shm.Segment.from_file(file, owner=12345) is made
        assert shm.Segment.from_file(file, owner="any") is made
    finally:
        os.close(file)
        made.close()


def test_same_segment_is_the_same_object(segment: shm.Segment) -> None:
    assert shm.Segment(segment.name) is segment
    assert pickle.loads(pickle.dumps(segment)) is segment
    assert segment.info().participants_live == 1


def test_info_adds_up(segment: shm.Segment) -> None:
    info = segment.info()
    assert info.size == 4 << 20
    assert info.bytes_used + info.bytes_free + info.bytes_meta == info.size
    segment.queue("q", 64, size=100)
    after = segment.info()
    assert after.bytes_used > info.bytes_used
    assert after.bytes_used + after.bytes_free + after.bytes_meta == after.size
    assert after.entries == 1


def test_closed_one_says_so(segment: shm.Segment) -> None:
    segment.close()
    with pytest.raises(holdfast.InvalidArgumentError, match="closed"):
        segment.info()
    assert "closed" in repr(segment)
    segment.close()


def test_close_closes_structures(segment: shm.Segment) -> None:
    queue = segment.queue("q", 8, size=8)
    segment.close()
    assert queue.closed
    with pytest.raises(holdfast.InvalidArgumentError, match="closed"):
        queue.put(b"x")


def test_erase_gives_the_room_back(segment: shm.Segment) -> None:
    before = segment.info().bytes_free
    for _ in range(3):
        queue = segment.queue("q", 1024, size=2000)
        with pytest.raises(MemoryError):
            segment.queue("second", 1024, size=2000)
        queue.close()
        segment.erase("q")
        assert "q" not in segment
        assert segment.info().bytes_free == before
    with pytest.raises(shm.NotFoundError):
        segment.erase("q")


def test_discovery(segment: shm.Segment) -> None:
    segment.queue("ticks", 16, dtype=[("t", "<f8"), ("n", "<i4", (2,))])
    entry = segment.entries()[0]
    assert (entry.name, entry.kind, entry.element_count) == ("ticks", "queue", 16)
    found = segment["ticks"]
    assert isinstance(found, shm.RecordQueue)
    assert found.dtype.names == ("t", "n")
    assert list(segment) == ["ticks"]
    with pytest.raises(shm.NotFoundError, match="ticks"):
        segment["tocks"]


def _answer(pipe: Connection, given: object) -> None:
    assert isinstance(given, shm.Segment)
    pipe.send((given.name, given.info().participants_live, given.info().self))
    pipe.recv()


@pytest.mark.parametrize("method", METHODS)
def test_child_is_a_participant_of_its_own(segment: shm.Segment, method: str) -> None:
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    child = context.Process(target=_answer, args=(there, segment))
    child.start()
    assert here.poll(60)
    assert here.recv()[:2] == (segment.name, 2)
    pids = {p.pid for p in segment.participants()}
    assert pids == {os.getpid(), child.pid}
    here.send(None)
    child.join(60)
    assert child.exitcode == 0
    assert segment.info().participants_live == 1


@pytest.mark.parametrize("method", METHODS)
def test_anonymous_segment_travels_by_descriptor(method: str) -> None:
    context = multiprocessing.get_context(method)
    made = shm.Segment(size="1 MiB")
    here, there = context.Pipe()
    child = context.Process(target=_answer, args=(there, made))
    child.start()
    assert here.poll(60)
    assert here.recv()[1] == 2
    here.send(None)
    child.join(60)
    assert child.exitcode == 0
    made.close()


def _hold(pipe: Connection, given: shm.Segment) -> None:
    pipe.send(given.info().self)
    time.sleep(600)


def test_killed_process_is_noticed_at_once(segment: shm.Segment) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_hold, args=(there, segment))
    child.start()
    assert here.poll(60)
    here.recv()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(60)
    lives = {p.pid: p.life for p in segment.participants()}
    assert lives == {os.getpid(): "self", child.pid: "dead"}
    assert segment.sweep() == 1
    assert [p.life for p in segment.participants()] == ["self"]


def test_child_goes_on_when_the_parent_leaves(shm_name: str) -> None:
    code = f"""
import os, sys, time
from holdfast import shm
segment = shm.Segment({shm_name!r}, size="1 MiB")
queue = segment.queue("q", 8, size=8)
if os.fork():
    os._exit(0)
time.sleep(0.2)
queue.put(b"alive")
print(queue.get(), segment.info().participants_live, flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    deadline = time.monotonic() + 30
    while f"holdfast-{shm_name}" in files() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert f"holdfast-{shm_name}" not in files()
    assert done.stdout == "b'alive' 1\n"
    assert done.stderr == ""


def test_process_that_just_ends_leaves_nothing(shm_name: str) -> None:
    code = f"""
import numpy as np
from holdfast import shm
segment = shm.Segment({shm_name!r}, size="1 MiB")
queue = segment.queue("q", 8, size=64)
slot = queue.reserve(64)
view = memoryview(slot)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"holdfast-{shm_name}" not in files()


def test_collect_removes_what_killed_processes_left() -> None:
    name = fresh_name()
    code = f"""
import os, signal
from holdfast import shm
segment = shm.Segment({name!r}, size="1 MiB")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert f"holdfast-{name}" in files()
    assert (name, 1 << 20) in shm.names()
    assert shm.collect([name]) == [name]
    assert f"holdfast-{name}" not in files()


def test_collect_leaves_the_living(segment: shm.Segment) -> None:
    assert shm.collect([segment.name]) == []
    assert segment.name in {n for n, _ in shm.names()}


def test_grow(shm_name: str) -> None:
    with shm.Segment(shm_name, size="1 MiB", size_max="8 MiB") as made:
        with pytest.raises(MemoryError):
            made.queue("big", 1024, size=2000)
        made.grow("8 MiB")
        queue = made.queue("big", 1024, size=2000)
        queue.put(b"x" * 2000)
        assert queue.get() == b"x" * 2000
        with pytest.raises(MemoryError):
            made.grow("16 MiB")


def test_check_of_a_sound_segment_finds_nothing(segment: shm.Segment) -> None:
    segment.queue("q", 16, size=100).put(b"x")
    assert segment.check() == []
    assert segment.repair() == 0


def test_no_resource_tracker_is_needed(shm_name: str) -> None:
    code = f"""
import sys
from holdfast import shm
segment = shm.Segment({shm_name!r}, size="1 MiB")
assert "multiprocessing.resource_tracker" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_error_about_a_name_cut_within_a_letter(segment: shm.Segment) -> None:
    with pytest.raises(holdfast.InvalidArgumentError, match="aä"):
        shm.Segment("a" + "ä" * 30, size="1 MiB")
    with pytest.raises(holdfast.InvalidArgumentError, match="aä"):
        segment.event("a" + "ä" * 60)
    with pytest.raises(holdfast.InvalidArgumentError, match="udcff"):
        shm.Segment("\udcff", size="1 MiB")


def test_numbers_that_do_not_fit_are_refused(segment: shm.Segment) -> None:
    makers: dict[str, Callable[[int], Any]] = {
        "queue": lambda n: segment.queue("x", n, size=8),
        "array": lambda n: segment.array("x", n),
        "ring": lambda n: segment.ring("x", n),
        "cells": lambda n: segment.cells("x", n),
        "map": lambda n: segment.map("x", n),
        "keys": lambda n: segment.map("x", key=n),
        "pool": lambda n: segment.pool("x", n, size=8),
        "semaphore": lambda n: segment.semaphore("x", n),
        "barrier": lambda n: segment.barrier("x", n),
        "versioned": lambda n: segment.versioned("x", 3, buffers=n),
    }
    for kind, make in makers.items():
        for number in (-1, 1 << 64, (1 << 64) + 4, 1 << 70):
            with pytest.raises((holdfast.InvalidArgumentError, MemoryError)):
                make(number)
            assert len(segment) == 0, kind
    assert segment.array("x", np.int64(3)).shape == (3,)
    assert segment.map("m", key=np.int64(8), value="i8").put(b"12345678", 1)
    with pytest.raises(TypeError):
        segment.array("y", (2, 2.5))  # type: ignore[arg-type]
