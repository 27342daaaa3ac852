"""holdfast.numpy: array memory from where it was asked for, and never dangling.

Method: every promise of the docstrings by its word; whose memory an array is on is asked of
`owner_of`, of the handler's counters and of the heap's own statistics.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import pickle
import threading
from collections.abc import Iterator

import holdfast
import pytest
from holdfast import BusyError, Heap, InvalidArgumentError, UnsupportedError

np = pytest.importorskip("numpy")
hnp = pytest.importorskip("holdfast.numpy")


@pytest.fixture
def heap() -> Iterator[Heap]:
    with Heap(name="arrays") as made:
        yield made
        gc.collect()


class Holder:
    array: object


def kind(array: object) -> str:
    return hnp.owner_of(array).kind


@pytest.mark.parametrize("size", [0, 1, 7, 8, 63, 64, 100, 1000, 5000, 100_000, 3 << 20])
def test_arrays_made_inside_are_on_the_heap_and_aligned(heap: Heap, size: int) -> None:
    with hnp.allocator(heap):
        made = [np.empty(size, "u1"), np.zeros(size, "u1"), np.ones(size, "u1")]
        made.append(made[2] + made[2])
    outside = np.empty(size, "u1")
    for array in made:
        owner = hnp.owner_of(array)
        assert (owner.kind, owner.name, owner.id, owner.object) == ("heap", "arrays", heap.id, heap)
        assert hnp.is_aligned(array)
        assert hnp.is_aligned(array, 64)
    assert not made[1].any()
    assert (made[3] == 2).all()
    assert kind(outside) == "numpy"


def test_zeros_are_zero_after_dirty_blocks_died(heap: Heap) -> None:
    with hnp.allocator(heap):
        for size in (10, 500, 4000, 200_000, 5_000_000):
            for _ in range(3):
                np.empty(size, "u1").fill(255)
                assert not np.zeros(size, "u1").any(), size


def test_array_outlives_the_block_and_the_heap_object() -> None:
    heap = Heap(name="short")
    with hnp.allocator(heap):
        array = np.arange(1000)
        view = array[::2]
    with pytest.raises(BusyError) as caught:
        heap.close()
    assert caught.value.count == 1
    del heap, array, caught  # the traceback refers to the heap
    gc.collect()
    assert (view == np.arange(0, 1000, 2)).all()
    assert hnp.owner_of(view).object is None
    assert hnp.owner_of(view).name == "short"


def test_close_says_how_many_arrays_live(heap: Heap) -> None:
    with hnp.allocator(heap):
        arrays = [np.empty(n) for n in (1, 10, 1000, 100_000)]
        assert heap.borrows == 4
        with pytest.raises(BusyError) as caught:
            heap.close()
        assert caught.value.count == 4
    arrays.clear()
    heap.close()
    assert heap.closed


def test_heap_is_clean_when_the_block_ended_and_the_arrays_died(heap: Heap) -> None:
    before = heap.stats().blocks_in_use
    with hnp.allocator(heap):
        for n in range(200):
            np.empty(n) + 1
    assert heap.borrows == 0
    assert heap.stats().blocks_in_use == before
    assert heap.check() == 0


def test_closed_heap_is_refused(heap: Heap) -> None:
    heap.close()
    with pytest.raises(InvalidArgumentError), hnp.allocator(heap):
        pass


def test_nested_blocks_restore_what_was_before(heap: Heap) -> None:
    with Heap(name="inner") as inner:
        with hnp.allocator(heap):
            with hnp.allocator(inner):
                assert hnp.owner_of(np.empty(10)).name == "inner"
            assert hnp.owner_of(np.empty(10)).name == "arrays"
        assert kind(np.empty(10)) == "numpy"


def test_block_left_by_an_exception_restores_too(heap: Heap) -> None:
    with pytest.raises(ZeroDivisionError), hnp.allocator(heap):
        1 / 0
    assert kind(np.empty(10)) == "numpy"


def test_one_allocator_is_entered_again_and_inside_itself(heap: Heap) -> None:
    block = hnp.allocator(heap)
    for _ in range(3):
        with block:
            with block:
                assert kind(np.empty(10)) == "heap"
            assert kind(np.empty(10)) == "heap"
        assert kind(np.empty(10)) == "numpy"


@pytest.mark.parametrize("first", [1, 10, 300, 5000, 200_000])
@pytest.mark.parametrize("second", [1, 12, 700, 6000, 300_000])
def test_resize_keeps_content_and_owner(heap: Heap, first: int, second: int) -> None:
    with hnp.allocator(heap):
        array = np.arange(first, dtype="i8")
        repeated = np.resize(array, second)
    array.resize(second, refcheck=False)  # outside the block: the array keeps its handler
    common = min(first, second)
    assert (array[:common] == np.arange(common)).all()
    assert not array[common:].any()
    assert (repeated == np.arange(second) % first).all()
    assert hnp.owner_of(array).name == hnp.owner_of(repeated).name == "arrays"
    assert hnp.is_aligned(array)
    assert heap.check() == 0


def test_resize_many_times_keeps_content(heap: Heap) -> None:
    with hnp.allocator(heap):
        array = np.arange(10, dtype="i4")
        expected = list(range(10))
        for size in (100, 50_000, 40_000, 3_000_000, 900_000, 70_000, 5, 80, 0, 7):
            array.resize(size, refcheck=False)
            expected = (expected + [0] * size)[:size]
            assert array.tolist() == expected
    assert heap.check() == 0


def test_threads_start_without_the_handler_and_have_their_own(heap: Heap) -> None:
    found: dict[str, str] = {}

    def plain() -> None:
        found["plain"] = kind(np.empty(10))

    def own() -> None:
        with Heap(name="own") as mine, hnp.allocator(mine):
            found["own"] = hnp.owner_of(np.empty(10)).name

    with hnp.allocator(heap):
        for body in (plain, own):
            thread = threading.Thread(target=body)
            thread.start()
            thread.join()
        found["here"] = hnp.owner_of(np.empty(10)).name
    # Python 3.14 lets threads inherit the context.
    assert found["plain"] in ("numpy", "heap")
    assert (found["own"], found["here"]) == ("own", "arrays")


def test_arrays_freed_by_other_threads(heap: Heap) -> None:
    with hnp.allocator(heap), concurrent.futures.ThreadPoolExecutor(4) as pool:
        context = contextvars.copy_context()

        def work(seed: int) -> float:
            run = context.copy()
            return run.run(lambda: sum(float(np.full(n, 1.0).sum()) for n in range(seed, 400, 7)))

        kept = [np.ones(n) for n in range(300)]
        results = list(pool.map(work, range(16)))
        pool.submit(kept.clear).result()
    assert results == [float(sum(range(seed, 400, 7))) for seed in range(16)]
    assert heap.borrows == 0
    assert heap.check() == 0


def test_task_that_outlives_the_block_gets_the_default_heap() -> None:
    async def late(gate: asyncio.Event) -> tuple[str, object]:
        inside = kind(np.empty(100))
        await gate.wait()
        return inside, np.arange(100)

    async def main() -> None:
        gate = asyncio.Event()
        heap = Heap(name="tasks")
        with hnp.allocator(heap):
            task = asyncio.create_task(late(gate))
            await asyncio.sleep(0)
            threaded = await asyncio.to_thread(lambda: kind(np.empty(10)))
            own = kind(np.empty(10))
        assert own == threaded == "heap"
        assert kind(np.empty(10)) == "numpy"
        heap.close()  # nothing lives on it: the task's next array must not either
        gate.set()
        inside, array = await task
        assert inside == "heap"
        assert (array == np.arange(100)).all()
        array.resize(5000, refcheck=False)
        assert (array[:100] == np.arange(100)).all()
        assert not array[100:].any()

    asyncio.run(main())


def test_tasks_do_not_disturb_each_other() -> None:
    async def one(name: str, turns: int) -> None:
        with Heap(name=name) as heap, hnp.allocator(heap):
            for _ in range(turns):
                assert hnp.owner_of(np.empty(10)).name == name
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(one(f"task {i}", 5 + i) for i in range(8)))
        assert kind(np.empty(10)) == "numpy"

    asyncio.run(main())


def test_generator_closed_elsewhere_leaves_that_context_alone(heap: Heap) -> None:
    def arrays() -> Iterator[object]:
        with hnp.allocator(heap):
            yield np.empty(10)
            yield np.empty(10)

    generator = arrays()
    context = contextvars.copy_context()
    assert kind(context.run(next, generator)) == "heap"
    with Heap(name="other") as other, hnp.allocator(other):
        generator.close()  # type: ignore[attr-defined]
        assert hnp.owner_of(np.empty(10)).name == "other"
    assert kind(np.empty(10)) == "numpy"
    # The context the generator was started in still has its handler; that block is over.
    assert kind(context.run(np.empty, 10)) == "heap"
    late = context.run(np.ones, 10)
    assert heap.borrows == 0
    assert late.sum() == 10


def test_blocks_that_end_out_of_order_leave_nothing_behind() -> None:
    def generator() -> Iterator[None]:
        with hnp.allocator(holdfast.Heap(name="inner")):
            yield

    for closes_elsewhere in (False, True):
        for depth in (1, 3):
            running = [generator() for _ in range(depth)]
            for one in running:
                next(one)
            with hnp.allocator(holdfast.Heap(name="outer")):
                for one in running:  # the oldest first
                    if closes_elsewhere:
                        contextvars.copy_context().run(one.close)
                    else:
                        one.close()
                assert hnp.owner_of(np.zeros(3)).name == "outer"
            assert hnp.owner_of(np.zeros(3)).kind == "numpy"


def test_views_and_memoryviews_keep_the_memory(heap: Heap) -> None:
    with hnp.allocator(heap):
        array = np.arange(100)
    part = memoryview(array[10:20])
    reshaped = array.reshape(10, 10).T
    del array
    assert heap.borrows == 1
    assert part.tolist() == list(range(10, 20))
    assert hnp.owner_of(reshaped).size == 800
    del reshaped, part
    assert heap.borrows == 0


def test_pickled_and_copied_arrays_are_independent(heap: Heap) -> None:
    with hnp.allocator(heap):
        array = np.arange(1000.0)
    other = pickle.loads(pickle.dumps(array, protocol=5))
    same = array.copy()
    assert kind(same) == kind(other) == "numpy" or kind(other) == "foreign"
    assert (other == array).all()


def test_object_arrays_work_inside(heap: Heap) -> None:
    with hnp.allocator(heap):
        array = np.array([[1], "two", None] * 100, dtype=object)
        array = np.concatenate([array, array])
    assert array[300] == [1]
    del array
    assert heap.borrows == 0


def test_memory_error_when_the_heap_is_full() -> None:
    with Heap(name="small", limit="8M") as heap, hnp.allocator(heap):
        with pytest.raises(MemoryError):
            np.empty(64 << 20)
        array = np.ones(1000)
        with pytest.raises(MemoryError):
            array.resize(64 << 20, refcheck=False)
        assert array.sum() == 1000
        del array


def test_hugepages_and_node_have_heaps_of_their_own() -> None:
    with hnp.allocator("hugepages"):
        large = np.ones(4 << 20, "u1")
    with hnp.allocator(node=0):
        local = np.ones(100)
    assert hnp.owner_of(large).name == "arrays, huge pages"
    assert hnp.owner_of(local).name == "arrays, node 0"
    with pytest.raises(InvalidArgumentError, match="node 99"):
        hnp.allocator(node=99)
    with pytest.raises(InvalidArgumentError, match="hugepages"):
        hnp.allocator("small pages")
    with pytest.raises(InvalidArgumentError, match="int lends no memory"):
        hnp.allocator(7)
    with Heap() as heap, pytest.raises(InvalidArgumentError):
        hnp.allocator(heap, node=0)


def test_large_arrays_are_on_huge_pages_where_the_kernel_has_them() -> None:
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
        if "[never]" in file.read():
            pytest.skip("this kernel gives no transparent huge pages")
    with hnp.allocator("hugepages"):
        array = np.ones(32 << 20, "u1")
    flags, inside = "", False
    address = array.ctypes.data + (8 << 20)
    with open("/proc/self/smaps") as file:
        for line in file:
            head = line.split(None, 1)[0]
            if "-" in head and not head.endswith(":"):
                first, last = (int(part, 16) for part in head.split("-"))
                inside = first <= address < last
            elif inside and head == "VmFlags:":
                flags = line
    assert " hg" in flags


def test_owner_of_buffers_and_foreign_memory(heap: Heap) -> None:
    assert kind(np.frombuffer(bytearray(10), "u1")) == "foreign"
    buffer = heap.allocate(100)
    owner = hnp.owner_of(np.frombuffer(memoryview(buffer), "u1")[5:])
    assert (owner.kind, owner.object, owner.address) == ("buffer", buffer, buffer.address)
    with pytest.raises(TypeError):
        hnp.owner_of([1, 2])


def test_is_aligned() -> None:
    array = np.frombuffer(bytearray(200), "u1")
    offset = -array.ctypes.data % 64
    assert hnp.is_aligned(array[offset:])
    assert not hnp.is_aligned(array[offset + 1 :], 2)
    with pytest.raises(InvalidArgumentError):
        hnp.is_aligned(array, 48)


def test_place_says_what_it_did(heap: Heap) -> None:
    with hnp.allocator(heap):
        array = np.ones(1 << 20, "u1")
    placed = hnp.place(array, 0)
    if holdfast._core.node_count() == 1:
        assert placed.pages == 0
        assert "one node" in placed.note
    else:
        assert placed.pages >= 255
    assert (array == 1).all()
    with pytest.raises(InvalidArgumentError):
        hnp.place(array, 64)
    with pytest.raises(InvalidArgumentError):
        hnp.place(array[::2], 0)


def test_place_moves_nothing_it_does_not_own() -> None:
    core = holdfast._core
    array = np.ones(3 * 4096 + 100, "u1")
    pages, error = core.place_pages(array.ctypes.data, array.nbytes, 0)
    assert pages in (2, 3)
    # A container's filter may forbid the call.
    assert error in (0, 1, 38)
    assert core.place_pages(array.ctypes.data, 100, 0)[0] == 0
    assert (array == 1).all()


def test_statistics_by_class_and_dtype(heap: Heap) -> None:
    with hnp.allocator(heap):
        floats = [np.empty(100) for _ in range(5)]
        ints = Holder()
        ints.array = np.empty(50, "i4")
        local = np.empty(3, "c16")
    store = next(s for s in hnp.stats().stores if s.owner == heap.id)
    assert (store.arrays, store.bytes) == (7, 5 * 800 + 200 + 48)
    assert store.allocs == 7
    assert sum(c.arrays for c in store.classes) == 7
    assert [c.arrays for c in store.classes if c.size >= 864][:1] == [5]
    kinds = hnp.stats().by_dtype()
    assert kinds["float64"][0] >= 5
    assert kinds["int32"][1] >= 200
    assert kinds["complex128"] == (1, 48)
    assert hnp.stats().arrays >= 7
    assert {c.size for c in store.classes} <= {c.size for c in hnp.stats().classes}
    del floats, ints, local


def test_small_blocks_are_recycled(heap: Heap) -> None:
    with hnp.allocator(heap):
        array = np.empty(10)
        for _ in range(1000):
            array = np.empty(10)
        store = next(s for s in hnp.stats().stores if s.owner == heap.id)
        assert store.recycled >= 990
        assert store.bytes_cached < 4096
    del array


def test_resource_that_cannot_tell_is_not_installed() -> None:
    with pytest.raises(UnsupportedError, match="cannot tell"):
        hnp.install(holdfast.default_heap())
    assert not hnp.installed()
