"""holdfast.numpy.install: every array of a process, in processes of their own.

Method: a program per promise is run in a fresh interpreter, because an installation leaves its
functions in place for ever; one part of NumPy's own test-suite is run under it, all of it nightly.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("holdfast.numpy")

HEAD = """
import numpy as np, holdfast, holdfast.numpy as hnp, threading, gc
kind = lambda a: hnp.owner_of(a).kind
"""
NUMPY_PART = ("test_mem_policy.py", "test_indexing.py", "test_numeric.py")
# f2py needs a Fortran compiler and its sources, typing a type checker.
PARTS = ("_core", "core", "lib", "linalg", "fft", "ma", "matrixlib", "polynomial", "random")
PLUGIN = Path(__file__).parent / "numpy_installed"


def run(body: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", HEAD + body],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **more},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_install_serves_all_threads_and_uninstall_stops() -> None:
    run("""
before = np.arange(50_000.0)
with hnp.install() as installed:
    assert hnp.installed()
    made = [np.arange(n, dtype="f8") for n in (0, 1, 10, 1000, 100_000)]
    assert all(kind(a) == "heap" and hnp.is_aligned(a) for a in made)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(np.ones(10)))
    thread.start(); thread.join()
    assert kind(seen[0]) == "heap"
    before.resize(90_000, refcheck=False)       # NumPy's own block stays NumPy's
    assert kind(before) == "numpy" and before[49_999] == 49_999
    assert installed.stats().arrays >= 6
assert not hnp.installed()
assert kind(np.empty(10)) == "numpy"
made[3].resize(3000, refcheck=False)            # ours stays ours
assert kind(made[3]) == "heap" and made[3][999] == 999
del made, seen
gc.collect()
assert installed.stats().arrays == 0
del before
""")


def test_install_on_a_heap_and_again_on_another() -> None:
    run("""
one, two = holdfast.Heap(name="one"), holdfast.Heap(name="two")
hnp.install(one)
a = np.ones(1000)
hnp.install(two)
b = np.ones(1000)
hnp.install(one)
c = np.ones(1000)
assert [hnp.owner_of(x).name for x in (a, b, c)] == ["one", "two", "one"]
hnp.uninstall()
del a, b, c
""")


def test_allocator_goes_before_install() -> None:
    run("""
with hnp.install(), holdfast.Heap(name="mine") as heap:
    with hnp.allocator(heap):
        assert hnp.owner_of(np.empty(10)).name == "mine"
    assert hnp.owner_of(np.empty(10)).name == "arrays, huge pages"
""")


def test_full_heap_falls_back_to_numpy() -> None:
    run("""
with hnp.install(holdfast.Heap(name="small", limit="8M")):
    large = np.ones(4 << 20)
    assert kind(large) == "numpy" and kind(np.empty(10)) == "heap"
    large.resize(5 << 20, refcheck=False)
""")


def test_install_refuses_a_numpy_it_does_not_know() -> None:
    run("""
np.__version__ = "99.0.0"
try:
    hnp.install()
except holdfast.UnsupportedError as error:
    assert "99.0.0" in str(error)
else:
    raise AssertionError("installed")
assert not hnp.installed() and kind(np.empty(10)) == "numpy"
""")


def test_exit_with_arrays_everywhere() -> None:
    run("""
import atexit, sys
hnp.install()
sys.keep = [np.ones(n) for n in range(100)]
late = np.ones(10)
atexit.register(lambda: late.resize(10_000, refcheck=False))
""")


def test_install_without_the_preload_and_under_it() -> None:
    body = HEAD + "hnp.install(); a = np.ones(10_000); print(kind(a), holdfast.is_active()); del a"
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "run", "--quiet", "--", sys.executable, "-c", body],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["heap", "True"]
    assert "holdfast:" not in done.stderr


def suite(files: list[str], how: str) -> tuple[set[str], str]:
    """Failures of NumPy's tests with array memory served as `how` says."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "numpy_installed", "-p", "no:cacheprovider"]
        + ["-q", "--timeout=600", "-rfE", "--tb=short", *files],
        capture_output=True,
        text=True,
        timeout=5400,
        check=False,
        cwd=Path(np.__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": str(PLUGIN), "HOLDFAST_TEST_ARRAYS": how},
    )
    output = done.stdout + done.stderr
    failed = {
        line.split()[1] for line in output.splitlines() if line.startswith(("FAILED", "ERROR "))
    }
    assert done.returncode in (0, 1), output[-4000:]
    assert " passed" in output, output[-4000:]
    return failed, output


def own_tests(names: tuple[str, ...]) -> list[str]:
    folder = Path(np.__file__).parent / "_core" / "tests"
    if not folder.is_dir():
        folder = Path(np.__file__).parent / "core" / "tests"
    found = [str(folder / name) for name in names if (folder / name).is_file()]
    if not found:
        pytest.skip("this NumPy comes without its tests")
    return found


def compare(files: list[str], how: str) -> None:
    failed, output = suite(files, how)
    if failed:  # a machine may fail some of its own
        plain, _ = suite(files, "plain")
        assert failed <= plain, output[-8000:]


def test_part_of_numpys_own_tests() -> None:
    compare(own_tests(NUMPY_PART), "install")


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("how", ["install", "allocator"])
def test_all_of_numpys_own_tests(how: str) -> None:
    root = Path(np.__file__).parent
    found = [str(root / name) for name in PARTS if (root / name / "tests").is_dir()]
    if not found:
        pytest.skip("this NumPy comes without its tests")
    compare(found, how)
