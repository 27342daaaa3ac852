"""Arrays, versions, streams and cells from Python, within one process and between several.

Method: NumPy says what is right; writers are killed where that is the point.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import threading
import time
from typing import Any

import holdfast
import numpy as np
import pytest
from holdfast import _shm, shm
from shm_tools import FORK, killed, started

pytest_plugins = ("shm_tools",)

# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (10, "f8"),
        ((3, 4, 5), "i2"),
        ((2, 2, 2, 2, 2, 2, 2, 2), "u1"),
        (7, [("x", "f4"), ("y", "S3"), ("z", "i8", (2,))]),
        (3, ">i4"),
        (5, "M8[ns]"),
        (5, "U7"),
    ],
)
def test_array_is_the_same_in_both_handles(segment: shm.Segment, shape: Any, dtype: Any) -> None:
    made = segment.array("a", shape, dtype)
    expected = np.zeros(shape, dtype)
    assert made.ndarray.dtype == expected.dtype
    assert made.ndarray.shape == expected.shape
    assert made.nbytes == expected.nbytes
    assert (made.ndarray == expected).all()
    there = segment["a"]
    assert isinstance(there, shm.Array)
    assert (there.dtype, there.shape) == (made.dtype, made.shape)
    made.ndarray.reshape(-1).view("u1")[:] = 1
    assert there.ndarray.tobytes() == b"\1" * made.nbytes
    assert there.ndarray.ctypes.data % 64 == 0


def test_array_indexing_and_asarray(segment: shm.Segment) -> None:
    made = segment.array("a", (4, 3), "f8")
    made[1] = [1, 2, 3]
    made[2, 0] = 5
    assert made[1].tolist() == [1, 2, 3]
    assert np.asarray(made).sum() == 11
    assert np.asarray(made, "f4").dtype == np.dtype("f4")
    assert np.shares_memory(np.asarray(made), made.ndarray)
    assert len(made) == 4
    assert [row.sum() for row in made] == [0, 6, 5, 0]


def test_array_outlives_nothing(segment: shm.Segment) -> None:
    made = segment.array("a", 10, "f8")
    view = made.ndarray[2:5]
    with pytest.raises(holdfast.BusyError):
        made.close()
    other = segment.cells("c", 1)
    with pytest.raises(holdfast.BusyError, match="of a are alive"):
        segment.close()
    assert (segment.closed, other.closed, made.closed) == (False, False, False)
    view[:] = 1
    del view
    made.close()
    with pytest.raises(holdfast.InvalidArgumentError, match="closed"):
        made.ndarray


def test_array_keeps_its_segment(shm_name: str) -> None:
    array = shm.Segment(shm_name, size="1 MiB").array("a", 10, "f8").ndarray
    array[:] = 3
    assert array.sum() == 30


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        (11, "<f8", ["11", "10"]),
        ((2, 5), "<f8", ["2"]),
        (10, "<f4", ["4", "8"]),
        (10, "<i8", ["<i8", "<f8"]),
    ],
)
def test_array_of_another_type_is_refused_and_both_are_named(
    segment: shm.Segment, shape: Any, dtype: str, words: list[str]
) -> None:
    segment.array("a", 10, "<f8")
    with pytest.raises(shm.MismatchError) as caught:
        segment.array("a", shape, dtype)
    for word in words:
        assert word in str(caught.value)
    with pytest.raises(shm.MismatchError, match="array"):
        segment.queue("a", 8, size=8)


def test_shapes_are_integers_of_any_kind(segment: shm.Segment) -> None:
    assert segment.array("a", np.prod((3, 4)), "f8").shape == (12,)  # type: ignore[arg-type]
    made = segment.versioned("v", np.array([2, 3]), "f8")  # type: ignore[arg-type]
    assert made.shape == (2, 3)
    for shape in (2.5, (2.5, 3), "12", None):
        with pytest.raises(TypeError):
            segment.array("b", shape, "f8")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["O", [("a", "O")], "S0", "V0"])
def test_types_that_mean_nothing_elsewhere(segment: shm.Segment, dtype: Any) -> None:
    with pytest.raises(holdfast.InvalidArgumentError):
        segment.array("a", 3, dtype)


def test_bad_shapes(segment: shm.Segment) -> None:
    for shape in (-1, (), (4, 0), (2, -3), (1,) * 9, (1 << 40, 1 << 40)):
        with pytest.raises((holdfast.InvalidArgumentError, MemoryError)):
            segment.array("a", shape, "f8")
    assert len(segment) == 0


def _fill(array: Any) -> None:
    array[:] = 7


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_array_travels_as_a_handle(segment: shm.Segment, method: str) -> None:
    made = segment.array("a", 1000, "i4")
    assert len(pickle.dumps(made)) < 1000
    child = multiprocessing.get_context(method).Process(target=_fill, args=(made,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert made.ndarray.sum() == 7000


# --- versions ------------------------------------------------------------------------------------


def test_versions_count_up(segment: shm.Segment) -> None:
    made = segment.versioned("v", (2, 3), "f4")
    assert made.version == 0
    array, version = made.read()
    assert (array.tolist(), version) == ([[0, 0, 0], [0, 0, 0]], 0)
    assert made.write([[1, 2, 3], [4, 5, 6]]) == 1
    assert made.write(9) == 2
    array, version = made.read()
    assert (array.tolist(), version) == ([[9, 9, 9], [9, 9, 9]], 2)
    assert made.read_newer(2) is None
    newer = made.read_newer(1)
    assert newer is not None
    assert newer[1] == 2
    assert made.wait(1) == 2
    with pytest.raises(TimeoutError):
        made.wait(2, timeout=0.01)


def test_version_in_place(segment: shm.Segment) -> None:
    made = segment.versioned("v", 100, "i8")
    with made.writing() as array:
        array[:] = np.arange(100)
    assert not array.flags.writeable
    with made.writing(keep=True) as array:
        array[0] = 50
    with made.viewing() as array:
        assert int(array.sum()) == 5000
        assert not array.flags.writeable
        del array
    with pytest.raises(ZeroDivisionError), made.writing() as array:
        array[:] = -1
        raise ZeroDivisionError
    assert made.version == 2
    assert made.read()[0][0] == 50


def test_version_whose_array_is_kept_does_not_come_to_be(segment: shm.Segment) -> None:
    made = segment.versioned("v", 10, "i8")
    with pytest.raises(holdfast.BusyError), made.writing() as array:
        kept = array[:5]
    assert made.version == 0
    del kept, array
    assert made.write(2) == 1


def test_view_that_was_overtaken_says_so(segment: shm.Segment) -> None:
    made = segment.versioned("v", 10, "i8")
    made.write(1)
    with pytest.raises(shm.StaleError), made.viewing():
        made.write(2)
        made.write(3)


def test_view_of_the_zeroes_is_overtaken_like_any_other(segment: shm.Segment) -> None:
    made = segment.versioned("v", 10, "i8")
    with made.viewing() as array:
        made.write(1)
        assert array.tolist() == [0] * 10
        del array
    with pytest.raises(shm.StaleError), segment.versioned("w", 10, "i8").viewing():
        for number in range(2):
            segment.versioned("w", 10, "i8").write(number)


def test_out_must_fit(segment: shm.Segment) -> None:
    made = segment.versioned("v", (2, 3), "f4")
    out = np.empty((2, 3), "f4")
    assert made.read(out)[0] is out
    for bad in (np.empty((3, 2), "f4"), np.empty((2, 3), "f8"), np.empty((3, 2), "f4").T):
        with pytest.raises(holdfast.InvalidArgumentError):
            made.read(bad)


def _write_for_ever(made: Any, begun: Any) -> None:
    number = made.version
    while True:
        number += 1
        made.write(number)
        begun.set()


def test_snapshots_are_whole_beside_writers_that_are_killed(segment: shm.Segment) -> None:
    made = segment.versioned("v", 20_000, "i8", buffers=8)
    last = 0
    for _ in range(5):
        begun = FORK.Event()
        child = started(_write_for_ever, made, begun)
        assert begun.wait(60)
        for _ in range(20):
            array, version = made.read()
            assert (array == version).all()
            assert version >= last
            last = version
        killed(child)
        array, version = made.read()
        assert (array == version).all()
    assert made.write(0) > last - 1
    assert made.check() == []


def test_elements_without_a_format_are_raw(segment: shm.Segment) -> None:
    for size, dtype in (
        (24, "V24"),
        (1, "u1"),
    ):  # as C and C++ make them, with records of their own
        core = _shm.array_open(segment._core, f"a{size}", 1, (10,), size, "")
        core.close()
        core = _shm.versioned_open(segment._core, f"v{size}", 1, (10,), size, "", 2)
        core.close()
        array: Any = segment[f"a{size}"]
        assert (array.dtype, array.nbytes) == (np.dtype(dtype), 10 * size)
        array.ndarray.view("u1")[-1] = 7
        versions: Any = segment[f"v{size}"]
        versions.write(array.ndarray)
        assert versions.read()[0].tobytes() == b"\0" * (10 * size - 1) + b"\7"


def test_a_format_of_another_size_is_refused(segment: shm.Segment) -> None:
    _shm.array_open(segment._core, "a", 1, (10,), 4, "<f8").close()
    with pytest.raises(holdfast.InvalidArgumentError, match=r"<f8.* 8 bytes.* 4 bytes"):
        segment["a"]


# --- streams -------------------------------------------------------------------------------------


def test_every_reader_gets_everything(segment: shm.Segment) -> None:
    made = segment.ring("r", 100, dtype="i8")
    first, second = made.reader(), made.reader()
    assert made.push(np.arange(10)) == 10
    made.push(10)
    assert first.pop(5).tolist() == [0, 1, 2, 3, 4]
    assert first.peek(2).tolist() == [5, 6]
    assert first.pop(100).tolist() == [5, 6, 7, 8, 9, 10]
    assert second.pop(100).tolist() == list(range(11))
    with pytest.raises(shm.EmptyError):
        first.pop(timeout=0)
    assert (made.total_written, made.oldest) == (11, 0)
    assert made.latest(3).tolist() == [8, 9, 10]
    assert made.read_at(4, 2).tolist() == [4, 5]
    assert len(made.readers()) == 2


def test_who_stops_iterating_has_lost_nothing(segment: shm.Segment) -> None:
    made = segment.ring("r", 100, dtype="i8")
    reader = made.reader()
    made.push(np.arange(50))
    seen = []
    for element in reader:
        seen.append(int(element))
        if element == 6:
            break
    assert (reader.position, reader.lag, reader.lost) == (7, 43, 0)
    assert seen + reader.pop(1 << 60).tolist() == list(range(50))
    assert reader.peek(1 << 60).tolist() == []


def test_slow_reader_is_told_what_it_lost(segment: shm.Segment) -> None:
    made = segment.ring("r", 64, dtype="i8")
    reader = made.reader()
    for number in range(1000):
        made.push(number)
    got = reader.pop(1000)
    assert reader.lost + len(got) == 1000
    assert got.tolist() == list(range(1000 - len(got), 1000))
    late = made.reader("newest")
    made.push(7)
    assert late.pop(10).tolist() == [7]
    assert late.lost == 0
    with pytest.raises(shm.StaleError):
        made.read_at(0, 1)


def test_reliable_ring_waits_for_its_readers(segment: shm.Segment) -> None:
    made = segment.ring("r", 8, dtype="i8", reliable=True)
    reader = made.reader()
    assert made.push(np.arange(20), timeout=0) == 8
    assert reader.pop(3).tolist() == [0, 1, 2]
    assert made.push(np.arange(20), timeout=0.01) == 3
    reader.close()
    assert made.push(np.arange(20), timeout=0) >= 8


def test_ring_in_place(segment: shm.Segment) -> None:
    made = segment.ring("r", 16, dtype="f4")
    reader = made.reader()
    with made.writing(4) as run:
        run[:] = 1.5
    assert not run.flags.writeable
    with pytest.raises(holdfast.BusyError), made.writing(4) as run:
        kept = run[1:]
    del kept
    with pytest.raises(ZeroDivisionError), made.writing(4) as run:
        run[:] = 9
        raise ZeroDivisionError
    made.push(2.5)
    assert reader.pop(16).tolist() == [1.5] * 4 + [2.5]


def test_elements_are_read_in_place(segment: shm.Segment) -> None:
    made = segment.ring("r", 8, dtype="i8")
    reader = made.reader()
    with reader.viewing(4) as run:
        assert run.tolist() == []
    made.push(np.arange(6))
    with reader.viewing(4) as run:
        assert run.tolist() == [0, 1, 2, 3]
        assert not run.flags.writeable
        with pytest.raises(holdfast.BusyError):
            reader.close()
        del run
    with pytest.raises(ZeroDivisionError), reader.viewing(4):
        raise ZeroDivisionError
    assert reader.position == 4
    with pytest.raises(shm.StaleError), reader.viewing(4):
        made.push(np.arange(6, 13))  # over 4, not over 5
    assert (reader.position, reader.lost) == (6, 1)
    with reader.viewing(100) as run:
        assert run.tolist() == [6, 7]  # then the memory ends
        del run
    assert reader.pop(100).tolist() == [8, 9, 10, 11, 12]
    reader.close()


def test_reader_that_waits_is_not_closed(segment: shm.Segment) -> None:
    made = segment.ring("r", 8, dtype="i8")

    def wait(reader: shm.RingReader, got: list[Any]) -> None:
        with contextlib.suppress(holdfast.InvalidArgumentError):  # closed before it came to it
            got.extend(reader.pop(8, timeout=60))

    for pause in (0.05, 0.5, 5.0):
        got: list[Any] = []
        reader = made.reader("newest")
        waiter = threading.Thread(target=wait, args=(reader, got))
        waiter.start()
        time.sleep(pause)
        try:
            reader.close()
        except holdfast.BusyError:
            break
        waiter.join(60)
    assert not reader.closed
    made.push([1, 2])
    waiter.join(60)
    assert got == [1, 2]


@pytest.mark.parametrize("dtype", ["M8[ns]", "U3", ">i4", [("a", "i4"), ("b", "S3")]])
def test_ring_of_every_dtype(segment: shm.Segment, dtype: Any) -> None:
    made = segment.ring("r", 8, dtype=dtype)
    assert made.latest(0).dtype == np.dtype(dtype)
    assert len(made.latest(4)) == 0
    values = np.zeros(5, dtype)
    values.view("u1")[:] = 0
    assert made.push(values) == 5
    assert (made.latest(8) == values).all()
    assert len(made.read_at(0, 0)) == 0


def test_ring_of_bytes(segment: shm.Segment) -> None:
    made = segment.ring("r", 16, size=4)
    made.push(b"abcdefgh")
    assert made.latest(4).tobytes() == b"abcdefgh"
    with pytest.raises(holdfast.InvalidArgumentError):
        made.push(b"abc")


def _stream(made: Any) -> None:
    number = made.total_written
    while True:
        made.push(np.arange(number, number + 50))
        number += 50


def test_stream_goes_on_after_its_writer_was_killed(segment: shm.Segment) -> None:
    made = segment.ring("r", 4096, dtype="i8")
    reader = made.reader()
    expected = 0
    for _ in range(5):
        child = started(_stream, made)
        for _ in range(50):
            before = reader.lost
            got = reader.pop(500, timeout=60)
            expected += reader.lost - before
            assert got.tolist() == list(range(expected, expected + len(got)))
            expected += len(got)
        killed(child)
    assert made.check() == []
    assert reader.position == expected


def test_second_living_writer_is_refused(segment: shm.Segment) -> None:
    made = segment.ring("r", 64, dtype="i8")
    made.push(1)
    child = started(made.push, 2)
    child.join(60)
    assert child.exitcode == 1
    made.release()
    child = started(made.push, 2)
    child.join(60)
    assert child.exitcode == 0
    assert made.latest(9).tolist() == [1, 2]


# --- cells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i8", "u8", "i4", "u4", "f8"])
@pytest.mark.parametrize("packed", [False, True])
def test_cells(segment: shm.Segment, dtype: str, packed: bool) -> None:
    made = segment.cells("c", 4, dtype, packed=packed)
    assert made.add(5) == 0
    assert made.add(2) == 5
    made[1] = 9
    assert made.exchange(3, 1) == 9
    assert made.maximum(8, 1) == 3
    assert made.minimum(2, 1) == 8
    assert made.compare_exchange(2, 4, 1) == (True, 2)
    assert made.compare_exchange(2, 5, 1) == (False, 4)
    assert made.array().tolist() == [7, 4, 0, 0]
    assert made[-3] == 4
    assert (segment["c"].dtype, len(segment["c"])) == (np.dtype(dtype), 4)
    with pytest.raises(IndexError):
        made[4]
    with pytest.raises(TypeError):
        made[0] = "x"  # type: ignore[assignment]


def test_cells_of_other_types_are_refused(segment: shm.Segment) -> None:
    with pytest.raises(holdfast.InvalidArgumentError):
        segment.cells("c", 4, "f4")
    segment.cells("c", 4, "i8")
    with pytest.raises(shm.MismatchError):
        segment.cells("c", 4, "f8")


def _count(made: Any, times: int) -> None:
    for _ in range(times):
        made.add(1)


def test_nothing_is_lost_in_counting(segment: shm.Segment) -> None:
    made = segment.cells("c")
    children = [started(_count, made, 5000) for _ in range(3)]
    for child in children:
        child.join(60)
    assert made[0] == 15000


def test_waiting_for_a_cell(segment: shm.Segment) -> None:
    made = segment.cells("c")
    assert not made.wait(0, timeout=0.01)

    def change() -> None:
        time.sleep(0.05)
        made.store(1)
        made.notify()

    child = started(change)
    assert made.wait(0, timeout=60)
    child.join(60)
    assert made[0] == 1
