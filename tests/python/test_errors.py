"""Exceptions, and corruption from Python: classes, callbacks, policy raise.

Method: classes are compared with the C tables. Corruption is made on purpose on a heap of its own
by writing through ctypes past a block, and is looked for by a walk; each test that changes the
policy of the process runs in a child.
"""

from __future__ import annotations

import ctypes
import gc
import re
import subprocess
import sys
import textwrap
import threading

import holdfast
import pytest
from holdfast import Heap, HoldfastError, Report, errors

BUILTINS = {
    "OutOfMemoryError": MemoryError,
    "InvalidArgumentError": ValueError,
    "UnsupportedError": NotImplementedError,
    "BusyError": BufferError,
    "CorruptionError": RuntimeError,
    "OverflowedBlockError": RuntimeError,
    "DoubleFreeError": RuntimeError,
    "InvalidFreeError": RuntimeError,
    "UseAfterFreeError": RuntimeError,
    "StackOverflowError": RuntimeError,
    "CancelledError": RuntimeError,
}


def rows(name: str) -> list[list[str]]:
    text = (holdfast.prefix() / "include" / "holdfast" / name).read_text()
    found = re.findall(r"^HF_(?:STATUS|REPORT)\((.*)\)$", text, re.MULTILINE)
    return [re.findall(r'"[^"]*"|[^,\s][^,]*', row) for row in found]


def test_every_status_and_kind_has_its_class() -> None:
    for name, value, python, _ in rows("status.def"):
        if name != "OK":
            error = errors.from_status(int(value), "why")
            assert type(error).__name__ == python.strip('"')
            assert (error.status, str(error)) == (f"HF_{name}", "why")
    for name, python, *_ in rows("report.def"):
        assert errors.REPORT_CLASSES[name] == python.strip('"')
        assert issubclass(getattr(errors, errors.REPORT_CLASSES[name]), errors.CorruptionError)


@pytest.mark.parametrize(("name", "builtin"), BUILTINS.items())
def test_class_is_also_the_builtin_a_caller_would_catch(
    name: str, builtin: type[Exception]
) -> None:
    made = getattr(holdfast, name)
    assert issubclass(made, HoldfastError)
    assert issubclass(made, builtin)


def test_error_knows_its_status() -> None:
    with Heap() as heap, pytest.raises(holdfast.OutOfMemoryError) as caught:
        heap.allocate(1 << 60)
    assert caught.value.status in {"HF_E_NO_MEMORY", "HF_E_LIMIT"}


def overflow(heap: Heap, size: int = 100, by: int = 3) -> holdfast.Buffer:
    buffer = heap.allocate(size)
    ctypes.memset(buffer.address + size, 0x41, by)
    return buffer


@pytest.mark.parametrize("profile", ["checked", "hardened", "debug"])
def test_overflow_is_told_to_the_callback_with_everything_known(profile: str) -> None:
    seen: list[Report] = []
    heap = Heap(profile=profile, name="victim")
    buffer = overflow(heap)
    with holdfast.on_corruption(seen.append):
        assert heap.check() == 1
    assert len(seen) == 1
    report = seen[0]
    assert report.kind == "OVERFLOW"
    assert report.block == buffer.address
    assert report.block_size == 100
    assert report.damage_offset == 100
    assert report.data[:3] == b"AAA"
    assert report.heap_id == heap.id
    assert report.anchor == "overflow"
    assert "overwritten" in str(report)
    assert report.as_dict()["data"].startswith("414141")
    assert heap.stats().reports == 1
    assert heap.health().verdict == "damaged"
    assert holdfast.recent_reports()[-1].block == report.block


@pytest.mark.parametrize("size", [100, 100_000, 3 << 20])
def test_damage_that_a_walk_told_is_not_told_again_by_the_free(size: int) -> None:
    heap = Heap()
    buffer = overflow(heap, size)
    assert heap.check() == 1
    buffer.release()
    assert heap.check() == 0
    assert heap.stats().reports == 1
    assert heap.stats().adds_up()


def test_removed_callback_is_not_called() -> None:
    seen: list[Report] = []
    watch = holdfast.on_corruption(seen.append)
    watch.remove()
    heap = Heap()
    buffer = overflow(heap)
    assert heap.check() == 1
    assert not seen
    with holdfast.on_corruption(seen.append):
        watch.remove()  # again: the other one stays
        other = overflow(heap)
        assert heap.check() == 1
    assert len(seen) == 1
    del buffer, other


def test_callback_may_use_the_heap_and_what_it_raises_does_not_escape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    heap = Heap()

    def callback(report: Report) -> None:
        heap.free(heap.allocate(report.block_size))
        assert heap.check() >= 0
        raise KeyError("from the callback")

    buffer = overflow(heap)
    with holdfast.on_corruption(callback):
        heap.check()
    assert len(unraisable) >= 1
    del buffer


def test_corruption_met_by_another_thread_is_told() -> None:
    seen: list[Report] = []
    heap = Heap()
    buffers = [overflow(heap)]

    def work() -> None:
        heap.check()

    with holdfast.on_corruption(seen.append):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(timeout=60)
    assert [report.kind for report in seen] == ["OVERFLOW"]
    assert seen[0].thread_id == thread.native_id
    buffers.clear()


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


RAISE = """
    import ctypes, holdfast
    {prepare}
    heap = holdfast.Heap()
    buffer = heap.allocate(100)
    ctypes.memset(buffer.address + 100, 0x41, 2)
    try:
        heap.{call}
    except holdfast.OverflowedBlockError as error:
        assert isinstance(error, RuntimeError)
        assert error.report.block_size == 100, error.report
        assert "failure-modes.md#overflow" in str(error)
        print("raised")
    heap.free(heap.allocate(100))
    print("goes on")
"""


@pytest.mark.parametrize("call", ["check()", "free(buffer)"])
def test_policy_raise_becomes_an_exception_where_it_was_met(call: str) -> None:
    done = run(RAISE.format(prepare='holdfast.policy("raise")', call=call))
    assert done.stdout.split("\n")[:2] == ["raised", "goes on"], done.stderr


def test_policy_raise_from_the_environment() -> None:
    done = run(RAISE.format(prepare="", call="check()"), HOLDFAST_ON_CORRUPTION="raise")
    assert done.stdout.split("\n")[:2] == ["raised", "goes on"], done.stderr


def test_policy_raise_reaches_the_main_thread_at_a_safe_point() -> None:
    done = run(
        """
        import ctypes, gc, holdfast
        holdfast.policy("raise")
        heap = holdfast.Heap()
        buffer = heap.allocate(100)
        ctypes.memset(buffer.address + 100, 0x41, 2)
        try:
            del buffer          # freed by the interpreter: no call of ours is there to raise
            for _ in range(1000):
                pass
        except holdfast.OverflowedBlockError as error:
            print("raised", error.report.kind)
        """
    )
    assert done.stdout == "raised OVERFLOW\n", done.stderr


def test_policy_abort_aborts() -> None:
    done = run(
        """
        import ctypes, holdfast
        holdfast.policy("abort")
        heap = holdfast.Heap()
        buffer = heap.allocate(100)
        ctypes.memset(buffer.address + 100, 0x41, 2)
        heap.check()
        print("not reached")
        """
    )
    assert done.returncode == -6
    assert "not reached" not in done.stdout


def test_policy_of_another_name_is_refused() -> None:
    with pytest.raises(holdfast.InvalidArgumentError, match="report, abort, raise"):
        holdfast.policy("explode")


def test_double_free_behind_our_back_is_reported() -> None:
    seen: list[Report] = []
    # Preloaded, the process has one heap, and its functions are found first in the process itself.
    path = None if holdfast.is_active() else str(holdfast.library("libholdfast.so"))
    library = ctypes.CDLL(path)
    library.hf_free.argtypes = [ctypes.c_void_p]
    heap = Heap()
    buffer = heap.allocate(100)
    library.hf_free(buffer.address)
    with holdfast.on_corruption(seen.append):
        heap.free(buffer)
    assert [report.kind for report in seen] == ["DOUBLE_FREE"]
    gc.collect()
    assert errors.from_report(seen[0]).__class__ is holdfast.DoubleFreeError
