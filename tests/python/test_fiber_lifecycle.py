"""The ends of fibers: garbage, pools, and many at once.

Method: what must run (finally blocks) writes to a list; what must go (frames, objects, stacks) is
watched by weak references and by the figures of a pool. Threads, forks and processes that end are
test_fiber_exit.py's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import holdfast
import pytest
from fiber_tools import needs_fibers
from holdfast import BusyError, Fiber, InvalidArgumentError, OutOfMemoryError, StackPool, suspend

pytestmark = needs_fibers


class Thing:
    """Something to hold that can be watched."""


@pytest.fixture
def pool() -> Iterator[StackPool]:
    gc.collect()
    with StackPool("128 KiB", name="test") as made:
        yield made
        gc.collect()
        assert made.in_use == 0


# ---- garbage ----


def test_dropped_fiber_runs_its_finally_blocks(pool: StackPool) -> None:
    log: list[str] = []

    def body(thing: Thing) -> None:
        try:
            suspend()
        finally:
            log.append("finally")

    thing = Thing()
    watched = weakref.ref(thing)
    fiber = Fiber(body, pool=pool)
    fiber.resume(thing)
    del thing
    gc.collect()
    assert watched() is not None
    assert pool.in_use == 1
    del fiber
    assert log == ["finally"]
    assert watched() is None
    assert pool.in_use == 0


def test_fiber_known_only_to_its_own_frames_is_collected(pool: StackPool) -> None:
    log: list[str] = []

    def body(table: dict[str, Any]) -> None:
        mine = Fiber.current()
        table["fiber"] = mine
        try:
            suspend()
        finally:
            log.append("finally")

    thing, table = Thing(), dict[str, Any]()
    table["thing"] = thing
    watched = weakref.ref(thing)
    fiber = Fiber(body, pool=pool)
    fiber.resume(table)
    del fiber, table, thing
    assert watched() is not None
    gc.collect()
    assert log == ["finally"]
    assert watched() is None
    assert pool.in_use == 0


def test_fibers_that_know_each_other_are_collected(pool: StackPool) -> None:
    log: list[int] = []

    def body(number: int, others: list[Any]) -> None:
        try:
            suspend()
        finally:
            log.append(number)

    ring: list[Any] = []
    for number in range(10):
        fiber = Fiber(body, pool=pool)
        ring.append(fiber)
        fiber.resume(number, ring)
    del ring, fiber
    gc.collect()
    assert sorted(log) == list(range(10))


def test_what_a_living_fiber_holds_is_not_collected(pool: StackPool) -> None:
    def body() -> str:
        cycle: list[Any] = [Thing()]
        cycle.append(cycle)
        watched.append(weakref.ref(cycle[0]))
        suspend()
        return type(cycle[0]).__name__

    watched: list[weakref.ref[Thing]] = []
    fiber = Fiber(body, pool=pool)
    fiber.resume()
    for _ in range(3):
        gc.collect()
    assert watched[0]() is not None
    assert fiber.resume() == "Thing"
    gc.collect()
    assert watched[0]() is None


def test_arguments_results_and_exceptions_do_not_leak(pool: StackPool) -> None:
    def body(thing: Thing, *, more: Thing) -> Thing:
        suspend(thing)
        if thing is more:
            raise LookupError(thing)
        return more

    for same in (False, True):
        things = [Thing(), Thing()]
        watched = [weakref.ref(thing) for thing in things]
        fiber = Fiber(body, pool=pool)
        fiber.resume(things[0], more=things[0] if same else things[1])
        with contextlib.suppress(LookupError):
            fiber.resume(things[1])
        del things, fiber
        assert [ref() for ref in watched] == [None, None]
    new = Thing()
    ref = weakref.ref(new)
    unused = Fiber(lambda thing=new: None, pool=pool)
    del new, unused
    assert ref() is None


def test_no_references_are_lost_over_many_rounds() -> None:
    def body() -> None:
        try:
            suspend([1])
        except ValueError:
            suspend()

    def rounds(count: int) -> None:
        for i in range(count):
            fiber = Fiber(body)
            fiber.resume()
            if i % 3 == 0:
                fiber.throw(ValueError())
            if i % 2 == 0:
                fiber.close()

    rounds(50)
    gc.collect()
    before = sys.getallocatedblocks(), sys.getrefcount(None), len(gc.get_objects())
    rounds(600)
    gc.collect()
    after = sys.getallocatedblocks(), sys.getrefcount(None), len(gc.get_objects())
    assert after[2] - before[2] < 20
    assert after[0] - before[0] < 100
    assert abs(after[1] - before[1]) < 100


def test_collector_running_at_every_allocation() -> None:
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:

        def body(depth: int) -> list[Any]:
            kept: list[Any] = [[] for _ in range(3)]
            kept.append(kept)
            if depth:
                inner = Fiber(body)
                inner.resume(depth - 1)
                suspend([kept])
                return [kept, inner.resume()]
            suspend({"kept": kept})
            return kept

        for _ in range(30):
            fiber = Fiber(body)
            fiber.resume(3)
            assert fiber.resume()[0][3]
            abandoned = Fiber(body)
            abandoned.resume(2)
            del abandoned
    finally:
        gc.set_threshold(*thresholds)


def test_one_that_refuses_to_end_is_told_and_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: told.append(str(event.exc_value)))

    def stubborn() -> None:
        while True:
            with contextlib.suppress(GeneratorExit):
                suspend()

    fiber = Fiber(stubborn, name="stubborn")
    fiber.resume()
    watched = weakref.ref(fiber)
    del fiber
    gc.collect()
    assert told == ["fiber 'stubborn' ignored GeneratorExit"]
    lost = watched()
    assert lost is not None
    assert lost.state == "lost"
    with pytest.raises(InvalidArgumentError, match="is lost"):
        lost.resume()


def test_exception_in_an_abandoned_finally_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: told.append(str(event.exc_value)))

    def body() -> None:
        try:
            suspend()
        finally:
            raise LookupError("in finally")

    fiber = Fiber(body)
    fiber.resume()
    del fiber
    assert told == ["in finally"]


# ---- pools ----


def test_pool_is_busy_while_fibers_live_and_has_a_limit() -> None:
    with StackPool("128 KiB", count_max=2) as pool:
        first, second, third = (Fiber(suspend, pool=pool) for _ in range(3))
        first.resume()
        second.resume()
        with pytest.raises(OutOfMemoryError):
            third.resume()
        assert third.state == "new"
        with pytest.raises(BusyError):
            pool.close()
        assert pool.in_use == 2
        first.close()
        third.resume()
        second.close()
        third.close()
    with pytest.raises(InvalidArgumentError, match="closed"):
        Fiber(suspend, pool=pool).resume()
    with pytest.raises(InvalidArgumentError, match="closed"):
        pool.trim()
    assert pool.closed
    assert "closed" in repr(pool)


def test_pool_tells_its_figures_and_gives_memory_back() -> None:
    def deep(n: int) -> int:
        return max(map(deep, [n - 1])) + 1 if n else 0

    with StackPool("1 MiB", decay=1000, name="figures") as pool:
        assert (pool.name, pool.stack_size) == ("figures", 1 << 20)
        assert pool.guard_size >= 64 << 10
        fibers = [Fiber(lambda: (deep(300), suspend()), pool=pool) for _ in range(8)]
        for fiber in fibers:
            fiber.resume()
        assert pool.in_use == 8
        assert all(fiber.high_water > 32 << 10 for fiber in fibers)
        stats = pool.stats()
        assert stats.adds_up()
        assert stats.bytes_in_use >= 8 * (32 << 10)
        for fiber in fibers:
            fiber.close()
        assert pool.in_use == 0
        assert pool.count >= 8
        assert pool.trim() >= 8 * (32 << 10)
        assert pool.stats().adds_up()
        assert pool.count_max > 100_000
        assert isinstance(pool.light_guards, bool)
        assert pool.high_water_max >= 32 << 10


def test_stacks_are_taken_by_hand_and_given_once() -> None:
    with StackPool("64 KiB", paint=True) as pool:
        stack = pool.take("by hand")
        assert stack.stack_ptr % 16 == 0
        assert stack.stack_ptr == stack.guard_high
        assert stack.guard_low <= stack.stack_ptr - stack.size - pool.guard_size
        assert pool.high_water(stack) == 0
        for wrong in ({"index": 1 << 32}, {"generation": -1}, {"index": -1}):
            with pytest.raises(InvalidArgumentError):
                pool.give(dataclasses.replace(stack, **wrong))
        pool.give(stack)
        before = holdfast.report_count()
        with holdfast.on_corruption(lambda report: None), pytest.raises(InvalidArgumentError):
            pool.give(stack)
        assert holdfast.report_count() == before + 1
    for bad in (
        {"count_max": 0},
        {"decay": -1},
        {"retain": -1},
        {"retain": 1 << 70},
        {"name": "x" * 40},
    ):
        with pytest.raises(InvalidArgumentError):
            StackPool(**bad)  # type: ignore[arg-type]


def test_twenty_thousand_live_at_once() -> None:
    def body(i: int) -> int:
        return suspend(i) + i

    with StackPool("128 KiB", name="many") as pool:
        fibers = [Fiber(body, pool=pool) for _ in range(20_000)]
        assert sum(fiber.resume(i) for i, fiber in enumerate(fibers)) == 199_990_000
        assert pool.in_use == 20_000
        gc.collect()
        assert sum(fiber.resume(1) for fiber in fibers) == 199_990_000 + 20_000
        assert pool.in_use == 0
