"""Arena from Python: blocks that die all at once, and refuse to while somebody looks at them.

Method: every promise of the docstrings by its word, with arrays, views and buffers as borrowers;
memory of the caller (bytearray, mmap) as well as the arena's own.
"""

from __future__ import annotations

import gc
import mmap
import os
import threading

import holdfast
import pytest
from holdfast import (
    Arena,
    BusyError,
    InvalidArgumentError,
    OutOfMemoryError,
    UnsupportedError,
    mr,
    shm,
)

np = pytest.importorskip("numpy")
hnp = pytest.importorskip("holdfast.numpy")


@pytest.mark.parametrize("policy", ["default", "performance", "safety"])
@pytest.mark.parametrize("align", [0, 16, 64, 4096, 1 << 21])
def test_allocate_gives_aligned_writable_bytes(policy: str, align: int) -> None:
    with Arena(policy=policy, name="bytes") as arena:
        for size in (0, 1, 100, 5000, 300_000):
            buffer = arena.allocate(size, align)
            assert buffer.size == size
            assert buffer.address % max(align, 16) == 0
            with memoryview(buffer) as view:
                view[:] = bytes(i % 251 for i in range(size))
                assert bytes(view) == bytes(i % 251 for i in range(size))
        assert arena.allocate_simd(3).address % 64 == 0
        assert arena.allocate_aligned(3, 256).address % 256 == 0
        assert arena.check() == 0
        assert arena.owns(buffer.address)


def test_wrong_arguments_are_refused() -> None:
    with Arena() as arena:
        for size, align in ((-1, 0), (10, 3), (10, -8), (10, 1 << 30)):
            with pytest.raises(InvalidArgumentError):
                arena.allocate(size, align)
        with pytest.raises(InvalidArgumentError):
            arena.bulk(-1, 10)
        for arguments in ({"shape": -1}, {"shape": 3, "align": 3}, {"shape": (1 << 40, 1 << 40)}):
            with pytest.raises(InvalidArgumentError):
                arena.array(**arguments)
        for dtype in (object, [("a", "i4"), ("b", "O")], "S"):
            with pytest.raises(InvalidArgumentError):
                arena.array(3, dtype)
        with pytest.raises(TypeError):
            arena.array()
        with pytest.raises(TypeError):
            arena.array(3, "f8", 64)
        with pytest.raises(TypeError):
            arena.array(3, order="F")
        assert arena.borrows == 0
    wide = 1 << 32
    for options in (
        *({"policy": "careless"}, {"policy": []}, {"colour": 1}, {"huge_pages": "some"}),
        *({"capacity": 1 << 63}, {"capacity": -1}, {"limit": 1 << 70}, {"alignment": wide + 16}),
        *({"min_size": wide + 1}, {"node": wide}, {"node": "x"}, {"zero": wide}, {"zero": "yes"}),
        *({"decay_ms": -1}, {"decay_ms": 1 << 64}, {"decay_ms": 1.5}, {"zero": 2}),
    ):
        with pytest.raises(InvalidArgumentError):
            Arena(**options)
    Arena(decay_ms="never", policy="safety").close()


@pytest.mark.parametrize(
    "dtype", ["u1", "f4", "f8", "c16", "S5", "M8[s]", [("x", "f4"), ("n", "i8")]]
)
@pytest.mark.parametrize("shape", [0, 7, (), (3,), (3, 4), (2, 0, 5), [2, 3, 4], np.int64(9)])
@pytest.mark.parametrize("align", [64, 4096])
def test_array_is_what_numpy_would_make(dtype: object, shape: object, align: int) -> None:
    with Arena(name="like numpy") as arena:
        array = arena.array(shape, dtype, align=align, zero=True)
        like = np.zeros(shape, dtype)
        assert (array.shape, array.dtype) == (like.shape, like.dtype)
        assert array.strides == like.strides or like.size == 0
        assert array.flags.owndata
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert array.ctypes.data % align == 0
        assert (array == like).all()
        owner = hnp.owner_of(array)
        assert (owner.kind, owner.object, owner.id) == ("arena", arena, arena.id)
        del array


def test_reset_refuses_while_arrays_live_and_says_how_many() -> None:
    with Arena() as arena:
        arrays = [arena.array(n) for n in (1, 10, 1000)]
        part = arrays[2][::2]
        view = memoryview(arena.allocate(10))
        with pytest.raises(BusyError) as caught:
            arena.reset()
        assert caught.value.count == arena.borrows == 4
        assert isinstance(caught.value, BufferError)
        arrays.clear()
        with pytest.raises(BusyError, match="2 arrays or views"):
            arena.close()
        view.release()
        del part
        arena.reset()
        assert arena.figures().resets == 1


def test_buffer_that_was_rewound_shows_nothing() -> None:
    with Arena() as arena:
        kept = arena.allocate(10)
        with arena.scope():
            inner = arena.allocate(10)
            bytes(inner)
        assert inner.released
        with pytest.raises(InvalidArgumentError, match="rewound"):
            memoryview(inner)
        memoryview(kept)[0] = 1
        arena.reset()
        with pytest.raises(InvalidArgumentError, match="reset"):
            memoryview(kept)
        fresh = arena.allocate(10)
        assert not fresh.released
    with pytest.raises(InvalidArgumentError, match="closed"):
        memoryview(fresh)


def test_scopes_nest_and_reuse_their_memory() -> None:
    with Arena() as arena:
        addresses = set()
        for _ in range(50):
            with arena.scope():
                first = arena.array(100)
                addresses.add(first.ctypes.data)
                for _ in range(3):
                    with arena.scope():
                        second = arena.array(1000)
                        second[:] = 1
                        addresses.add(second.ctypes.data)
                        assert arena.depth == 2
                        del second
                first[:] = 2
                del first
        assert len(addresses) == 2
        assert arena.figures().rewinds == 200


def test_scope_refuses_while_arrays_made_inside_live() -> None:
    with Arena() as arena:
        outside = arena.array(10)
        outside[:] = 7
        with pytest.raises(BusyError) as caught, arena.scope() as scope:
            kept = arena.array(10)
            kept[:] = 5
            assert scope.live == 1
        assert caught.value.count == 1
        assert arena.depth == 0
        # Its memory stays until the scope around it ends: here, the arena's reset.
        more = arena.array(1000)
        more[:] = 9
        assert (kept == 5).all()
        assert (outside == 7).all()
        with pytest.raises(BusyError) as caught:
            arena.reset()
        assert caught.value.count == 3
        del kept, outside, more
        arena.reset()


def test_busy_scope_inside_a_scope_goes_with_that_one() -> None:
    with Arena() as arena:
        with arena.scope() as outer:
            with pytest.raises(BusyError), arena.scope():
                kept = arena.array(50)
                buffer = arena.allocate(5)
            assert outer.live == 1
            bytes(buffer)
            reused = arena.array(50)
            del kept
            again = arena.array(50)
            assert outer.live == 2
            del reused, again
        with pytest.raises(InvalidArgumentError):
            bytes(buffer)
        arena.reset()


def test_error_leaves_a_scope_without_being_hidden() -> None:
    with Arena() as arena:
        with pytest.raises(KeyError), arena.scope():
            kept = arena.array(10)
            raise KeyError(1)
        assert arena.borrows == 1
        del kept
        arena.reset()


def test_scopes_are_left_in_order() -> None:
    with Arena() as arena:
        first, second = arena.scope(), arena.scope()
        first.__enter__()
        second.__enter__()
        with pytest.raises(InvalidArgumentError, match="in the order"):
            first.__exit__(None, None, None)
        with pytest.raises(InvalidArgumentError, match="scope is open"):
            arena.reset()
        second.__exit__(None, None, None)
        first.__exit__(None, None, None)
        with pytest.raises(InvalidArgumentError):
            first.__enter__()
        with pytest.raises(InvalidArgumentError):
            second.__exit__(None, None, None)
        with pytest.raises(InvalidArgumentError):
            arena.scope().live


def test_array_that_outlives_the_arena_object_keeps_the_memory() -> None:
    arena = Arena(name="gone")
    array = arena.array(1000)
    array[:] = 3
    del arena
    gc.collect()
    assert (array == 3).all()
    assert hnp.owner_of(array).name == "gone"
    assert any(o.name == "gone" for o in holdfast.owners())
    del array
    gc.collect()
    assert not any(o.name == "gone" for o in holdfast.owners())


def test_fixed_size_says_what_was_asked_and_what_is_left() -> None:
    with Arena("1M", "1M", name="small") as arena:
        arena.allocate(1000)
        with pytest.raises(
            OutOfMemoryError, match=r"arena 'small' is full: 2097152 bytes"
        ) as caught:
            arena.allocate(2 << 20)
        assert "left" in str(caught.value)
        with pytest.raises(MemoryError, match="small"):
            arena.array(1 << 20)
        assert arena.array(1000).size == 1000
        with pytest.raises(OutOfMemoryError):
            arena.bulk(100, 100_000)
        assert arena.array(10_000).size == 10_000


def test_arena_in_a_callers_memory() -> None:
    memory = bytearray(1 << 16)
    arena = Arena(buffer=memory, name="mine")
    array = arena.array(100, "u1")
    array[:] = 0xAB
    assert memory.count(b"\xab" * 100) == 1
    with pytest.raises(BufferError):
        memory.extend(b"more")  # the arena holds it
    with pytest.raises(OutOfMemoryError):
        arena.array(1 << 16, "u1")
    del array
    arena.close()
    memory.extend(b"more")
    with pytest.raises(InvalidArgumentError):
        Arena(buffer=bytearray(10))
    with pytest.raises(BufferError):
        Arena(buffer=b"read only" * 1000)


def test_arena_in_a_mapping_that_is_kept() -> None:
    mapping = mmap.mmap(-1, 1 << 20)
    array = Arena(buffer=mapping).array(1000)
    array[:] = 1.5
    with pytest.raises(BufferError):
        mapping.close()
    assert array.sum() == 1500
    del array
    mapping.close()


def test_arena_in_a_shared_segment() -> None:
    name = f"arena-{os.getpid()}"
    with shm.Segment(name, size="1M", mode="create") as mine:
        cells = mine.array("memory", 65536, "u1")
        arena = Arena(buffer=cells.ndarray, name="shared")
        array = arena.array(100, "u1")
        array[:] = range(100)
        assert bytes(range(100)) in cells.ndarray.tobytes()
        with pytest.raises(BusyError):
            arena.close()
        with pytest.raises(BusyError):
            cells.close()
        del array
        arena.close()


class Nosy(bytearray):
    """Memory whose end looks at the arena that stood on it."""

    def __del__(self) -> None:
        Nosy.seen = (Nosy.arena.closed, Nosy.arena.borrows)


def test_memory_of_the_caller_may_run_python_when_it_goes() -> None:
    Nosy.arena = Arena(buffer=Nosy(100_000))
    Nosy.arena.close()  # would wait for itself if the arena were locked
    assert Nosy.seen == (True, 0)


def test_arena_in_memory_of_any_owner() -> None:
    for owner in (holdfast.Heap(), Arena("4M"), mr.Heap()):
        with Arena("64K", resource=owner, name="inner") as arena:
            array = arena.array(100)
            array[:] = 7
            with pytest.raises(OutOfMemoryError):
                arena.array(100_000)
            del array
    with pytest.raises(InvalidArgumentError):
        Arena("64K", resource=3)
    with pytest.raises(InvalidArgumentError):
        Arena(resource=mr.Heap())


def test_block_of_a_with_is_given_back_at_its_end() -> None:
    with Arena("64K", track_allocations=True) as arena:
        with arena.allocate(100) as block:
            address = block.address
            memoryview(block)[:] = bytes(100)
        assert block.released
        with arena.allocate(50) as again:
            assert again.address == address  # it was the youngest
            kept = arena.allocate(10)
        assert [leak.size for leak in arena.leaks()] == [10]
        kept.release()
        kept.release()
        assert arena.leaks() == []
        with arena.scope() as scope:
            stale = arena.allocate(10)
            assert [leak.size for leak in scope.leaks()] == [10]
        fresh = arena.allocate(10)
        stale.release()  # its memory is another block's by now
        assert [leak.size for leak in arena.leaks()] == [10]
        view = memoryview(fresh)
        with pytest.raises(BusyError), fresh:
            pass
        with pytest.raises(KeyError), fresh:
            raise KeyError(1)
        view.release()


def test_scopes_beside_each_other_leave_no_marks() -> None:
    with Arena(log_operations=True) as arena:
        first = arena.allocate(16)
        for _ in range(100):
            with arena.scope():
                arena.allocate(100)
        address = first.address
        first.release()
        assert arena.allocate(16).address == address  # the youngest again, below no mark


def test_bulk_gives_distinct_blocks() -> None:
    with Arena() as arena:
        blocks = arena.bulk(100, 24, 64)
        assert len({b.address for b in blocks}) == 100
        assert all(b.address % 64 == 0 and b.size == 24 for b in blocks)
        for number, block in enumerate(blocks):
            memoryview(block)[:] = bytes([number]) * 24
        assert all(bytes(b) == bytes([n]) * 24 for n, b in enumerate(blocks))
        assert arena.bulk(0, 10) == []


def test_array_memory_is_recycled_in_loops() -> None:
    with Arena() as arena, hnp.allocator(arena):
        a = np.ones(100_000)
        r = a + a
        used = None
        for turn in range(100):
            r = (a * r + a) - r
            if turn == 5:
                used = arena.figures().bytes_in_use
        assert arena.figures().bytes_in_use == used
        assert hnp.owner_of(r).object is arena
        del a, r


def test_scope_inside_allocator_reclaims_every_iteration() -> None:
    with Arena() as arena:
        a, b = np.arange(10_000.0), np.arange(10_000.0) + 1
        with hnp.allocator(arena):
            for turn in range(200):
                with arena.scope():
                    total = float((a * b + turn).sum())
                assert total == float(np.dot(a, b)) + turn * 10_000
            before = arena.figures().bytes_in_use
            with arena.scope():
                np.ones(1 << 20)
            assert arena.figures().bytes_in_use == before


def test_resize_inside_and_after() -> None:
    with Arena() as arena:
        array = arena.array(10, "i8")
        array[:] = range(10)
        for size in (100, 100_000, 50, 5):
            array.resize(size, refcheck=False)
            assert array[:5].tolist() == [0, 1, 2, 3, 4]
            assert hnp.owner_of(array).object is arena
        del array
        arena.reset()


def test_closed_arena_refuses_and_its_handler_falls_back() -> None:
    arena = Arena(name="shut")
    block = hnp.allocator(arena)
    maker = arena.array
    with block:
        arena.close()
        late = np.ones(100)  # inside the block, but the arena is gone
    assert late.sum() == 100
    with pytest.raises(InvalidArgumentError, match="closed"):
        maker(10)
    for call in (
        arena.reset,
        arena.stats,
        lambda: arena.allocate(1),
        lambda: arena.scope().__enter__(),
        lambda: arena.array(1),
        block.__enter__,
    ):
        with pytest.raises(InvalidArgumentError):
            call()
    arena.close()
    assert "closed" in repr(arena)


def test_full_arena_raises_memory_error_in_numpy() -> None:
    with Arena("1M", "1M") as arena, hnp.allocator(arena):
        with pytest.raises(MemoryError):
            np.ones(1 << 20)
        assert hnp.owner_of(np.ones(10)).object is arena


def test_figures_and_account() -> None:
    with Arena(name="figures", statistics=True) as arena:
        for size in (1, 100, 10_000):
            arena.allocate(size)
        figures = arena.figures()
        assert figures.counted
        assert figures.blocks == figures.blocks_total == 3
        assert figures.bytes_in_use == 10_101
        assert 0 < figures.fragmentation < 1
        stats = arena.stats()
        assert stats.adds_up()
        assert stats.bytes_in_use == 10_101
        arena.reset(release=True)
        assert arena.figures().bytes_in_use == 0
        assert arena.figures().bytes_in_use_peak >= 10_101
        assert arena.stats().adds_up()


def test_safety_policy_tracks_validates_and_finds_damage() -> None:
    import ctypes

    with Arena(policy="safety", name="safe") as arena:
        buffer = arena.allocate(100)
        assert bytes(buffer) == bytes(100)
        assert arena.validate(buffer.address, 100)
        assert not arena.validate(buffer.address, 101)
        with arena.scope() as scope:
            arena.allocate(7)
            assert [block.size for block in scope.leaks()] == [7]
            array = arena.array(10)
            assert len(scope.leaks()) == 2
            del array
            assert [block.size for block in scope.leaks()] == [7]
        assert [block.size for block in arena.leaks()] == [100]
        assert {"alloc", "mark", "rewind"} <= {entry.verb for entry in arena.log()}
        assert any(block.size == 100 for block in arena.view())
        before = holdfast.report_count()
        with holdfast.on_corruption(lambda report: None):
            ctypes.memset(buffer.address + 100, 0x5A, 1)
            assert arena.check() == 1
        assert holdfast.report_count() == before + 1
        with Arena() as plain, pytest.raises(UnsupportedError):
            plain.leaks()


def test_owners_lists_arenas_with_their_figures() -> None:
    with Arena("1M", name="listed") as arena, holdfast.Heap(name="a heap"):
        arena.allocate(5000)
        found = {owner.id: owner for owner in holdfast.owners()}
        owner = found[arena.id]
        assert (owner.kind, owner.name) == ("arena", "listed")
        assert owner.stats.bytes_in_use >= 5000
        assert owner.stats.adds_up()
        assert {"heap", "arena"} <= {o.kind for o in found.values()}


def test_threads_share_an_arena() -> None:
    with Arena(thread_safe=True) as arena:
        wrong: list[str] = []

        def work(seed: int) -> None:
            for turn in range(300):
                array = arena.array(seed * 7 + turn % 50, "i4")
                array[:] = seed
                other = arena.array(100, "i4")
                other[:] = -seed
                if (array != seed).any() or (other != -seed).any():
                    wrong.append(f"{seed} {turn}")

        threads = [threading.Thread(target=work, args=(n + 1,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert arena.borrows == 0
        arena.reset()
