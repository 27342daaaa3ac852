"""Memory goes back while a program goes on, and nothing of its data changes.

Method: load spikes with few survivors, contents checked; RSS is compared with the same program
without the library in the same test. Figures are bounds with a wide margin, not performance claims.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from interop_tools import PROGRAMS, ROOT, VERSIONS, Interpreter, interpreter_fixture

SERVICE = ROOT / "benchmarks" / "python" / "service.py"

ASKED = """
import ctypes, gc, os
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
lib = ctypes.PyDLL(os.environ["LD_PRELOAD"])
lib.hf_python_reclaim.restype = ctypes.c_uint64
keep = []
for turn in range(3):
    x = [{"i": i, "s": str(i)} for i in range(150_000)]
    keep += x[::997]
    del x
peak = rss()
given = lib.hf_python_reclaim()
after = rss()
y = [{"i": i, "s": str(i)} for i in range(150_000)]
assert all(e["s"] == str(e["i"]) for e in keep + y)
del y
lib.hf_python_reclaim()
assert all(e["s"] == str(e["i"]) for e in keep)
assert lib.hf_python_reclaim() < 1 << 20
print(given > 20 << 20, peak - after > 20 << 20)
"""

# sys.getallocatedblocks counts by pymalloc's own lists: they must agree with what we did to them.
COUNTED = """
import ctypes, gc, os, sys
lib = ctypes.PyDLL(os.environ["LD_PRELOAD"])
lib.hf_python_reclaim.restype = ctypes.c_uint64
keep = []
for turn in range(6):
    x = [(i, str(i)) for i in range(150_000)]
    keep += x[turn::991]
    del x
    gc.collect()
    before = sys.getallocatedblocks()
    lib.hf_python_reclaim()
    after = sys.getallocatedblocks()
    assert abs(after - before) < 50, (before, after)
sys._debugmallocstats()
assert all(s == str(i) for i, s in keep)
del keep
gc.collect()
print("ok")
"""


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Interpreter:
    return interpreter_fixture(request.param, tmp_path)


@pytest.mark.parametrize("mode", ["arenas", "heap"])
def test_service_after_spikes_gives_memory_back(python: Interpreter, mode: str) -> None:
    plain = json.loads(python.ok(SERVICE, "0", mode=None).out)
    served = json.loads(python.ok(SERVICE, "4", mode=mode).out)
    assert served["checksum"] == plain["checksum"]
    assert plain["after_mb"] - plain["base_mb"] > 60
    left = served["idle_mb"] - served["base_mb"]
    assert left < (plain["after_mb"] - plain["base_mb"]) / 2


def test_trim_is_verified_by_arenas_and_works(python: Interpreter) -> None:
    result = python.ok(SERVICE, "2")
    assert result.part("trim")["on"], result.part("trim")
    assert "agree" in result.part("trim")["reason"]
    assert result.python["pools"]["parked_so_far"] > 1000
    assert result.python["pools"]["squeezed_so_far"] > 100
    assert result.python["pools"]["bytes_returned"] > 30 << 20


def test_last_pool_of_an_arena_is_freed_when_the_others_were_given_back(
    python: Interpreter,
) -> None:
    program = PROGRAMS / "trim_last_pool.py"
    assert python.ok(program, mode=None).out == "ok True\n"
    assert python.ok(program, HOLDFAST_DECAY_MS="2").out == "ok True\n"


@pytest.mark.parametrize(("decay_ms", "seed"), [("0", "1"), ("2", "2"), ("60", "3")])
def test_spikes_keep_contents_of_survivors(python: Interpreter, decay_ms: str, seed: str) -> None:
    spikes = PROGRAMS / "trim_spikes.py"
    expected = python.ok(spikes, seed, "8", "4", mode=None).out
    result = python.ok(spikes, seed, "8", "4", HOLDFAST_DECAY_MS=decay_ms)
    assert result.out == expected
    assert expected.startswith("ok ")
    assert result.part("trim")["on"], result.part("trim")


def test_reclaim_asked_for_gives_back_at_once(python: Interpreter) -> None:
    assert python.ok("-c", ASKED, HOLDFAST_RECLAIM="off").out == "True True\n"


def test_pymalloc_counts_the_same_blocks_after_trim(python: Interpreter) -> None:
    assert python.ok("-c", COUNTED).out == "ok\n"
