"""Pool and PoolHandle: what is promised to one who holds a block.

Method: every promise of the docstrings by its word; every order of dropping the views, the handle
and the pool (test_views_never_dangle); then a state machine of random programs against a model.
"""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import holdfast
import numpy as np
import pytest
from holdfast import BusyError, InvalidArgumentError, OutOfMemoryError, Pool, PoolHandle
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

PARTICLE = np.dtype([("position", "f4", 3), ("alive", "?"), ("id", "i8")])


def whole(pool: Pool, live: int) -> None:
    """Nothing is lost: account, view, figures and length agree."""
    stats, figures, states = pool.stats(), pool.figures(), [b.state for b in pool.view()]
    assert stats.adds_up()
    assert len(pool) == stats.blocks_in_use == figures.blocks_live == states.count("live") == live
    assert states.count("cached") == figures.blocks_cached
    assert states.count("free") == figures.blocks_free
    assert stats.bytes_in_use == live * pool.block_size
    assert pool.check() == 0


# --- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 16, 100, 4096, 70_000, 1 << 20])
def test_blocks_are_writable_and_disjoint(size: int) -> None:
    with Pool(size) as pool:
        handles = pool.acquire_many(20)
        for number, handle in enumerate(handles):
            assert len(handle) == pool.block_size == size
            with memoryview(handle) as view:
                assert view.nbytes == size
                assert not view.readonly
                view[:] = bytes([number]) * size
        for number, handle in enumerate(handles):
            assert bytes(handle) == bytes([number]) * size
        whole(pool, 20)
        pool.release_many(handles)
        whole(pool, 0)


@pytest.mark.parametrize("align", [1, 16, 64, 512, 4096])
def test_align_is_kept(align: int) -> None:
    pool = Pool(100, align=align)
    handles = pool.acquire_many(50)
    assert all(handle.address % align == 0 for handle in handles)
    assert pool.figures().alignment == align


def test_record_and_array_write_to_the_block() -> None:
    with Pool(PARTICLE, capacity=8, on_exhausted="raise") as pool:
        assert pool.dtype == PARTICLE
        assert pool.block_size == PARTICLE.itemsize
        handle = pool.acquire()
        record = handle.record
        record["position"] = 1, 2, 3
        record["id"] = 77
        assert handle.array["id"] == 77
        assert handle.array.shape == ()
        assert handle.array.__array_interface__["data"][0] == handle.address
        assert bytes(handle)[:4] == np.float32(1).tobytes()
        assert np.frombuffer(handle, PARTICLE)[0] == record
        del record
        handle.release()


def test_plain_and_subarray_dtypes_have_arrays_and_no_records() -> None:
    with Pool("f8") as plain, Pool(np.dtype(("f4", (2, 3)))) as matrix:
        one, two = plain.acquire(), matrix.acquire()
        one.array[...] = 2.5
        assert one.array[()] == 2.5
        two.array[:] = np.arange(6).reshape(2, 3)
        assert two.array.tolist() == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(InvalidArgumentError, match="structured"):
            _ = one.record
        one.release()
        two.release()
    with Pool(8) as raw, raw.acquire() as handle:
        with pytest.raises(InvalidArgumentError, match="dtype"):
            _ = handle.array
        with pytest.raises(InvalidArgumentError, match="structured"):
            _ = handle.record


def test_zero_and_pattern_and_what_is_left() -> None:
    with Pool(64, sanitize="zero") as pool:
        for _ in range(3):
            handles = pool.acquire_many(30)
            for handle in handles:
                assert not any(bytes(handle))
                memoryview(handle)[:] = b"x" * 64
            pool.release_many(handles)
    with Pool(64, sanitize="pattern") as pool:
        with pool.acquire() as handle:
            memoryview(handle)[:] = b"secret00" * 8
        with pool.acquire() as handle:
            assert b"secret" not in bytes(handle)


def test_write_after_release_is_reported_and_raised() -> None:
    """Written through an address: no view can do it."""
    import ctypes

    holdfast.policy("raise")
    try:
        with Pool(64, sanitize="pattern", name="watched") as pool:
            handle, keep = pool.acquire(), pool.acquire()
            address = handle.address
            handle.release()
            ctypes.memset(address + 5, 1, 3)
            with pytest.raises(holdfast.UseAfterFreeError) as caught:
                pool.acquire()
            assert caught.value.report is not None
            assert caught.value.report.damage_offset == 5
            assert pool.stats().slabs_quarantined == 1
            keep.release()
    finally:
        holdfast.policy("report")


# --- release --------------------------------------------------------------------------------------


def test_double_release_raises_and_changes_nothing() -> None:
    with Pool(32) as pool:
        handle = pool.acquire()
        handle.release()
        for again in (handle.release, lambda: pool.release(handle)):
            with pytest.raises(InvalidArgumentError, match="already released"):
                again()
        assert handle.released
        assert "released" in repr(handle)
        for use in (lambda: memoryview(handle), lambda: handle.address):
            with pytest.raises(InvalidArgumentError):
                use()
        assert pool.stats().reports == 0
        whole(pool, 0)


def test_foreign_release_raises_and_releases_nothing() -> None:
    with Pool(32) as pool, Pool(32) as other:
        handle = other.acquire()
        with pytest.raises(InvalidArgumentError, match="another pool"):
            pool.release(handle)
        with pytest.raises(TypeError):
            pool.release(42)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError):
            pool.release_many([handle])
        assert not handle.released
        other.release(handle)


def test_release_many_is_all_or_none() -> None:
    with Pool(32) as pool:
        handles = pool.acquire_many(5)
        view = memoryview(handles[3])
        with pytest.raises(BusyError):
            pool.release_many(handles)
        assert len(pool) == 5
        view.release()
        pool.release_many(iter(handles))
        assert len(pool) == 0
        with pytest.raises(InvalidArgumentError):
            pool.release_many(handles)


def test_release_while_borrowed_is_busy() -> None:
    with Pool(PARTICLE) as pool:
        handle = pool.acquire()
        view, array = memoryview(handle), handle.array
        with pytest.raises(BusyError, match="2 views"):
            handle.release()
        view.release()
        assert handle.borrows == 1
        del array
        handle.release()


def test_with_releases_and_forgives_an_early_release() -> None:
    with Pool(32) as pool:
        with pool.acquire() as handle:
            assert len(pool) == 1
        assert handle.released
        with pool.acquire() as handle:
            handle.release()
        with pytest.raises(BusyError), pool.acquire() as handle:
            view = memoryview(handle)
        view.release()
        handle.release()
        with pytest.raises(KeyError), pool.acquire() as handle:  # not hidden by BusyError
            view = memoryview(handle)
            raise KeyError
        assert len(pool) == 1
        view.release()
        del handle, view
        assert len(pool) == 0


def test_a_handle_that_dies_gives_its_block_back() -> None:
    with Pool(32) as pool:
        handle = pool.acquire()
        assert len(pool) == 1
        del handle
        assert len(pool) == 0
        view = memoryview(pool.acquire())
        assert len(pool) == 1
        del view
        assert len(pool) == 0


def test_handles_in_cycles_are_collected() -> None:
    class Owner(Pool):
        pass

    pool = Owner(32)
    pool.handles = [pool.acquire()]  # type: ignore[attr-defined]
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"block": 0},
        {"block": -1},
        {"block": (1 << 20) + 1},
        {"block": 8, "align": 3},
        {"block": 8, "capacity": 0},
        {"block": 8, "on_exhausted": "raise"},
        {"block": 8, "on_exhausted": "panic"},
        {"block": 8, "timeout": 1},
        {"block": 8, "capacity": 1, "on_exhausted": "wait", "timeout": 0},
        {"block": 8, "sanitize": "bleach"},
        {"block": 8, "node": 1000},
        {"block": "O"},
        {"block": np.dtype([])},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        Pool(**wrong)


# --- the pool itself ------------------------------------------------------------------------------


def test_close_with_blocks_out_is_busy() -> None:
    pool = Pool(32)
    handles = pool.acquire_many(3)
    with pytest.raises(BusyError, match="3 blocks are out") as caught:
        pool.close()
    assert caught.value.count == 3
    pool.release_many(handles)
    pool.close()
    pool.close()
    assert pool.closed
    for use in (pool.acquire, pool.stats, pool.view, pool.check, pool.trim, lambda: len(pool)):
        with pytest.raises(InvalidArgumentError, match="closed"):
            use()
    assert repr(pool) == "<holdfast.Pool, closed>"


def test_pool_that_was_not_made_is_closed() -> None:
    class Unmade(Pool):
        def __init__(self) -> None:
            pass

    class Wrong(Pool):
        def __init__(self) -> None:
            with pytest.raises(InvalidArgumentError):
                super().__init__(0)

    for pool in (Unmade(), Wrong()):
        assert pool.closed
        for call in (pool.acquire, pool.stats, pool.check, lambda made=pool: len(made)):
            with pytest.raises(InvalidArgumentError, match="closed"):
                call()
        pool.close()
        Pool.__init__(pool, 16)
        with pool, pool.acquire() as handle:
            assert len(handle) == 16
    with pytest.raises(InvalidArgumentError, match="made already"):
        Pool.__init__(pool, 16)


def test_handles_keep_a_dropped_pool_alive() -> None:
    handle = Pool(32).acquire()
    memoryview(handle)[:4] = b"here"
    gc.collect()
    assert bytes(handle)[:4] == b"here"
    assert len(handle.pool) == 1


def test_memory_goes_back_after_trim() -> None:
    with Pool(1024) as pool:
        handles = pool.acquire_many(2000)
        held = pool.stats().bytes_mapped
        pool.release_many(handles)
        assert pool.trim() > 1_900_000
        assert pool.stats().bytes_mapped < held - 1_900_000
        whole(pool, 0)


def test_many_threads_lose_nothing() -> None:
    errors: list[BaseException] = []
    with Pool("i8", 500, "raise") as pool:

        def work(number: int) -> None:
            try:
                held: list[PoolHandle] = []
                for step in range(2000):
                    if len(held) < 100 and step % 3:
                        handle = pool.acquire()
                        handle.array[...] = number * 10_000 + step
                        held.append(handle)
                    elif held:
                        handle = held.pop(step % len(held))
                        assert handle.array[()] // 10_000 == number
                        handle.release()
                pool.release_many(held)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not errors
        whole(pool, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_child_of_a_fork_goes_on() -> None:
    with Pool(32, 10, "raise") as pool:
        handles = pool.acquire_many(4)
        child = os.fork()
        if child == 0:
            try:
                more = pool.acquire_many(6)
                pool.release_many(handles + more)
                os._exit(0 if len(pool) == 0 else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        pool.release_many(handles)


def test_numpy_is_needed_for_dtypes_alone() -> None:
    program = """
import sys
sys.modules["numpy"] = None
import holdfast
with holdfast.Pool(64) as pool, pool.acquire() as handle:
    assert len(memoryview(handle)) == 64
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


# --- views never dangle ---------------------------------------------------------------------------

KEEPERS = ("pool", "handle", "memoryview", "array", "record", "slice")


@pytest.mark.parametrize("first", KEEPERS)
def test_views_never_dangle(first: str) -> None:
    """Drops what keeps a block, in every order: it stays out and whole until the last is gone."""
    rest = [name for name in KEEPERS if name != first]
    for order in itertools.permutations(rest):
        pool = Pool(PARTICLE, 2, "raise")
        neighbour = pool.acquire()
        handle = pool.acquire()
        keepers: dict[str, Any] = {
            "pool": pool,
            "handle": handle,
            "memoryview": memoryview(handle),
            "array": handle.array,
            "record": handle.record,
        }
        keepers["slice"] = keepers["array"]["position"][1:]
        keepers["record"]["id"] = 4711
        keepers["record"]["position"] = 1, 2, 3
        del handle
        for name in (first, *order):
            shown = keepers.get("record", keepers.get("array"))
            if shown is not None:
                assert shown["id"] == 4711
            if "slice" in keepers:
                assert keepers["slice"].tolist() == [2.0, 3.0]
            if "handle" in keepers and len(keepers) > 2 and keepers["handle"].borrows:
                with pytest.raises(BusyError):
                    keepers["handle"].release()
            if "pool" in keepers:
                with pytest.raises(BusyError):
                    keepers["pool"].close()
            still_out = len(neighbour.pool)
            assert still_out == (2 if set(keepers) - {"pool"} else 1)
            del keepers[name], shown
        assert len(neighbour.pool) == 1
        del pool, neighbour


# --- random programs ------------------------------------------------------------------------------


class Entry:
    """One block that is out: who holds it, and what it should hold."""

    def __init__(self, handle: PoolHandle, number: int) -> None:
        self.handle: PoolHandle | None = handle
        self.number = number
        self.views: list[Any] = []


class Programs(RuleBasedStateMachine):
    """A pool of 12 records against a dictionary of what each block that is out should hold."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(PARTICLE, 12, "raise", sanitize="zero")
        self.out: dict[int, Entry] = {}
        self.released: list[PoolHandle] = []
        self.next = 1

    def keep(self, handle: PoolHandle) -> int:
        assert not any(bytes(handle))
        handle.record["id"] = self.next
        self.out[self.next] = Entry(handle, self.next)
        self.next += 1
        return self.next - 1

    @rule(target=keys)
    def acquire(self) -> int:
        if len(self.out) < 12:
            return self.keep(self.pool.acquire())
        with pytest.raises(OutOfMemoryError):
            self.pool.acquire()
        return 0

    @rule(target=keys, count=st.integers(0, 14))
    def acquire_many(self, count: int) -> int:
        if len(self.out) + count <= 12:
            return max([self.keep(handle) for handle in self.pool.acquire_many(count)], default=0)
        with pytest.raises(OutOfMemoryError):
            self.pool.acquire_many(count)
        return 0

    @rule(key=keys, kind=st.sampled_from(["memoryview", "array", "record"]))
    def borrow(self, key: int, kind: str) -> None:
        entry = self.out.get(key)
        if entry is None or entry.handle is None:
            return
        handle = entry.handle
        entry.views.append(memoryview(handle) if kind == "memoryview" else getattr(handle, kind))

    @rule(key=keys)
    def drop_views(self, key: int) -> None:
        entry = self.out.get(key)
        if entry is not None:
            entry.views.clear()
            if entry.handle is None:
                del self.out[key]

    @rule(key=keys)
    def drop_handle(self, key: int) -> None:
        """The block stays out as long as a view lives."""
        entry = self.out.get(key)
        if entry is not None:
            entry.handle = None
            if not entry.views:
                del self.out[key]

    @rule(key=keys, by_pool=st.booleans())
    def release(self, key: int, by_pool: bool) -> None:
        entry = self.out.get(key)
        if entry is None or entry.handle is None:
            return
        handle = entry.handle
        act = (lambda: self.pool.release(handle)) if by_pool else handle.release
        if entry.views:
            with pytest.raises(BusyError):
                act()
        else:
            act()
            del self.out[key]
            self.released.append(handle)

    @rule()
    def release_again(self) -> None:
        for handle in self.released:
            with pytest.raises(InvalidArgumentError):
                handle.release()
            with pytest.raises(InvalidArgumentError):
                memoryview(handle)
        self.released.clear()

    @rule()
    def trim(self) -> None:
        assert self.pool.trim() >= 0

    @rule()
    def close(self) -> None:
        if self.out:
            with pytest.raises(BusyError):
                self.pool.close()

    @invariant()
    def content_is_kept(self) -> None:
        addresses = set()
        for entry in self.out.values():
            for view in entry.views:
                shown = np.frombuffer(view, PARTICLE)[0] if type(view) is memoryview else view
                assert shown["id"] == entry.number
            if entry.handle is not None:
                assert entry.handle.borrows == len(entry.views)
                addresses.add(entry.handle.address)
        assert len(addresses) == sum(entry.handle is not None for entry in self.out.values())

    @invariant()
    def nothing_is_lost(self) -> None:
        whole(self.pool, len(self.out))
        assert self.pool.figures().blocks <= 12


Programs.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestPrograms = Programs.TestCase
