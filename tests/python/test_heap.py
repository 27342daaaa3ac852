"""Heap and Buffer: what is promised to one who holds memory.

Method: every promise of the docstrings is taken by its word, in every profile; who borrows (a
memoryview, NumPy, DLPack) is what keeps a block alive, so borrows are made and dropped in all
orders.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import holdfast
import numpy as np
import pytest
from holdfast import BusyError, Heap, InvalidArgumentError, OutOfMemoryError

PROFILES = ("fast", "checked", "hardened", "debug")


@pytest.fixture(params=PROFILES)
def heap(request: pytest.FixtureRequest) -> Iterator[Heap]:
    with Heap(profile=request.param, name="test") as made:
        yield made
        gc.collect()


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100, 4096, 40_000, 300_000, 3 << 20])
@pytest.mark.parametrize("align", [1, 16, 64, 4096])
def test_allocate_gives_aligned_writable_bytes(heap: Heap, size: int, align: int) -> None:
    buffer = heap.allocate(size, align)
    assert buffer.size == len(buffer) == size
    assert buffer.align == align
    assert buffer.address % max(align, 16) == 0
    with memoryview(buffer) as view:
        assert view.nbytes == size
        assert not view.readonly
        pattern = bytes(i % 251 for i in range(size))
        view[:] = pattern
        assert bytes(view) == pattern
    heap.free(buffer)
    assert buffer.released


def test_free_twice_raises_and_release_twice_does_not(heap: Heap) -> None:
    buffer = heap.allocate(100)
    heap.free(buffer)
    with pytest.raises(InvalidArgumentError, match="already released"):
        heap.free(buffer)
    buffer.release()
    assert heap.stats().reports == 0


def test_buffer_without_a_block_shows_nothing() -> None:
    unmade = holdfast.Buffer.__new__(holdfast.Buffer)
    with pytest.raises(InvalidArgumentError):
        memoryview(unmade)


def test_released_buffer_shows_nothing(heap: Heap) -> None:
    buffer = heap.allocate(100)
    buffer.release()
    with pytest.raises(InvalidArgumentError):
        _ = buffer.address
    with pytest.raises(InvalidArgumentError):
        memoryview(buffer)
    with pytest.raises(InvalidArgumentError):
        np.from_dlpack(buffer)
    assert "released" in repr(buffer)


def test_free_on_another_heap_raises_and_frees_nothing(heap: Heap) -> None:
    with Heap() as other:
        buffer = heap.allocate(100)
        with pytest.raises(InvalidArgumentError, match="another heap"):
            other.free(buffer)
        assert not buffer.released
        heap.free(buffer)


def test_block_is_freed_when_the_last_borrow_dies(heap: Heap) -> None:
    before = heap.stats().blocks_in_use
    array = np.frombuffer(memoryview(heap.allocate(8000)), dtype="f8")
    part = array[10:20]
    assert heap.stats().blocks_in_use == before + 1
    assert heap.borrows == 1
    del array
    part[:] = 1.0
    assert heap.stats().blocks_in_use == before + 1
    del part
    gc.collect()
    assert heap.stats().blocks_in_use == before
    assert heap.borrows == 0


def test_buffer_that_is_dropped_is_freed(heap: Heap) -> None:
    before = heap.stats().blocks_in_use
    for size in (10, 1000, 100_000, 2 << 20):
        heap.allocate(size)
    gc.collect()
    assert heap.stats().blocks_in_use == before


def test_free_and_resize_of_a_borrowed_buffer_raise_busy(heap: Heap) -> None:
    buffer = heap.allocate(100)
    view = memoryview(buffer)
    for sin in (lambda: heap.free(buffer), buffer.release, lambda: heap.resize(buffer, 200)):
        with pytest.raises(BusyError):
            sin()
    assert buffer.borrows == 1
    view.release()
    heap.resize(buffer, 200)
    heap.free(buffer)


@pytest.mark.parametrize("profile", PROFILES)
def test_close_with_borrows_raises_busy_with_the_count(profile: str) -> None:
    heap = Heap(profile=profile)
    views = [memoryview(heap.allocate(64)) for _ in range(3)]
    array = heap.array((4, 4))
    with pytest.raises(BusyError, match="4 borrows") as caught:
        heap.close()
    assert caught.value.count == 4
    assert isinstance(caught.value, BufferError)
    assert not heap.closed
    array[:] = 2.0
    del array, views
    gc.collect()
    heap.close()
    assert heap.closed
    heap.close()


def test_closed_heap_refuses_everything() -> None:
    heap = Heap()
    buffer = heap.allocate(64)
    heap.close()
    assert buffer.released
    for call in (lambda: heap.allocate(1), heap.stats, heap.view, heap.check, heap.reclaim):
        with pytest.raises(InvalidArgumentError, match="closed"):
            call()
    with pytest.raises(InvalidArgumentError):
        memoryview(buffer)
    buffer.release()
    assert "closed" in repr(heap)


def test_heap_dropped_while_borrowed_lives_until_the_borrow_dies() -> None:
    heap = Heap()
    array = heap.array(1000)
    array[:] = np.arange(1000)
    del heap
    gc.collect()
    assert array.sum() == 499_500


def test_with_block_does_not_hide_the_error_inside() -> None:
    views: list[memoryview] = []
    with pytest.raises(KeyError), Heap() as heap:
        views.append(memoryview(heap.allocate(10)))
        raise KeyError("mine")
    views[0][:] = b"0123456789"
    assert bytes(views[0]) == b"0123456789"


def test_default_heap_cannot_be_closed() -> None:
    heap = holdfast.default_heap()
    with pytest.raises(InvalidArgumentError, match="default"):
        heap.close()
    buffer = heap.allocate(100)
    assert holdfast.stats().blocks_in_use >= 1
    heap.free(buffer)
    assert not heap.closed


@pytest.mark.parametrize("shape", [(), 7, np.int64(7), (3, np.int32(4)), (2, 0, 5), (5, 1, 3)])
@pytest.mark.parametrize("dtype", ["f8", "u1", "c16", [("a", "i4"), ("b", "f8")]])
def test_array_has_shape_and_dtype_and_no_copy(heap: Heap, shape: object, dtype: object) -> None:
    array = heap.array(shape, dtype, align=256, zero=True)  # type: ignore[arg-type]
    assert array.dtype == np.dtype(dtype)  # type: ignore[call-overload]
    assert array.shape == np.zeros(shape).shape  # type: ignore[call-overload]
    assert array.ctypes.data % 256 == 0
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert not array.tobytes().strip(b"\0")


def test_array_of_objects_is_refused(heap: Heap) -> None:
    with pytest.raises(InvalidArgumentError, match="objects"):
        heap.array(3, "O")
    with pytest.raises(InvalidArgumentError, match="negative"):
        heap.array((2, -1))


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_dlpack_lends_the_block(heap: Heap, version: tuple[int, int] | None) -> None:
    buffer = heap.allocate(256)
    assert buffer.__dlpack_device__() == (1, 0)
    capsule = buffer.__dlpack__(max_version=version)
    assert buffer.borrows == 1
    del capsule  # nobody consumed it
    gc.collect()
    assert buffer.borrows == 0
    tensor = np.from_dlpack(buffer)
    assert tensor.ctypes.data == buffer.address
    assert tensor.shape == (256,)
    with pytest.raises(BusyError):
        heap.free(buffer)
    del tensor
    gc.collect()
    heap.free(buffer)


def test_dlpack_refuses_copies_and_other_devices(heap: Heap) -> None:
    buffer = heap.allocate(16)
    with pytest.raises(BufferError):
        buffer.__dlpack__(copy=True)
    with pytest.raises(BufferError):
        buffer.__dlpack__(dl_device=(2, 0))
    assert buffer.borrows == 0


@pytest.mark.parametrize("align", [16, 64, 4096])
def test_resize_keeps_content_and_alignment(heap: Heap, align: int) -> None:
    buffer = heap.allocate(100, align)
    memoryview(buffer)[:] = bytes(range(100))
    for size in (1000, 60_000, 2 << 20, 50, 100):
        heap.resize(buffer, size)
        assert buffer.size == size
        assert buffer.address % align == 0
        assert bytes(memoryview(buffer)[:50]) == bytes(range(50))


@pytest.mark.parametrize(
    ("size", "align"), [(-1, 16), (10, 0), (10, 3), (10, -16), (10, 24)], ids=str
)
def test_allocate_with_a_bad_argument_is_refused(heap: Heap, size: int, align: int) -> None:
    with pytest.raises(InvalidArgumentError):
        heap.allocate(size, align)


@pytest.mark.parametrize("size", [1 << 60, 1 << 63, 1 << 64, 1 << 80])
def test_more_than_there_is_raises_memory_error(heap: Heap, size: int) -> None:
    buffer = heap.allocate(100)
    for sin in (
        lambda: heap.allocate(size),
        lambda: heap.allocate(100, align=size),
        lambda: heap.resize(buffer, size),
        lambda: heap.array((size, size)),
    ):
        with pytest.raises(OutOfMemoryError) as caught:
            sin()
        assert isinstance(caught.value, MemoryError)
    heap.free(buffer)


def test_view_shows_every_live_block(heap: Heap) -> None:
    buffers = [heap.allocate(size) for size in (24, 24, 500, 50_000, 2 << 20)]
    live = {b.address: b for b in heap.view() if b.state == "live"}
    for buffer in buffers:
        block = live[buffer.address]
        assert block.class_size >= block.size >= buffer.size
        if heap.stats().profile != "fast":
            assert block.size == buffer.size
        assert block.domain == "libc"
    assert {live[b.address].tier for b in buffers} == {"small", "middle", "large"}


def test_check_of_a_sound_heap_finds_nothing(heap: Heap) -> None:
    buffers = [heap.allocate(size) for size in (1, 100, 40_000, 2 << 20)]
    assert heap.check() == 0
    del buffers
    assert heap.check() == 0


def test_names_and_ids_tell_heaps_apart() -> None:
    with Heap(name="a") as a, Heap(name="b") as b:
        assert (a.name, b.name) == ("a", "b")
        assert a.id != b.id
        assert "'a'" in repr(a)


def test_threads_share_a_heap(heap: Heap) -> None:
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            kept: list[tuple[holdfast.Buffer, bytes]] = []
            for i in range(300):
                size = (i * 37 + seed * 101) % 2000 + 1
                buffer = heap.allocate(size)
                content = bytes([seed]) * size
                memoryview(buffer)[:] = content
                kept.append((buffer, content))
                if i % 3 == 0:
                    old, expected = kept.pop(0)
                    assert bytes(memoryview(old)) == expected
                    heap.free(old)
            for buffer, content in kept:
                assert bytes(memoryview(buffer)) == content
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not errors
    gc.collect()
    assert heap.check() == 0
    assert heap.stats().blocks_in_use == 0


def test_child_of_a_fork_uses_the_heap(heap: Heap) -> None:
    buffer = heap.allocate(1000)
    memoryview(buffer)[:5] = b"fork!"
    child = os.fork()
    if child == 0:
        try:
            assert bytes(memoryview(buffer)[:5]) == b"fork!"
            for size in (10, 5000, 100_000, 3 << 20):
                heap.free(heap.allocate(size))
            heap.free(buffer)
            os._exit(0 if heap.check() == 0 else 2)
        except BaseException:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    heap.free(buffer)
