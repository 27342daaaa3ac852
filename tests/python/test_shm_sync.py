"""Maps, pools and waiting for each other from Python, between processes, with kills.

Method: a dict says what a map is; who is killed leaves nothing behind.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import holdfast
import numpy as np
import pytest
from holdfast import shm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shm_tools import FORK, killed, started

pytest_plugins = ("shm_tools",)

# --- maps ----------------------------------------------------------------------------------------


def test_map_is_a_mapping(segment: shm.Segment) -> None:
    made = segment.map("m", 100)
    made["a"] = "one"
    made[b"b"] = b"two"
    assert made["a"] == b"one"
    assert dict(made) == {b"a": b"one", b"b": b"two"}
    assert (len(made), "a" in made, "c" in made) == (2, True, False)
    assert made.get("c") is None
    assert made.setdefault("c", b"3") == b"3"
    assert made.pop("c") == b"3"
    with pytest.raises(KeyError):
        made.pop("c")
    with pytest.raises(KeyError):
        made["c"]
    with pytest.raises(KeyError):
        del made["c"]
    del made["a"]
    made.clear()
    assert len(made) == 0
    assert made
    there = segment["m"]
    assert isinstance(there, shm.Map)
    assert there.capacity >= 100


def test_map_with_types(segment: shm.Segment) -> None:
    made = segment.map("m", 100, key="i8", value=[("x", "f8"), ("n", "i4")])
    made[5] = (1.5, 3)
    assert made[5]["x"] == 1.5
    assert list(made) == [5]
    with pytest.raises(shm.MismatchError):
        segment.map("m", 100, key="i4", value="f8")


def test_map_in_one_step(segment: shm.Segment) -> None:
    made = segment.map("m", 100, key=16, value="i8")
    assert made.put_if_absent("k", 1)
    assert not made.put_if_absent("k", 2)
    value, version = made.get_versioned("k")
    assert value == 1
    newer = made.replace_if("k", 5, version)
    assert newer is not None
    assert made.replace_if("k", 6, version) is None
    assert made.update_with("k", lambda old: old + 1) == 6
    assert made.update_with("new", lambda old: old + 1, 10) == 11
    assert made["k"] == 6


def _come_and_go(made: Any) -> None:
    while True:
        for key in "abcdefgh":
            made[key] = key
        for key in "abcdefgh":
            made.pop(key, None)


def test_map_can_be_walked_while_keys_go(segment: shm.Segment) -> None:
    made = segment.map("m", 100, key=8, value=8)
    child = started(_come_and_go, made)
    end = time.monotonic() + 0.3
    seen = 0
    while time.monotonic() < end or seen == 0:
        values = list(made.values())
        assert all(len(value) == 1 for value in values)
        seen += len(values)
    killed(child)
    made.clear()


def test_map_takes_and_gives_in_one_step(segment: shm.Segment) -> None:
    made = segment.map("m", 100, key=8, value=8)
    assert made.setdefault("a", b"1") == b"1"
    assert made.setdefault("a", b"2") == b"1"
    version = made.get_versioned("a")[1]
    assert made.setdefault("a", b"2") == b"1"
    assert made.get_versioned("a")[1] == version  # nothing was put
    assert made.popitem() == (b"a", b"1")
    with pytest.raises(KeyError):
        made.popitem()


def test_map_refuses_keys_with_padding(segment: shm.Segment) -> None:
    padded = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    for key in (padded, np.dtype([("x", padded)]), np.dtype([("x", padded, (2,))])):
        with pytest.raises(holdfast.InvalidArgumentError, match="padding"):
            segment.map("m", 10, key=key, value=8)
    made = segment.map("m", 10, key=[("a", "i1"), ("b", "i8", (2,))], value=padded)
    made[1, (2, 3)] = (4, 5)
    assert made[1, (2, 3)].tolist() == (4, 5)


@pytest.mark.parametrize("size", [0, 1023, 1024, 1025, 100_000])
def test_map_values_of_any_length(segment: shm.Segment, size: int) -> None:
    made = segment.map("m", 2, key=2000, value=100_000)
    made[b"k" * (size % 2000)] = b"v" * size
    assert made[b"k" * (size % 2000)] == b"v" * size
    assert list(made.items()) == [(b"k" * (size % 2000), b"v" * size)]


def test_map_that_is_full_keeps_what_it_has(segment: shm.Segment) -> None:
    made = segment.map("m", 16, key="i8", value="i8")
    done = 0
    with pytest.raises(shm.FullError, match="made for 16"):
        for number in range(10_000):
            made[number] = number
            done += 1
    assert done >= 16
    for number in range(done):
        made[number] = -number
    assert sorted(made.items()) == [(n, -n) for n in range(done)]


def test_map_sizes_are_kept(segment: shm.Segment) -> None:
    made = segment.map("m", 16, key=8, value=8)
    for key, value in ((b"123456789", b"x"), (b"x", b"123456789")):
        with pytest.raises(holdfast.InvalidArgumentError):
            made[key] = value


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from("pgdcr"), st.integers(0, 40), st.binary(max_size=20)),
        max_size=120,
    )
)
def test_map_is_what_a_dict_is(program: list[tuple[str, int, bytes]]) -> None:
    with shm.Segment(size="1 MiB") as segment:
        made, model = segment.map("m", 200, key="u4", value=20), {}
        versions: dict[int, int] = {}
        for step, key, value in program:
            if step == "p":
                versions[key] = made.put(key, value)
                model[key] = value
            elif step == "g":
                assert made.get(key) == model.get(key)
            elif step == "d":
                assert made.pop(key, None) == model.pop(key, None)
            elif step == "c":
                assert dict(made.items()) == model
            elif key in versions:
                done = made.replace_if(key, value, versions[key])
                if done is not None:
                    model[key] = value
                    versions[key] = done
        assert dict(made.items()) == model
        assert len(made) == len(model)
        assert made.check() == []


def _increment(made: Any, times: int) -> None:
    for _ in range(times):
        made.update_with("n", lambda old: old + 1, 0)


def test_updates_of_several_processes_are_all_there(segment: shm.Segment) -> None:
    made = segment.map("m", 16, key=8, value="i8")
    children = [started(_increment, made, 300) for _ in range(3)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert made["n"] == 900


def _churn(made: Any) -> None:
    number = 0
    while True:
        number += 1
        for key in range(50):
            made[key] = ([key, number, key * 1000 + number],)


def test_map_stays_whole_when_writers_are_killed(segment: shm.Segment) -> None:
    made = segment.map("m", 100, key="i8", value=[("v", "i8", (3,))])
    for _ in range(6):
        child = started(_churn, made)
        time.sleep(0.05)
        killed(child)
        for key, (value,) in made.items():
            assert value[0] == key
            assert value[2] == key * 1000 + value[1]
        for key in range(50):
            made[key] = ([key, 0, key * 1000],)
    assert made.check() == []


# --- pools ---------------------------------------------------------------------------------------


def test_pool_hands_out_and_takes_back(segment: shm.Segment) -> None:
    made = segment.pool("p", 3, dtype=[("x", "f8"), ("y", "i4")])
    objects = made.acquire_many(3)
    assert made.live == 3
    with pytest.raises(shm.EmptyError):
        made.acquire(timeout=0)
    objects[0].array["x"] = 2.5
    assert objects[0].array["x"] == 2.5
    view = objects[1].memory()
    with pytest.raises(holdfast.BusyError):
        objects[1].release()
    del view
    for one in objects:
        one.release()
    with pytest.raises(shm.StaleError):
        objects[0].release()
    with pytest.raises(shm.StaleError):
        objects[0].memory()
    with made.acquire() as one:
        assert made.owner(one.handle) == segment.info().self
        assert made.objects() == [(one.handle, segment.info().self)]
    assert made.live == 0


def _hold(made: Any, ready: Any) -> None:
    objects = made.acquire_many(100)
    ready.set()
    time.sleep(600)
    del objects


def test_objects_of_a_killed_process_come_back(segment: shm.Segment) -> None:
    made = segment.pool("p", 10, size=64)
    ready = FORK.Event()
    child = started(_hold, made, ready)
    assert ready.wait(60)
    with pytest.raises(shm.EmptyError):
        made.acquire(timeout=0.05)
    killed(child)
    got = made.acquire_many(10, timeout=60)
    while len(got) < 10:
        got += made.acquire_many(10, timeout=60)
    assert len(got) == made.live == 10


def _send(made: Any, queue: Any) -> None:
    one = made.acquire()
    one.memory()[:5] = b"hello"
    queue.put(one.handle.to_bytes(8, "little"))
    one.pass_on()


def test_object_is_passed_on_through_a_queue(segment: shm.Segment) -> None:
    made, queue = segment.pool("p", 4, size=64), segment.queue("q", 4, size=8)
    child = started(_send, made, queue)
    child.join(60)
    assert child.exitcode == 0
    handle = int.from_bytes(queue.get(timeout=60), "little")
    assert made.owner(handle) is None
    with made.adopt(handle) as one:
        assert bytes(one.memory()[:5]) == b"hello"
        with pytest.raises(shm.StaleError):
            made.adopt(handle)
    assert made.live == 0


def test_object_that_was_passed_on_is_stale(segment: shm.Segment) -> None:
    made = segment.pool("p", 2, size=64)
    with made.acquire() as one:
        handle = one.pass_on()
    assert made.owner(handle) is None  # the block gave nothing back
    for use in (one.memory, one.release, one.pass_on):
        with pytest.raises(shm.StaleError):
            use()
    made.adopt(handle).release()
    assert made.live == 0


# --- waiting -------------------------------------------------------------------------------------


def test_event(segment: shm.Segment) -> None:
    made = segment.event("e")
    assert not made.wait(timeout=0.01)
    child = started(made.set)
    assert made.wait(timeout=60)
    child.join(60)
    assert made.is_set()
    made.clear()
    assert not made.is_set()
    automatic = segment.event("a", automatic=True, is_set=True)
    assert automatic.wait(0)
    assert not automatic.wait(0)
    with pytest.raises(shm.MismatchError):
        segment.event("e", automatic=True)


def _take(made: Any, ready: Any) -> None:
    assert made.acquire(2)
    ready.set()
    time.sleep(600)


def test_permits_of_a_killed_process_come_back(segment: shm.Segment) -> None:
    made = segment.semaphore("s", 3)
    ready = FORK.Event()
    child = started(_take, made, ready)
    assert ready.wait(60)
    assert made.value == 1
    assert not made.acquire(2, timeout=0.02)
    killed(child)
    assert made.acquire(3, timeout=60)
    assert made.held == 3
    made.release(3)
    with pytest.raises(holdfast.InvalidArgumentError):
        made.release()


def test_counted_semaphore_is_a_number(segment: shm.Segment) -> None:
    made = segment.semaphore("s", 0, counted=True, most=2)
    made.release(2)
    with pytest.raises(shm.FullError):
        made.release()
    assert made.acquire(2)
    assert not made.acquire(timeout=0)


def _lock(made: Any, ready: Any) -> None:
    made.lock()
    ready.set()
    time.sleep(600)


def lock_of_the_dead(segment: shm.Segment) -> Any:
    made = segment.mutex("m")
    ready = FORK.Event()
    child = started(_lock, made, ready)
    assert ready.wait(60)
    assert not made.lock(timeout=0.02)
    owner = made.owner
    assert owner is not None
    killed(child)
    return made


def test_mutex_of_a_killed_process_is_handed_on_with_a_word(segment: shm.Segment) -> None:
    made = lock_of_the_dead(segment)
    with pytest.raises(shm.OwnerDiedError, match="consistent"):
        made.lock(timeout=60)
    assert made.owner is not None
    made.unlock()
    assert made.inconsistent
    with pytest.raises(shm.OwnerDiedError), made:
        pass
    assert made.owner is None
    called = []
    with made.repairing(lambda: called.append(1)):
        assert made.owner is not None
    assert called == [1]
    with made:
        assert not made.inconsistent


def test_mutex_is_not_recursive(segment: shm.Segment) -> None:
    made = segment.mutex("m")
    with made, pytest.raises(holdfast.BusyError):
        made.lock()
    with pytest.raises(holdfast.InvalidArgumentError):
        made.unlock()
    made.lock()
    failed = []

    def other() -> None:
        try:
            made.unlock()
        except holdfast.InvalidArgumentError as error:
            failed.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(60)
    assert len(failed) == 1
    made.unlock()


def _add(made: Any, array: Any, times: int) -> None:
    for _ in range(times):
        with made:
            array[0] += 1


def test_mutex_excludes(segment: shm.Segment) -> None:
    made, array = segment.mutex("m"), segment.array("a", 1, "i8")
    children = [started(_add, made, array, 500) for _ in range(3)]
    for child in children:
        child.join(100)
        assert child.exitcode == 0
    assert array[0] == 1500


def _come(made: Any, places: Any, rounds: int) -> None:
    for _ in range(rounds):
        places.put(made.wait(timeout=60).to_bytes(8, "little"))


def test_barrier(segment: shm.Segment) -> None:
    made, places = segment.barrier("b", 3), segment.queue("q", 64, size=8)
    children = [started(_come, made, places, 5) for _ in range(2)]
    own = [made.wait(timeout=60) for _ in range(5)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    found = own + [int.from_bytes(item, "little") for item in places.get_many(64)]
    assert sorted(found) == [0] * 5 + [1] * 5 + [2] * 5
    with pytest.raises(TimeoutError):
        made.wait(timeout=0.01)


def _come_once(made: Any) -> None:
    made.wait()


class _SignalError(Exception):
    pass


def _raise_signal(*_: object) -> None:
    raise _SignalError


@pytest.mark.parametrize("what", ["barrier", "permits", "permit", "event"])
def test_signal_handlers_run_in_a_wait(segment: shm.Segment, what: str) -> None:
    barrier, semaphore = segment.barrier("b", 2), segment.semaphore("s", 3)
    semaphore.acquire(2)
    waits: dict[str, Any] = {
        "barrier": barrier.wait,
        "permits": lambda: semaphore.acquire(2),
        "permit": segment.semaphore("none", 0, counted=True).acquire,
        "event": segment.event("e").wait,
    }
    before = signal.signal(signal.SIGALRM, _raise_signal)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(_SignalError):
            waits[what]()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert barrier.waiting == 0
    assert (semaphore.held, semaphore.value) == (2, 1)


@pytest.mark.parametrize("on_death", ["break", "go_on"])
def test_barrier_when_one_is_killed(segment: shm.Segment, on_death: Any) -> None:
    made = segment.barrier("b", 3, on_death=on_death)
    child = started(_come_once, made)
    other = started(_come_once, made)
    while made.waiting < 2:
        time.sleep(0.005)
    killed(child)
    if on_death == "break":
        other.join(60)
        assert other.exitcode == 1  # OwnerDiedError
    else:
        assert made.wait(timeout=60) in (0, 1, 2)
        other.join(60)
        assert other.exitcode == 0


def test_figures_of_everything(segment: shm.Segment) -> None:
    segment.event("e")
    segment.semaphore("s")
    segment.mutex("m")
    segment.barrier("b", 2)
    segment.cells("c", 3)
    segment.map("map", 10)
    segment.pool("p", 5, size=8)
    segment.array("a", 4)
    segment.versioned("v", 4)
    segment.ring("r", 8)
    segment.queue("q", 8, size=8).put(b"x")
    expected = {
        "e": (1, 0), "s": (1, 1), "m": (1, 0), "b": (2, 0), "c": (3, 3), "map": (10, 0),
        "p": (5, 0), "a": (4, 4), "v": (4, 4), "r": (8, 0), "q": (8, 1),
    }  # fmt: skip
    assert set(segment) == set(expected)
    for name in segment:
        figures = segment.figures(name)
        assert (figures.capacity, figures.count) == expected[name], name
        assert segment.check(name) == []
        assert segment[name].name == name
        assert name in repr(segment[name])
    assert segment.figures("q").count == 1
    assert segment.check() == []
    assert np.asarray(segment["a"]).sum() == 0
