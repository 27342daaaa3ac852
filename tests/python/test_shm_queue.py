"""Queues from Python: bytes, records, objects, slots; between processes; after a kill.

Method: what goes in comes out, in order and whole, from the same process and from others.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import holdfast
import numpy as np
import pytest
from holdfast import shm

pytest_plugins = ("shm_tools",)


def test_bytes_come_out_in_order(segment: shm.Segment) -> None:
    made = segment.queue("q", 8, size=5000)
    items = [b"", b"x", b"hello", bytes(range(256)) * 8, b"y" * 2048, b"z" * 2049, b"w" * 5000]
    for item in items:
        made.put(item)
    assert len(made) == len(items)
    assert [made.get() for _ in items] == items
    assert made.empty()


def test_any_buffer_can_be_put(segment: shm.Segment) -> None:
    made = segment.queue("q", 8, size=64)
    for item in (bytearray(b"abc"), memoryview(b"abc"), np.frombuffer(b"abc", "u1")):
        made.put(item)
        assert made.get() == b"abc"
    with pytest.raises(TypeError):
        made.put("text")
    with pytest.raises((BufferError, ValueError)):
        made.put(np.zeros((4, 4), "u1")[:, ::2])


def test_full_and_empty_are_those_of_queue(segment: shm.Segment) -> None:
    made = segment.queue("q", 2, size=8)
    with pytest.raises(queue.Empty):
        made.get_nowait()
    with pytest.raises(queue.Empty):
        made.get(timeout=0.01)
    assert made.try_get() is None
    made.put(b"1")
    made.put(b"2")
    assert made.full()
    assert not made.try_put(b"3")
    with pytest.raises(queue.Full):
        made.put_nowait(b"3")
    with pytest.raises(shm.FullError):
        made.put(b"3", timeout=0.01)
    assert made.get_many(10) == [b"1", b"2"]


def test_bulk_puts_say_how_many_went_in(segment: shm.Segment) -> None:
    plain = segment.queue("plain", 4, size=8)
    numbers = segment.queue("numbers", 4, dtype="i8")
    objects = segment.queue("objects", 4, size=100, objects=True)
    for made, items in (
        (plain, [b"%d" % i for i in range(6)]),
        (numbers, range(6)),
        (objects, [{"n": i} for i in range(6)]),
    ):
        assert made.put_many(items, timeout=0.01) == 4
        assert made.put_many(items, timeout=0) == 0
        assert [made.get() for _ in range(4)] == list(items)[:4]
        assert made.put_many([]) == 0
        with pytest.raises(holdfast.InvalidArgumentError):
            made.put_many(items, timeout=-1)


def test_item_goes_into_a_buffer_of_the_caller(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size=64)
    made.put(b"hello")
    room = bytearray(8)
    with pytest.raises(holdfast.InvalidArgumentError):
        made.get_into(memoryview(room)[:4])
    assert made.get_into(room, timeout=0) == 5
    assert room == b"hello\0\0\0"
    with pytest.raises(queue.Empty):
        made.get_into(room, timeout=0)
    with pytest.raises(BufferError):
        made.get_into(b"read-only")


def test_closed_queue_says_so_whatever_is_put(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size=8)
    made.close()
    for item in (b"x", "text", None):
        for put in (made.put, made.try_put, made.put_block):
            with pytest.raises(holdfast.InvalidArgumentError, match="closed"):
                put(item)


def test_too_large_an_item_is_refused(segment: shm.Segment) -> None:
    made = segment.queue("q", 2, size=8)
    with pytest.raises(holdfast.InvalidArgumentError, match="9"):
        made.put(b"123456789")
    assert made.empty()


@pytest.mark.parametrize("timeout", [-1, float("nan"), "x"])
def test_bad_timeouts(segment: shm.Segment, timeout: Any) -> None:
    made = segment.queue("q", 2, size=8)
    with pytest.raises((holdfast.InvalidArgumentError, TypeError)):
        made.get(timeout=timeout)


def test_opening_another_kind_names_both(segment: shm.Segment) -> None:
    segment.queue("q", 8, dtype="<f8")
    with pytest.raises(shm.MismatchError) as caught:
        segment.queue("q", 8, dtype="<f4")
    assert "8" in str(caught.value)
    assert "4" in str(caught.value)
    with pytest.raises(shm.MismatchError) as caught:
        segment.queue("q", 8, dtype="<i8")
    assert "<f8" in str(caught.value)
    assert "<i8" in str(caught.value)


def test_records(segment: shm.Segment) -> None:
    dtype = np.dtype([("t", "f8"), ("v", "i4", (3,))])
    made = segment.queue("q", 16, dtype=dtype)
    made.put((1.5, [1, 2, 3]))
    got = made.get()
    assert got["t"] == 1.5
    assert got["v"].tolist() == [1, 2, 3]
    block = np.zeros(20, dtype)
    block["t"] = np.arange(20)
    assert made.put_many(block, timeout=0) == 16
    first = made.get_many(5)
    assert first["t"].tolist() == [0, 1, 2, 3, 4]
    assert made.get_many(100)["t"].tolist() == list(range(5, 16))
    with pytest.raises(holdfast.InvalidArgumentError):
        made.put(block)


def test_record_in_place(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, dtype="f8")
    with made.reserve_array() as element:
        element[0] = 2.5
        del element
    assert made.get() == 2.5


def test_objects_with_arrays(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size="128 KiB", objects=True)
    array = np.arange(1000.0).reshape(10, 100)
    made.put({"a": array, "b": [1, "two", None]})
    got = made.get()
    assert got["b"] == [1, "two", None]
    assert (got["a"] == array).all()
    got["a"][:] = 0  # it is the receiver's own
    with pytest.raises(holdfast.InvalidArgumentError):
        made.put(np.zeros(1 << 20))
    assert made.try_get() is None


def test_object_in_place(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size="128 KiB", objects=True)
    made.put(np.arange(1000))
    with made.borrow() as item:
        assert item.sum() == 499500
        assert not item.flags.owndata
        del item
    assert made.empty()
    made.put(np.arange(10))
    with pytest.raises(holdfast.BusyError), made.borrow() as kept:
        pass
    assert kept[9] == 9
    del kept


def test_slot_is_written_and_read_in_place(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size=4096)
    with made.reserve(4096) as slot:
        np.frombuffer(slot, "f8")[:] = 7
    with made.peek() as slot:
        assert len(slot) == 4096
        assert np.frombuffer(slot, "f8").sum() == 7 * 512
    slot = made.reserve(100)
    memoryview(slot)[:3] = b"abc"
    slot.commit(3)
    assert made.get() == b"abc"
    with pytest.raises(shm.StaleError):
        slot.commit()


def test_slot_with_views_does_not_go_back(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size=64)
    slot = made.reserve(64)
    view = memoryview(slot)
    with pytest.raises(holdfast.BusyError):
        slot.commit()
    with pytest.raises(holdfast.BusyError):
        made.close()
    view.release()
    slot.commit()
    assert len(made.get()) == 64


def test_abandoned_and_forgotten_slots_put_nothing(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size=64)
    made.reserve(64).abandon()
    made.reserve(64)  # dies in hand
    with pytest.raises(ZeroDivisionError), made.reserve(64):
        raise ZeroDivisionError
    made.put(b"after")
    assert made.get() == b"after"
    assert made.check() == []


def _produce(made: Any, count: int, tag: int) -> None:
    for i in range(count):
        made.put(b"%d %d" % (tag, i))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_between_processes(segment: shm.Segment, method: str) -> None:
    made = segment.queue("q", 64, size=64)
    context = multiprocessing.get_context(method)
    producers = [context.Process(target=_produce, args=(made, 500, tag)) for tag in range(2)]
    for producer in producers:
        producer.start()
    seen: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(1000):
        tag, number = map(int, made.get(timeout=60).split())
        seen[tag].append(number)
    for producer in producers:
        producer.join(60)
        assert producer.exitcode == 0
    assert seen == {0: list(range(500)), 1: list(range(500))}


def _square(made: Any, number: int) -> int:
    made.put(number * number)
    return os.getpid()


def test_in_a_process_pool(segment: shm.Segment) -> None:
    made = segment.queue("q", 64, size=1000, objects=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        pids = list(pool.map(_square, [made] * 10, range(10)))
    assert os.getpid() not in pids
    assert sorted(made.get_many(10)) == [i * i for i in range(10)]


def _grab(made: Any, ready: Any) -> None:
    slot = made.peek(timeout=60)
    ready.set()
    time.sleep(600)
    slot.release()


@pytest.mark.parametrize("redeliver", [False, True])
def test_item_in_hand_of_a_killed_consumer(
    segment: shm.Segment,
    redeliver: bool,
) -> None:
    made = segment.queue("q", 4, size=8, redeliver=redeliver)
    made.put(b"one")
    made.put(b"two")
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=_grab, args=(made, ready))
    child.start()
    assert ready.wait(60)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(60)
    segment.sweep()
    got = made.get_many(9, timeout=30)
    assert sorted(got) == ([b"one", b"two"] if redeliver else [b"two"])
    for number in range(4):  # nothing of the capacity is gone
        made.put(b"%d" % number, timeout=10)


def _wait_for_item(made: Any) -> None:
    try:
        made.get(timeout=60)
    except holdfast.CancelledError:
        os._exit(3)


def test_wake_ends_all_waits(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size=8)
    child = multiprocessing.get_context("fork").Process(target=_wait_for_item, args=(made,))
    child.start()
    while child.is_alive():
        made.wake()
        time.sleep(0.01)
    assert child.exitcode == 3


def test_wake_between_two_pieces_of_a_wait_ends_it(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size=8)

    def handler(*_: object) -> None:
        made.wake()  # handlers run where the wait stands in no call of C

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(holdfast.CancelledError):
            made.get(timeout=5)
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(queue.Empty):  # and the next is not ended by it
        made.get(timeout=0.01)


def test_signal_interrupts_a_wait(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size=8)

    def handler(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(InterruptedError):
            made.get(timeout=60)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_single_refuses_a_second_producer(segment: shm.Segment) -> None:
    made = segment.queue("q", 4, size=8, single=True)
    made.put(b"1")
    child = multiprocessing.get_context("fork").Process(target=made.put, args=(b"2",))
    child.start()
    child.join(60)
    assert child.exitcode == 1
    assert made.get_many(9) == [b"1"]
