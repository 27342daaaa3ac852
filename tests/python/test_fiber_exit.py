"""Fibers whose thread, process or interpreter ends, or forks, before they do.

Method: what must run (finally blocks) writes to a list or prints. Ends of processes are looked at
from outside.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest
from fiber_tools import ARENAS, HEAP, PLAIN, needs_fibers, ok
from holdfast import Fiber, suspend

pytestmark = needs_fibers


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
