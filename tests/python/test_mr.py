"""holdfast.mr and scope: resources that compose, in any order, and count what really is out.

Method: every leaf under every adaptor; NumPy, arenas and tasks as users; and programs over a model
of what is out, run through a random chain of adaptors.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import holdfast
import pytest
from holdfast import BusyError, InvalidArgumentError, OutOfMemoryError, mr
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
hnp = pytest.importorskip("holdfast.numpy")

LEAVES: dict[str, Callable[[], mr.Resource]] = {
    "heap": lambda: mr.Heap(holdfast.Heap(name="leaf")),
    "default": mr.Heap,
    "arena": lambda: mr.Arena(holdfast.Arena("1M", name="leaf")),
    "own arena": lambda: mr.Arena("1M", name="own"),
    "pool": lambda: mr.Pool("16K", name="leaf"),
    "segment": mr.Segment,
    "huge segment": lambda: mr.Segment(huge_pages=True),
}
ADAPTORS: dict[str, Callable[[mr.Resource], mr.Resource]] = {
    "none": lambda r: r,
    "limit": lambda r: mr.Limit(r, "64M"),
    "statistics": mr.Statistics,
    "track": mr.Track,
    "failure": lambda r: mr.OnFailure(r, lambda n: False),
    "prefault": mr.Prefault,
    "place": lambda r: mr.Place(r, 0),
}


@pytest.fixture(params=LEAVES)
def leaf(request: pytest.FixtureRequest) -> mr.Resource:
    return LEAVES[request.param]()


@pytest.mark.parametrize("adaptor", ADAPTORS)
def test_alloc_gives_aligned_writable_bytes(leaf: mr.Resource, adaptor: str) -> None:
    resource = ADAPTORS[adaptor](leaf)
    for size in (0, 1, 100, 4096, 10_000):
        for align in (1, 16, 64):
            buffer = resource.alloc(size, align)
            assert buffer.size == size
            assert buffer.address % max(align, 16) == 0
            pattern = bytes(i % 251 for i in range(size))
            memoryview(buffer)[:] = pattern
            assert bytes(buffer) == pattern
            buffer.release()
            assert buffer.released
    for size, align in ((-1, 16), (10, 3), (10, 0)):
        with pytest.raises(InvalidArgumentError):
            resource.alloc(size, align)


def test_buffer_keeps_the_whole_chain_alive(leaf: mr.Resource) -> None:
    buffer = mr.Statistics(mr.Limit(mr.Track(leaf), "1M")).alloc(1000, align=64)
    del leaf
    gc.collect()
    array = np.frombuffer(buffer, "u1")
    array[:] = 7
    tensor = np.from_dlpack(buffer)
    with pytest.raises(BusyError):
        buffer.release()
    del buffer
    gc.collect()
    assert (tensor == 7).all()
    assert (array == 7).all()


def test_arrays_come_from_any_resource(leaf: mr.Resource) -> None:
    counted = mr.Statistics(leaf)
    with hnp.allocator(counted):
        array = np.arange(500)
        view = array[::3]
    assert counted.counter.blocks == 1
    assert counted.counter.bytes >= 4000
    assert hnp.owner_of(view).object is counted
    del array
    assert counted.counter.blocks == 1
    assert view.tolist() == list(range(0, 500, 3))
    del view
    assert counted.counter[:1] == (0,)
    assert counted.counter.blocks == 0


def test_leaf_owners_are_busy_while_blocks_are_out() -> None:
    heap, arena = holdfast.Heap(), holdfast.Arena("1M")
    buffers = [mr.Heap(heap).alloc(10), mr.Arena(arena).alloc(10)]
    for owner in (heap, arena):
        with pytest.raises(BusyError):
            owner.close()
    buffers.clear()
    heap.close()
    arena.close()
    for leaf in (mr.Heap(heap), mr.Arena(arena)):
        with pytest.raises(InvalidArgumentError, match="closed"):
            leaf.alloc(10)


def test_limit_refuses_with_its_figures_and_recovers() -> None:
    limited = mr.Limit(mr.Heap(), 1000, name="requests")
    first = limited.alloc(600)
    with pytest.raises(OutOfMemoryError, match="'requests': 500 bytes asked for, 600 of 1000"):
        limited.alloc(500)
    assert limited.used == 600
    first.release()
    assert limited.used == 0
    limited.alloc(1000).release()
    with hnp.allocator(limited), pytest.raises(MemoryError):
        np.ones(1000)
    assert limited.used == 0


def test_statistics_push_and_pop_nest() -> None:
    counted = mr.Statistics(mr.Heap())
    outer = counted.alloc(100)
    counted.push()
    inner = [counted.alloc(10) for _ in range(5)]
    assert counted.counter == (50, 50, 50, 5, 5, 5)
    inner.clear()
    outer.release()
    assert counted.counter == (-100, 50, 50, -1, 5, 5)
    assert counted.depth == 2
    assert counted.pop().bytes_total == 50
    assert counted.counter == (0, 150, 150, 0, 6, 6)
    with pytest.raises(InvalidArgumentError):
        counted.pop()


def test_track_names_the_lines() -> None:
    tracked = mr.Track(mr.Heap(), frames=2)

    def helper() -> object:
        return tracked.alloc(1000)

    kept = [helper() for _ in range(3)]
    other = tracked.alloc(5)
    sites = tracked.leaks()
    assert list(sites.values()) == [(3, 3000), (1, 5)]
    site = next(iter(sites)).splitlines()
    assert len(site) == 2
    assert site[-1].startswith(f"{__file__}:")
    assert site[-1].endswith(" in helper")
    assert [block.size for block in tracked.outstanding()] == [1000, 1000, 1000, 5]
    del kept, other
    assert tracked.outstanding() == []


def test_log_writes_a_line_per_operation(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    logged = mr.Log(mr.Limit(mr.Heap(), 100), path)
    logged.alloc(10, 32).release()
    with pytest.raises(MemoryError):
        logged.alloc(1000)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    assert lines[0] == ["time_ns", "thread", "operation", "address", "size", "align"]
    assert [line[2] for line in lines[1:]] == ["alloc", "free", "fail"]
    assert lines[1][3:] == lines[2][3:]
    assert [int(line[0]) for line in lines[1:]] == sorted(int(line[0]) for line in lines[1:])
    with pytest.raises(FileNotFoundError):
        mr.Log(mr.Heap(), tmp_path / "none" / "log.csv")


def test_on_failure_retries_while_the_callback_says_so() -> None:
    limited = mr.Limit(mr.Heap(), 1000)
    cache = [limited.alloc(300) for _ in range(3)]
    asked: list[int] = []

    def shrink(n: int) -> bool:
        asked.append(n)
        if not cache:
            return False
        cache.pop()
        return True

    patient = mr.OnFailure(limited, shrink)
    big = patient.alloc(600)
    assert asked == [600, 600]
    assert len(cache) == 1
    with pytest.raises(OutOfMemoryError):
        patient.alloc(600)
    assert cache == []
    del big

    def angry(n: int) -> bool:
        raise RuntimeError(f"no {n}")

    with pytest.raises(RuntimeError, match="no 2000"):
        mr.OnFailure(limited, angry).alloc(2000)


def test_callback_that_raises_inside_numpy_goes_to_unraisablehook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: seen.append(info.exc_type))

    def angry(n: int) -> bool:
        raise RuntimeError(n)

    resource = mr.OnFailure(mr.Limit(mr.Heap(), 100), angry)
    with hnp.allocator(resource), pytest.raises(MemoryError):
        np.ones(1000)
    assert seen == [RuntimeError]


def test_callback_may_allocate_arrays_itself() -> None:
    limited = mr.Limit(mr.Heap(), 10_000)

    def look(n: int) -> bool:
        gc.collect()
        return bool(np.ones(10).sum() < 0)

    with hnp.allocator(mr.OnFailure(mr.Track(limited), look)):
        kept = np.ones(100)
        with pytest.raises(MemoryError):
            np.ones(100_000)
        assert kept.sum() == 100


def test_segment_blocks_fault_on_either_side() -> None:
    import subprocess

    for offset in (-1, 8192):
        code = (
            "import ctypes; from holdfast import mr; b = mr.Segment().alloc(8192);"
            f"ctypes.memset(b.address, 1, 8192); ctypes.memset(b.address + {offset}, 1, 1)"
        )
        done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
        assert done.returncode == -11


def test_prefault_has_the_pages_in_memory() -> None:
    def faults() -> int:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    size = 8 << 20
    plain, there = mr.Segment().alloc(size), mr.Prefault(mr.Segment()).alloc(size)
    arrays = [np.frombuffer(memoryview(buffer), "u1") for buffer in (plain, there)]
    counts = []
    for array in arrays:
        before = faults()
        array[::4096] = 1
        counts.append(faults() - before)
    assert counts[0] > 1000
    assert counts[1] < 100


def test_pool_resource_refuses_what_does_not_fit() -> None:
    pool = mr.Pool(256, capacity=4, name="small")
    blocks = [pool.alloc(200), *(pool.alloc(256) for _ in range(3))]
    with pytest.raises(OutOfMemoryError, match="all are out"):
        pool.alloc(1)
    blocks.clear()
    with pytest.raises(OutOfMemoryError, match="257 bytes do not fit"):
        pool.alloc(257)
    with hnp.allocator(pool):
        assert np.ones(24).sum() == 24
        with pytest.raises(MemoryError):
            np.ones(25)


def test_use_is_per_context_and_nests() -> None:
    assert isinstance(mr.current(), mr.Heap)
    seen: list[mr.Resource] = []
    with mr.use(mr.Segment()) as outer, mr.use(holdfast.Heap(name="inner")) as inner:
        assert mr.current() is inner
        thread = threading.Thread(target=lambda: seen.append(mr.current()))
        thread.start()
        thread.join()
        assert contextvars.copy_context().run(mr.current) is inner
        with pytest.raises(ZeroDivisionError), mr.use(outer):
            1 / 0
        assert mr.current() is inner
        with hnp.allocator():
            assert hnp.owner_of(np.empty(10)).name == "inner"
    assert isinstance(mr.current(), mr.Heap)
    assert not isinstance(seen[0], mr.Segment)
    with pytest.raises(InvalidArgumentError, match="str is no memory resource"):
        mr.use("heap")  # type: ignore[arg-type]


def test_blocks_that_end_out_of_order_leave_nothing_behind() -> None:
    def generator(resource: mr.Resource) -> Iterator[None]:
        with mr.use(resource):
            yield

    inner, outer = mr.Segment(), mr.Segment()
    for closes_elsewhere in (False, True):
        running = generator(inner)
        next(running)
        assert mr.current() is inner
        with mr.use(outer):
            if closes_elsewhere:
                contextvars.copy_context().run(running.close)
            else:
                running.close()
            assert mr.current() is outer
        assert isinstance(mr.current(), mr.Heap)
        with mr.use(outer) as first, mr.use(outer):
            assert mr.current() is first


def test_tasks_keep_their_own_resource() -> None:
    async def one(resource: mr.Resource) -> None:
        with mr.use(resource):
            for _ in range(5):
                await asyncio.sleep(0)
                assert mr.current() is resource

    async def main() -> None:
        await asyncio.gather(*(one(mr.Segment()) for _ in range(5)))

    asyncio.run(main())


def test_arena_in_a_resource() -> None:
    counted = mr.Statistics(mr.Segment())
    with pytest.raises(InvalidArgumentError):
        holdfast.Arena(resource=counted)
    arena = holdfast.Arena("1M", resource=counted)
    assert counted.counter.bytes == 1 << 20
    array = arena.array(1000)
    del arena
    gc.collect()
    array[:] = 1
    assert counted.counter.blocks == 1
    del array
    gc.collect()
    assert counted.counter.blocks == 0


def test_scope_counts_peak_live_and_leaked() -> None:
    with holdfast.scope("load") as s:
        kept = mr.current().alloc(1000)
        mr.current().alloc(5000).release()
        assert s.live == 1000
        assert s.leaked == 0
    assert (s.peak, s.live, s.leaked, s.total, s.blocks) == (6000, 1000, 1000, 6000, 1)
    kept.release()
    assert (s.live, s.leaked) == (0, 1000)
    assert "load" in repr(s)
    with pytest.raises(InvalidArgumentError):
        s.sites()
    with pytest.raises(InvalidArgumentError), s:
        pass


def test_scopes_nest_and_bound_arrays() -> None:
    with holdfast.scope("outer", limit="1MB", sites=True) as outer:
        with holdfast.scope("inner", limit="100KB") as inner:
            array = np.ones(10_000)
            with pytest.raises(MemoryError):
                np.ones(10_000)
        assert inner.live == outer.live >= 80_000
        np.ones(50_000).sum()
        with pytest.raises(OutOfMemoryError, match="'outer'"):
            mr.current().alloc(2 << 20)
        assert outer.peak > 480_000
        assert any(__file__ in site for site in outer.sites())
    del array
    assert inner.live == outer.live == 0
    assert isinstance(mr.current(), mr.Heap)
    assert hnp.owner_of(np.ones(3)).kind == "numpy"


def test_scope_without_arrays() -> None:
    with holdfast.scope("bytes", arrays=False) as s:
        np.ones(1000)
        assert s.total == 0


@settings(max_examples=60, deadline=None)
@given(
    leaf=st.sampled_from(["heap", "own arena", "segment"]),
    chain=st.lists(st.sampled_from([name for name in ADAPTORS if name != "none"]), max_size=4),
    seed=st.integers(0, 2**32),
)
def test_any_chain_against_a_model(leaf: str, chain: list[str], seed: int) -> None:
    """Allocate, write, check, release in random order; every counter agrees with the model."""
    dice = random.Random(seed)
    resource = LEAVES[leaf]()
    counters: list[mr.Resource] = []
    for name in chain:
        resource = ADAPTORS[name](resource)
        counters.append(resource)
    out: list[tuple[object, bytes]] = []
    peak = 0
    for _ in range(60):
        if dice.random() < 0.6 or not out:
            size = dice.choice((1, 16, 100, 1000, 5000))
            buffer = resource.alloc(size, dice.choice((16, 64, 256)))
            content = dice.randbytes(size)
            memoryview(buffer)[:] = content
            out.append((buffer, content))
        else:
            buffer, content = out.pop(dice.randrange(len(out)))
            assert bytes(buffer) == content  # type: ignore[call-overload]
            if dice.random() < 0.5:
                buffer.release()  # type: ignore[attr-defined]
            del buffer
        live = sum(len(content) for _, content in out)
        peak = max(peak, live)
        for counter in counters:
            if isinstance(counter, mr.Limit):
                assert counter.used == live
            elif isinstance(counter, mr.Statistics):
                assert counter.counter[:2] == (live, peak)
                assert counter.counter.blocks == len(out)
            elif isinstance(counter, mr.Track):
                assert sum(block.size for block in counter.outstanding()) == live
    for buffer, content in out:
        assert bytes(buffer) == content  # type: ignore[call-overload]
