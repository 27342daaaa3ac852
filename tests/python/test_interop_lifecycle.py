"""Interpreters that begin, collect, fork, spawn, and end are the same under the library.

Method: each program checks itself and prints a word; both modes, every version.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from interop_tools import PROGRAMS, VERSIONS, Interpreter, interpreter_fixture

MODES = ("arenas", "heap")

COLLECT = """
import gc
gc.collect()
gc.disable()
class Node:
    pass
for _ in range(5002):
    a, b = Node(), Node()
    a.other, b.other = b, a
del a, b
print(gc.collect())
"""

SUBINTERPRETERS = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = "x = [{i: str(i)} for i in range(50_000)]; assert x[777] == {777: '777'}; del x"
for isolated in (True, False):
    alive = []
    for _ in range(4):
        try:
            alive.append(interpreters.create("isolated" if isolated else "legacy"))
        except (TypeError, ValueError):
            alive.append(interpreters.create(isolated=isolated))
    for _ in range(3):
        for one in alive:
            assert interpreters.run_string(one, code) is None
        mine = [str(i) * 3 for i in range(100_000)]
    for one in alive:
        interpreters.destroy(one)
print(len(mine))
"""

THREADS = """
import threading
def work(n):
    for turn in range(6):
        x = [{"k": (n, i), "t": str(i)} for i in range(8_000)]
        assert all(e["k"] == (n, i) and e["t"] == str(i) for i, e in enumerate(x))
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print("ok")
"""

FORK = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
stop = False
def work():
    while not stop:
        x = [str(i) for i in range(20_000)]
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
for turn in range(40):
    child = os.fork()
    if child == 0:
        x = [{i: i} for i in range(30_000)]
        del x
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    time.sleep(0.005)
stop = True
for t in threads: t.join()
print("ok")
"""

FORK_ALONE = """
import os, time, warnings
warnings.simplefilter("error")
x = [str(i) for i in range(400_000)]
del x
for pause in (0.0, 0.1, 0.3, 0.6):
    time.sleep(pause)
    child = os.fork()
    if child == 0:
        y = [str(i) for i in range(100_000)]
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("ok")
"""

ENDING = """
import atexit, sys, threading, time
class Late:
    def __del__(self):
        self.x = [str(i) for i in range(50_000)]
        time.sleep(0.05)
keep = [str(i) for i in range(500_000)]
late = Late()
sys.modules["late"] = late
def daemon():
    while True:
        x = [{} for _ in range(10_000)]
threading.Thread(target=daemon, daemon=True).start()
del keep
atexit.register(lambda: print("end"))
time.sleep(0.4)
"""

RECURSION = """
import sys
sys.setrecursionlimit(60_000)
def down(n):
    return 0 if n == 0 else 1 + down(n - 1)
for _ in range(20):
    assert down(4_000) == 4_000
wide = "def f():\\n" + "".join(f" a{i}=1\\n" for i in range(120_000)) + " return a119999"
space = {}
exec(wide, space)
filler = [str(i) for i in range(300_000)]
assert [space["f"]() for _ in range(3)] == [1, 1, 1]
print("ok")
"""


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Interpreter:
    return interpreter_fixture(request.param, tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_collect_finds_every_cycle(python: Interpreter, mode: str) -> None:
    expected = python.ok("-c", COLLECT, mode=None).out
    assert int(expected) >= 10_004
    assert python.ok("-c", COLLECT, mode=mode).out == expected


@pytest.mark.parametrize("mode", MODES)
def test_subinterpreters_with_and_without_their_own_lock(python: Interpreter, mode: str) -> None:
    assert python.ok("-c", SUBINTERPRETERS, mode=mode).out == "100000\n"


@pytest.mark.parametrize("mode", MODES)
def test_threads_keep_their_contents(python: Interpreter, mode: str) -> None:
    assert python.ok("-c", THREADS, mode=mode, HOLDFAST_DECAY_MS="20").out == "ok\n"


@pytest.mark.parametrize("mode", MODES)
def test_fork_while_threads_allocate(python: Interpreter, mode: str) -> None:
    assert python.ok("-c", FORK, mode=mode, HOLDFAST_DECAY_MS="4").out == "ok\n"


@pytest.mark.parametrize("mode", MODES)
def test_fork_of_one_thread_warns_of_no_other(python: Interpreter, mode: str) -> None:
    assert python.ok("-c", FORK_ALONE, mode=mode).out == "ok\n"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_pool_computes_the_same(
    python: Interpreter, mode: str, method: str
) -> None:
    assert python.ok(PROGRAMS / "pool.py", method, mode=mode).out == "ok 60000\n"


@pytest.mark.parametrize("mode", MODES)
def test_interpreter_ends_well_with_daemon_and_late_destructors(
    python: Interpreter, mode: str
) -> None:
    for decay_ms in ("0", "1", "500"):
        assert python.ok("-c", ENDING, mode=mode, HOLDFAST_DECAY_MS=decay_ms).out == "end\n"


@pytest.mark.parametrize("mode", MODES)
def test_frame_stacks_of_every_size_are_no_arenas(python: Interpreter, mode: str) -> None:
    assert python.ok("-c", RECURSION, mode=mode, HOLDFAST_DECAY_MS="1").out == "ok\n"
