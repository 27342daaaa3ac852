"""Others that replace or wrap CPython's allocators live with us, in every order.

Method: the orders that abort a late PyMem_SetAllocator (docs/design/0002) are run under the library
in both modes; the program must end well, its data intact. What plain Python does not survive, a
late PyMem_SetupDebugHooks, must end as it does there.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from interop_tools import VERSIONS, Interpreter, interpreter_fixture

MODES = ("arenas", "heap")

WORK = """
import gc
def work():
    x = [{"i": i, "s": str(i) * 3, "b": bytes(i % 700)} for i in range(30_000)]
    assert all(e["s"] == str(e["i"]) * 3 and len(e["b"]) == e["i"] % 700 for e in x)
    return x[::97]
before = work()
"""

CHECK = """
assert all(e["s"] == str(e["i"]) * 3 for e in before + between + after)
del before, between, after
gc.collect()
print("ok")
"""

TRACE_START_STOP = """
import tracemalloc
tracemalloc.start(5)
between = work()
tracemalloc.take_snapshot()
tracemalloc.stop()
after = work()
"""

TRACE_TWICE = """
import tracemalloc, threading
def other():
    for _ in range(3): work()
t = threading.Thread(target=other); t.start()
for _ in range(4):
    tracemalloc.start(); between = work(); tracemalloc.stop()
after = work()
t.join()
"""

TRACE_NEVER_STOPPED = """
import tracemalloc
tracemalloc.start()
between = work()
after = work()
"""

MEMRAY = """
import memray, os
with memray.Tracker("out.bin", trace_python_allocators=True):
    between = work()
    keep = work()
after = work() + keep
"""

LATE_DEBUG = """
import ctypes
ctypes.pythonapi.PyMem_SetupDebugHooks()
between = work()
after = work()
"""

# PyMem_GetAllocator, PyMem_SetAllocator with what was there: the hook that many profilers install.
RESET_ALLOCATORS = """
import ctypes
class Allocator(ctypes.Structure):
    _fields_ = [(n, ctypes.c_void_p) for n in ("ctx", "malloc", "calloc", "realloc", "free")]
for domain in range(3):
    one = Allocator()
    ctypes.pythonapi.PyMem_GetAllocator(domain, ctypes.byref(one))
    ctypes.pythonapi.PyMem_SetAllocator(domain, ctypes.byref(one))
between = work()
after = work()
"""


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Interpreter:
    return interpreter_fixture(request.param, tmp_path)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "middle",
    [TRACE_START_STOP, TRACE_TWICE, TRACE_NEVER_STOPPED, RESET_ALLOCATORS],
    ids=["start_stop", "twice_with_thread", "never_stopped", "reset"],
)
def test_hook_around_work_keeps_contents(python: Interpreter, mode: str, middle: str) -> None:
    assert python.ok("-c", WORK + middle + CHECK, mode=mode).out == "ok\n"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "arguments", [("-X", "tracemalloc=3"), ("-X", "dev"), ("-X", "importtime")]
)
def test_interpreter_option_keeps_contents(
    python: Interpreter, mode: str, arguments: tuple[str, ...]
) -> None:
    code = WORK + TRACE_START_STOP + CHECK
    assert python.ok(*arguments, "-c", code, mode=mode).out == "ok\n"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "setting", ["debug", "malloc", "malloc_debug", "pymalloc", "pymalloc_debug"]
)
def test_pythonmalloc_keeps_contents(python: Interpreter, mode: str, setting: str) -> None:
    code = WORK + TRACE_START_STOP + CHECK
    assert python.ok("-c", code, mode=mode, PYTHONMALLOC=setting).out == "ok\n"


@pytest.mark.parametrize("mode", MODES)
def test_memray_inside_keeps_contents(python: Interpreter, mode: str) -> None:
    if python.run("-c", "import memray", mode=None).status != 0:
        pytest.skip(f"memray is not installed for Python {python.version}")
    assert python.ok("-c", WORK + MEMRAY + CHECK, mode=mode).out == "ok\n"


@pytest.mark.parametrize("mode", MODES)
def test_late_debug_hooks_end_as_in_plain_python(python: Interpreter, mode: str) -> None:
    code = WORK + LATE_DEBUG + CHECK
    plain = python.run("-c", code, mode=None)
    served = python.run("-c", code, mode=mode)
    assert (served.status == 0) == (plain.status == 0)
