"""An overflow is fatal and named: which fiber, how large, where; then faulthandler has its say.

Method: child processes hash nested tuples, which the interpreter does without counting levels,
until the guard is hit; the report on fd 2 is compared, and the signal that ended the process.
"""

from __future__ import annotations

import re
import signal

import pytest
from fiber_tools import ARENAS, HEAP, PLAIN, child, needs_fibers, ok

pytestmark = needs_fibers

DEEP = """
import faulthandler, sys, threading
faulthandler.enable()
from holdfast import Fiber, StackPool, run_on_stack, suspend
t = ()
for _ in range(40_000): t = (t,)
def parse(): return hash(t)
"""
SIGSEGV = (-signal.SIGSEGV, 128 + signal.SIGSEGV)


@pytest.mark.parametrize("through", [PLAIN, ARENAS, HEAP], ids=["plain", "arenas", "heap"])
def test_overflow_names_the_fiber_then_faulthandler_its_frames(through: tuple[str, ...]) -> None:
    code = DEEP + "def outer(): parse()\nFiber(outer, name='parser-17').resume()"
    result = child(code, through=through)
    assert result.returncode in SIGSEGV
    report, _, traceback = result.stderr.partition("Fatal Python error: Segmentation fault")
    assert "STACK_OVERFLOW" in report
    assert re.search(r"fiber 'parser-17' overflowed its 256(\.0)? KiB stack at 0x[0-9a-f]+", report)
    names = re.findall(r"in (\S+)$", traceback, re.MULTILINE)
    assert names[:4] == ["parse", "outer", "<fiber>", "<module>"]


@pytest.mark.parametrize(
    ("use", "name", "size"),
    [
        ("Fiber(parse).resume()", "parse", "256"),
        ("Fiber(hash, stack_size='512 KiB').resume(t)", "hash", "512"),
        ("run_on_stack(parse, stack_size='1 MiB')", "run_on_stack parse", "1"),
        ("Fiber(parse, pool=StackPool('128 KiB')).resume()", "parse", "128"),
        ("f = Fiber(lambda: (suspend(), parse()), name='later'); f.resume(); f.resume()",
         "later", "256"),
    ],
)  # fmt: skip
def test_overflow_is_named_after_what_runs_there(use: str, name: str, size: str) -> None:
    result = child(DEEP + use)
    assert result.returncode == -signal.SIGSEGV
    assert re.search(rf"fiber '{name}' overflowed its {size}(\.0)? [KM]iB stack", result.stderr)


def test_overflow_on_another_thread_is_named() -> None:
    code = DEEP + "threading.Thread(target=lambda: Fiber(parse, name='there').resume()).start()"
    result = child(code)
    assert result.returncode == -signal.SIGSEGV
    assert "fiber 'there' overflowed" in result.stderr
    assert "Fatal Python error: Segmentation fault" in result.stderr


def test_other_crashes_are_left_to_whoever_handled_them() -> None:
    code = DEEP + "import ctypes; Fiber(ctypes.string_at).resume(16)"
    result = child(code)
    assert result.returncode == -signal.SIGSEGV
    assert "STACK_OVERFLOW" not in result.stderr
    assert "Fatal Python error: Segmentation fault" in result.stderr


def test_what_overflows_a_small_stack_fits_a_large_one() -> None:
    code = DEEP + "print(Fiber(parse, stack_size='64 MiB').resume() == run_on_stack(parse))"
    assert ok(code) == "True\n"
