"""Options and limits: the table, what is refused with which sentence, budgets with callbacks.

Method: every row of options.def is set to its ends and beyond. What the environment does is
seen in a child process.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import holdfast
import pytest
from holdfast import Heap, InvalidArgumentError, Option, OutOfMemoryError, _core

OPTIONS = holdfast.all_options()


def test_table_and_defaults_agree() -> None:
    values = _core.Options().values()
    assert set(values) == set(OPTIONS)
    for name, option in OPTIONS.items():
        assert values[name] == option.default
        assert option.variable == f"HOLDFAST_{name.upper()}"
        assert option.sentence


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_every_value_of_an_option_is_taken_and_given_back(option: Option) -> None:
    values: list[str | int | None] = list(option.choices) or [option.minimum, option.maximum]
    for value in values:
        options = _core.Options()
        options.set(option.name, str(value))
        assert options.values()[option.name] == value
        again = _core.Options()
        again.set(option.name, options.text(option.name))
        assert again.values() == options.values()


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_nonsense_is_refused_with_a_sentence(option: Option) -> None:
    options = _core.Options()
    before = options.values()
    beyond = [] if option.maximum is None else [str(option.maximum + 1)]
    for text in ("", "certainly", "-1", "1.5", *beyond):
        with pytest.raises(InvalidArgumentError) as caught:
            options.set(option.name, text)
        assert len(str(caught.value)) > 10
    assert options.values() == before


def test_sizes_take_suffixes() -> None:
    with Heap(limit="64M") as heap:
        assert heap.stats().bytes_mapped <= 64 << 20
    options = _core.Options()
    for text, size in (("1K", 1 << 10), ("3M", 3 << 20), ("2G", 2 << 30)):
        options.set("limit", text)
        assert options.values()["limit"] == size


def test_unknown_option_is_refused() -> None:
    with pytest.raises(InvalidArgumentError):
        Heap(colour="blue")
    with pytest.raises(InvalidArgumentError):
        Heap(profile="paranoid")


@pytest.mark.parametrize("preload", [False, True])
def test_environment_sets_the_process_wide_heap_and_is_read_once(preload: bool) -> None:
    code = """if True:
        import holdfast, json
        print(json.dumps({"is_active": holdfast.is_active()} | holdfast.active_options()))"""
    environment = {**os.environ, "LD_PRELOAD": str(holdfast.library()) if preload else ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**environment, "HOLDFAST_PROFILE": "hardened", "HOLDFAST_DECAY_MS": "many"},
        check=True,
    )
    active = json.loads(done.stdout)
    assert active["is_active"] is preload
    assert active["profile"] == "hardened"
    assert active["decay_ms"] == OPTIONS["decay_ms"].default
    lines = [line for line in done.stderr.splitlines() if "HOLDFAST_DECAY_MS" in line]
    assert len(lines) == 1
    assert lines[0].startswith("holdfast: HOLDFAST_DECAY_MS: ")


@pytest.mark.parametrize("profile", ["fast", "checked", "hardened", "debug"])
def test_hard_limit_refuses_and_the_heap_goes_on(profile: str) -> None:
    with Heap(profile=profile, limit="32M") as heap:
        kept = []
        with pytest.raises(OutOfMemoryError) as caught:
            for _ in range(200):
                kept.append(heap.allocate(1 << 20))
        assert isinstance(caught.value, MemoryError)
        assert 0 < len(kept) < 33
        stats = heap.stats()
        assert stats.bytes_mapped <= 32 << 20
        assert (stats.limit_hits, stats.failures) == (1, 1)
        assert stats.adds_up(), stats
        kept.clear()
        heap.reclaim()
        heap.free(heap.allocate(1 << 20))


def test_limit_on_one_block() -> None:
    with Heap(limit_block=10_000) as heap:
        heap.free(heap.allocate(10_000))
        with pytest.raises(OutOfMemoryError):
            heap.allocate(10_001)
        assert heap.stats().limit_hits == 1


def test_limit_may_change_at_run_time() -> None:
    with Heap() as heap:
        heap.limit("16M")
        with pytest.raises(OutOfMemoryError):
            heap.allocate(64 << 20)
        heap.limit(None)
        heap.free(heap.allocate(64 << 20))


def test_soft_limit_tells_once_per_crossing() -> None:
    crossings: list[int] = []
    with Heap(limit_soft=8 << 20, on_soft=crossings.append) as heap:
        small = heap.allocate(1 << 20)
        assert crossings == []
        large = heap.allocate(32 << 20)
        assert len(crossings) == 1
        assert crossings[0] > 8 << 20
        heap.free(large)
        heap.reclaim()
        large = heap.allocate(32 << 20)
        assert len(crossings) == 2
        heap.free(large)
        heap.free(small)


def test_soft_limit_of_the_default_heap_is_told_whoever_set_it() -> None:
    code = """
import gc, holdfast
crossed = []
holdfast.default_heap().limit(None, soft="64M", on_soft=crossed.append)
gc.collect()
big = holdfast.default_heap().allocate(128 << 20)
assert crossed and crossed[0] > 64 << 20, crossed
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_soft_limit_that_is_crossed_already_is_told() -> None:
    crossings: list[int] = []
    with Heap() as heap:
        block = heap.allocate(16 << 20)
        heap.limit(None, soft="8 MiB", on_soft=crossings.append)
        assert len(crossings) == 1
        heap.free(block)


def test_soft_limit_crossed_by_a_block_that_grows_in_place_is_told() -> None:
    crossings: list[int] = []
    with Heap() as heap:
        heap.limit(None, soft="32M", on_soft=crossings.append)
        block = heap.allocate(24 << 20)
        assert crossings == []
        heap.resize(block, 40 << 20)
        assert len(crossings) == 1
        heap.free(block)


def test_heap_and_a_callback_that_knows_it_die_together() -> None:
    def made() -> weakref.ref[Heap]:
        heap = Heap()
        heap.limit(None, soft="8M", on_soft=lambda _: heap.reclaim())
        return weakref.ref(heap)

    reference = made()
    gc.collect()
    assert reference() is None


def test_soft_limit_crossed_by_another_thread_is_told() -> None:
    told = threading.Event()
    with Heap() as heap:
        heap.limit(None, soft="8M", on_soft=lambda _: told.set())
        kept: list[holdfast.Buffer] = []
        thread = threading.Thread(target=lambda: kept.append(heap.allocate(32 << 20)))
        thread.start()
        thread.join(timeout=60)
        assert told.wait(timeout=60)
        kept.clear()


def test_process_wide_limit_in_a_child() -> None:
    code = """
import holdfast
crossed = []
holdfast.limit("512M", soft="64M", on_soft=crossed.append)
heap = holdfast.default_heap()
big = heap.allocate(128 << 20)
assert crossed and crossed[0] > 64 << 20, crossed
try:
    heap.allocate(1 << 30)
except MemoryError as error:
    print(type(error).__name__, error.status)
holdfast.limit(None)
heap.free(heap.allocate(1 << 30))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OutOfMemoryError")


@pytest.mark.parametrize(
    ("hard", "soft", "sentence"),
    [("1M", "2M", "above"), ("1M", None, "soft"), ("much", None, "size|number|limit")],
)
def test_contradicting_limits_are_refused(hard: str, soft: str | None, sentence: str) -> None:
    with Heap() as heap, pytest.raises(InvalidArgumentError, match=sentence):
        heap.limit(hard, soft=soft, on_soft=print)


def test_callback_that_is_no_function_is_refused() -> None:
    not_callable: Any = "text"
    with Heap() as heap, pytest.raises(InvalidArgumentError, match="function"):
        heap.limit(None, soft="8M", on_soft=not_callable)


def test_size_takes_a_blank_before_its_unit_everywhere() -> None:
    with Heap(limit="64 MiB", limit_soft="8 MiB") as heap, pytest.raises(OutOfMemoryError):
        heap.allocate(65 << 20)


def test_library_says_what_it_is() -> None:
    assert holdfast.__version__ == _core.version()
    assert holdfast.is_active() in (True, False)
    assert holdfast.library().is_file()
    assert (holdfast.prefix() / "include" / "holdfast" / "holdfast.hpp").is_file()
    assert holdfast.reclaim() >= 0
