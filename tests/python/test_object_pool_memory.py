"""Object pools and memory of others: in a buffer, in a resource, and as a resource themselves.

Method: what a pool promises anywhere, in a bytearray, an arena and a heap; arrays and resources
on a pool; what keeps what alive. Pools of their own memory are in test_object_pool.py.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import holdfast
import pytest
from holdfast import BusyError, InvalidArgumentError, OutOfMemoryError, Pool, WaitTimeoutError, mr

np = pytest.importorskip("numpy")
hnp = pytest.importorskip("holdfast.numpy")

PLACES: dict[str, Callable[[], dict[str, Any]]] = {
    "bytearray": lambda: {"buffer": bytearray(10_000)},
    "buffer of an arena": lambda: {"buffer": holdfast.Arena().allocate(10_000)},
    "arena": lambda: {"resource": holdfast.Arena("1M")},
    "heap": lambda: {"resource": holdfast.Heap()},
    "resource": lambda: {"resource": mr.Statistics(mr.Heap())},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sanitize", [None, "zero", "pattern"])
def test_pool_lives_in_memory_of_another(place: str, sanitize: Any) -> None:
    record = np.dtype([("position", "f8", 3), ("alive", "?")])
    with Pool(record, 50, "raise", sanitize=sanitize, name="lodger", **PLACES[place]()) as pool:
        handles = pool.acquire_many(50)
        with pytest.raises(OutOfMemoryError, match="50 of 50"):
            pool.acquire()
        for i, handle in enumerate(handles):
            if sanitize == "zero":
                assert not handle.record["position"].any()
            handle.record["position"] = i, i + 1, i + 2
        assert [handle.record["position"][1] for handle in handles] == list(range(1, 51))
        with pytest.raises(BusyError):
            pool.close()
        pool.release_many(handles)
        with pytest.raises(InvalidArgumentError):
            handles[0].release()
        assert pool.check() == 0
        assert pool.stats().adds_up()
        assert pool.trim() == 0


def test_as_many_blocks_as_fit_and_the_memory_is_kept() -> None:
    memory = bytearray(1000)
    pool = Pool(64, buffer=memory, align=1)
    assert len(pool.acquire_many(15)) == 15
    assert pool.figures().capacity == 15
    handles = pool.acquire_many(15)
    memoryview(handles[3])[:] = b"x" * 64
    assert memory.count(b"x") == 64
    with pytest.raises(BufferError):
        memory.extend(b"more")
    pool.release_many(handles)
    pool.close()
    memory.extend(b"more")


def test_memory_that_does_not_do_is_refused() -> None:
    for options in ({"buffer": bytearray(10)}, {"buffer": bytearray(), "capacity": 1}):
        with pytest.raises(InvalidArgumentError):
            Pool(64, **options)
    with pytest.raises(InvalidArgumentError):
        Pool(64, 100, buffer=bytearray(1000))
    with pytest.raises(InvalidArgumentError):
        Pool(64, resource=mr.Heap())
    with pytest.raises(InvalidArgumentError):
        Pool(64, 1, resource=mr.Heap(), buffer=bytearray(1000))
    with pytest.raises(InvalidArgumentError):
        Pool(0, 1, resource=mr.Heap())
    with pytest.raises(BufferError):
        Pool(64, buffer=bytes(1000))
    with pytest.raises(OutOfMemoryError):
        Pool(64, 100, resource=mr.Limit(mr.Heap(), 1000))


def test_resource_gets_its_memory_back() -> None:
    counted = mr.Statistics(mr.Heap())
    pool = Pool(64, 10, "wait", timeout=0.01, resource=counted)
    assert counted.counter.blocks == 1
    handles = pool.acquire_many(10)
    with pytest.raises(WaitTimeoutError):
        pool.acquire()
    del pool
    gc.collect()
    assert counted.counter.blocks == 1  # the handles hold the pool
    handles.clear()
    gc.collect()
    assert counted.counter.blocks == 0


def test_arrays_and_resources_stand_on_a_pool() -> None:
    pool = Pool(4096, 3, "raise", name="arrays")
    with hnp.allocator(pool):
        array = np.arange(100.0)
        with pytest.raises(MemoryError):
            np.zeros(4096)
    owner = hnp.owner_of(array)
    assert owner.object is pool
    assert owner.kind == "resource"
    assert len(pool) == 1
    with mr.use(mr.Track(pool)) as tracked:
        buffer = mr.current().alloc(4096)
        assert [block.size for block in tracked.outstanding()] == [4096]
    last = mr.Pool(pool).alloc(1)
    with pytest.raises(OutOfMemoryError, match="all are out"):
        mr.Pool(pool).alloc(1)
    with pytest.raises(BusyError):
        pool.close()
    there = weakref.ref(pool)
    resource = mr.Pool(pool)
    del pool, owner, buffer, last, tracked
    gc.collect()
    assert array.sum() == 4950
    del array, resource
    gc.collect()
    assert there() is None


def test_pool_as_a_resource_says_what_does_not_fit() -> None:
    with Pool(1000) as odd:  # blocks follow each other at 1008 bytes: 16 is all that is sure
        with pytest.raises(OutOfMemoryError, match="aligned to 16"):
            mr.Pool(odd).alloc(100, align=64)
        assert mr.Pool(odd).alloc(100).size == 100
    closed = Pool(64)
    resource = mr.Pool(closed)
    closed.close()
    for attempt in (lambda: resource.alloc(1), lambda: mr.Pool(closed)):
        with pytest.raises(InvalidArgumentError, match="closed"):
            attempt()
    with pytest.raises(InvalidArgumentError):
        mr.Pool(Pool(64), capacity=3)


def test_numbers_of_numpy_are_sizes_and_none_is_nothing() -> None:
    with Pool(np.int64(64)) as pool:
        assert pool.block_size == 64
        assert pool.dtype is None
    for wrong in (
        *({"block": None}, {"block": 64, "capacity": (1 << 64) + 1, "on_exhausted": "raise"}),
        *({"block": 64, "node": 1 << 31},),
        {"block": 64, "capacity": 1, "on_exhausted": "wait", "timeout": float("nan")},
    ):
        with pytest.raises(InvalidArgumentError):
            Pool(**wrong)
    with Pool(64, 1, "wait", timeout=1e30) as pool:
        assert pool.acquire().released is False


def test_release_many_of_one_handle_twice_releases_nothing() -> None:
    with Pool(64) as pool:
        first, second = pool.acquire_many(2)
        with pytest.raises(InvalidArgumentError, match="already released"):
            pool.release_many([first, second, first])
        assert (first.released, second.released, len(pool)) == (False, False, 2)
        pool.release_many([first, second])
