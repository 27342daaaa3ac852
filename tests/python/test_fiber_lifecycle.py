"""The ends of fibers: garbage, threads that end, forks, interpreters that end, and many at once.

Method: what must run (finally blocks) writes to a list or prints; what must go (frames, objects,
stacks) is watched by weak references and by the figures of a pool. Ends of processes are looked at
from outside.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import holdfast
import pytest
from fiber_tools import ARENAS, HEAP, PLAIN, needs_fibers, ok
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
        pool.give(stack)
        before = holdfast.report_count()
        with holdfast.on_corruption(lambda report: None), pytest.raises(InvalidArgumentError):
            pool.give(stack)
        assert holdfast.report_count() == before + 1
    for bad in ({"count_max": 0}, {"decay": -1}, {"retain": -1}, {"name": "x" * 40}):
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


# ---- threads ----


def test_four_threads_with_fibers_of_their_own() -> None:
    failures: list[BaseException] = []

    def body(seed: int) -> int:
        total = 0
        for i in range(50):
            total += suspend(i * seed)
            if i % 10 == 0:
                total += Fiber(lambda: (suspend(1), 2)[1]).resume()
        return total

    def work(seed: int) -> None:
        try:
            for _ in range(10):
                fibers = [Fiber(body) for _ in range(20)]
                assert [f.resume(seed) for f in fibers] == [0] * 20
                for i in range(1, 50):
                    assert [f.resume(1) for f in fibers] == [i * seed] * 20
                assert [f.resume(1) for f in fibers] == [50 + 5] * 20
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []


def test_thread_that_ends_closes_its_fibers() -> None:
    log: list[object] = []
    kept: list[Fiber] = []

    def body() -> None:
        try:
            suspend()
        finally:
            log.append(threading.get_ident())

    def work() -> None:
        fiber = Fiber(body)
        fiber.resume()
        kept.append(fiber)
        log.append(threading.get_ident())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert log[0] == log[1]
    assert kept[0].state == "finished"


def test_fiber_dropped_by_another_thread_is_closed_by_its_own() -> None:
    log: list[int] = []
    box: list[Fiber] = []
    dropped, go_on = threading.Event(), threading.Event()

    def body() -> None:
        try:
            suspend()
        finally:
            log.append(threading.get_ident())

    def work() -> None:
        fiber = Fiber(body)
        fiber.resume()
        box.append(fiber)
        del fiber
        go_on.set()
        dropped.wait()
        Fiber(len).resume("next switch")
        log.append(threading.get_ident())

    thread = threading.Thread(target=work)
    thread.start()
    go_on.wait()
    box.clear()
    gc.collect()
    assert log == []
    dropped.set()
    thread.join()
    assert len(log) == 2
    assert log[0] == log[1]


def test_fiber_of_the_main_thread_dropped_elsewhere_is_closed_soon() -> None:
    code = """
        import threading, time
        from holdfast import Fiber, suspend
        def body():
            try: suspend()
            finally: print("closed on main", threading.current_thread() is threading.main_thread())
        box = [Fiber(body)]
        box[0].resume()
        thread = threading.Thread(target=box.clear)
        thread.start(); thread.join()
        for _ in range(1000): pass
        print("end")
    """
    assert ok(code).splitlines() == ["closed on main True", "end"]


# ---- forks and ends of processes ----


def test_fork_inside_and_outside_of_fibers() -> None:
    def body() -> int:
        suspend("before")
        child = os.fork()
        if child == 0:
            suspend("child")
            return 7
        suspend("parent")
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    fiber = Fiber(body)
    outer = Fiber(suspend)
    outer.resume()
    assert fiber.resume() == "before"
    where = fiber.resume()
    if where == "child":
        good = fiber.resume() == 7 and outer.resume("kept") == "kept"
        new = Fiber(lambda: suspend("new")).resume() == "new"
        os._exit(7 if good and new else 1)
    assert where == "parent"
    assert fiber.resume() == 7


def test_fork_loses_the_fibers_of_other_threads() -> None:
    code = """
        import os, threading, gc
        from holdfast import Fiber, InvalidArgumentError, suspend
        box, ready, leave = [], threading.Event(), threading.Event()
        def work():
            fiber = Fiber(suspend, name="theirs")
            fiber.resume()
            box.append(fiber); ready.set(); leave.wait()
        thread = threading.Thread(target=work)
        thread.start(); ready.wait()
        mine = Fiber(suspend); mine.resume()
        child = os.fork()
        if child == 0:
            assert box[0].state == "lost", box[0].state
            try: box[0].resume()
            except InvalidArgumentError as error: assert "is lost" in str(error)
            else: os._exit(3)
            assert mine.resume(5) == 5
            box.clear(); gc.collect()
            def again():
                fiber = Fiber(suspend); fiber.resume(); fiber.close()
            threads = [threading.Thread(target=again) for _ in range(4)]
            for t in threads: t.start()
            for t in threads: t.join()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert box[0].state == "suspended"
        leave.set(); thread.join()
        assert box[0].state == "finished"
        print("good")
    """
    assert ok(code, "") == "good\n"


@pytest.mark.parametrize("through", [PLAIN, ARENAS, HEAP], ids=["plain", "arenas", "heap"])
def test_interpreter_ends_with_suspended_fibers(through: tuple[str, ...]) -> None:
    code = """
        import sys, threading
        from holdfast import Fiber, suspend, run_on_stack
        def body(name, *held):
            try: suspend()
            finally: sys.stdout.write(f"finally {name}\\n")  # one write: two threads do
        kept = [Fiber(body) for _ in range(3)]
        for i, fiber in enumerate(kept): fiber.resume(i)
        unstarted = Fiber(body)
        def ring():
            fiber = Fiber(body)
            fiber.resume("ring", [fiber])
        ring()
        def on_thread():
            fiber = Fiber(body)
            fiber.resume("thread")
            on_other.append(fiber)
        on_other = []
        thread = threading.Thread(target=on_thread)
        thread.start(); thread.join()
        print(run_on_stack(len, "abc"))
    """
    lines = ok(code, through=through).splitlines()
    assert lines.index("finally thread") < lines.index("3")
    lines.remove("3")
    names = ["0", "1", "2", "ring", "thread"]
    assert sorted(lines) == [f"finally {name}" for name in names]


def test_daemon_thread_inside_a_fiber_does_not_hinder_the_end() -> None:
    code = """
        import threading
        from holdfast import Fiber, suspend
        never, inside = threading.Event(), threading.Event()
        def wait():
            suspend()
            inside.set()
            never.wait()
        def daemon():
            fiber = Fiber(wait)
            fiber.resume()
            fiber.resume()
        threading.Thread(target=daemon, daemon=True).start()
        inside.wait()
        print("end")
    """
    for _ in range(5):
        assert ok(code) == "end\n"


@pytest.mark.parametrize("through", [PLAIN, ARENAS], ids=["plain", "arenas"])
def test_exit_and_signals_from_inside_a_fiber(through: tuple[str, ...]) -> None:
    code = """
        import sys, signal, os
        from holdfast import Fiber, suspend
        def on_signal(number, frame): raise LookupError(number)
        signal.signal(signal.SIGUSR1, on_signal)
        def signalled():
            try:
                os.kill(os.getpid(), signal.SIGUSR1)
                for _ in range(100): pass
            except LookupError as error: return error.args[0]
        assert Fiber(signalled).resume() == signal.SIGUSR1
        def leave():
            suspend()
            sys.exit(5)
        fiber = Fiber(leave); fiber.resume()
        try: fiber.resume()
        except SystemExit as error: print(error.code)
        os._exit(0) if len(sys.argv) > 3 else None
        Fiber(lambda: print("last")).resume()
    """
    assert ok(code, through=through).splitlines() == ["5", "last"]


@pytest.mark.parametrize("through", [ARENAS, HEAP], ids=["arenas", "heap"])
def test_fibers_work_under_holdfast_run(through: tuple[str, ...]) -> None:
    code = """
        import gc, json, sys
        import holdfast
        from holdfast import Fiber, suspend
        assert holdfast.is_active()
        def body(n):
            kept = []
            for i in range(n):
                kept.append(json.dumps({"i": i, "kept": len(kept)}))
                suspend(sorted(kept, key=lambda x: len(x)))
            return len(kept)
        for _ in range(5):
            fibers = [Fiber(body) for _ in range(200)]
            for fiber in fibers: fiber.resume(20)
            for _ in range(19):
                for fiber in fibers: fiber.resume()
            assert [f.resume() for f in fibers] == [20] * 200
            half = [Fiber(body) for _ in range(100)]
            for fiber in half: fiber.resume(5)
            del half, fiber
            gc.collect(); holdfast.reclaim()
        assert holdfast.check() == 0 and holdfast.report_count() == 0
        print("good")
    """
    assert ok(code, through=through) == "good\n"


def test_benchmark_measures_every_kind_it_can() -> None:
    program = Path(__file__).resolve().parents[2] / "benchmarks" / "python" / "fibers.py"
    done = subprocess.run(
        [sys.executable, str(program), "1"], capture_output=True, text=True, timeout=200, check=True
    )
    figures = json.loads(done.stdout)["figures"]
    for name in ("round_trip", "deep100", "create", "live10000", "call"):
        assert figures[f"fiber {name}"]["least"] > 0
    assert ("greenlet create" in figures) == (find_spec("greenlet") is not None)
