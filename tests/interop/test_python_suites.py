"""CPython's and NumPy's own test-suites under the library.

Method: a suite runs twice, plain and under the library, in the same interpreter; what fails under
the library must fail without it, too (a machine without a locale or a network fails some tests of
its own). A representative part runs always, all of it with ``-m nightly``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WATCHDOG = 5400
PART = [
    "test_gc",
    "test_list",
    "test_dict",
    "test_set",
    "test_tuple",
    "test_json",
    "test_bytes",
    "test_memoryview",
    "test_array",
    "test_generators",
    "test_queue",
    "test_thread",
    "test_weakref",
    "test_zlib",
    "test_struct",
    "test_descr",
    "test_exceptions",
    "test_ast",
    "test_pickle",
    "test_capi",
]
NUMPY_PART = ("numpy/_core/tests/test_multiarray.py", "numpy/_core/tests/test_mem_policy.py")
MODES = ("arenas", "heap")
# Tests of the allocator that is replaced: pymalloc's own counters and its name.
OF_PYMALLOC = {
    "arenas": (),
    "heap": (
        "test.test_sys.SysModuleTest.test_debugmallocstats",
        "test.test_sys.SysModuleTest.test_getallocatedblocks",
        "test.test_cmd_line.CmdLineTest.test_pythonmalloc",
    ),
}
# Seconds for one test file. Some never end on some machines, without the library as well: then the
# plain run says so, too. (3.11: test_interpreters and test__xxsubinterpreters wait for a thread
# that is gone; a virtual machine without a vsock peer: test_socket.)
FILE_TIMEOUT = 600


def find_library() -> Path:
    """The library to test: the environment's or the newest that was built."""
    given = os.environ.get("HOLDFAST_MALLOC_LIBRARY") or os.environ.get("HOLDFAST_MALLOC_LIB")
    if given:
        return Path(given).resolve()
    built = list(ROOT.glob("build/*/libholdfast_malloc.so"))
    built = [path for path in built if not re.search("asan|tsan|ubsan", path.parent.name)]
    package = importlib.util.find_spec("holdfast")
    for folder in (package.submodule_search_locations or ()) if package else ():
        built += Path(folder).rglob("libholdfast_malloc.so")
    if not built:
        pytest.skip("the preload library is not built")
    return max(built, key=lambda path: path.stat().st_mtime)


def run(command: list[str], mode: str | None, folder: Path) -> tuple[int, str]:
    """Exit status and output; `mode` None runs without the library."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
    if mode is not None:
        environment["LD_PRELOAD"] = str(find_library())
        environment["HOLDFAST_PYTHON_ALLOCATOR"] = mode
        environment["HOLDFAST_REPORT_DIR"] = str(folder)
        environment["HOLDFAST_QUIET"] = "1"
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=WATCHDOG,
        check=False,
    )
    return done.returncode, done.stdout


def cpython_failures(output: str) -> set[str]:
    """Names of the test files that failed, from libregrtest's summary."""
    failed: set[str] = set()
    for block in re.findall(r"tests? failed[^:]*:\n((?:    .*\n)+)", output):
        failed |= set(block.split())
    return failed


def check_cpython(modules: list[str], mode: str, folder: Path) -> None:
    if importlib.util.find_spec("test.libregrtest") is None:
        pytest.skip("this interpreter comes without its test package")
    base = [sys.executable, "-m", "test", "-q", "-j2", "--timeout", str(FILE_TIMEOUT)]
    for name in OF_PYMALLOC[mode]:
        base += ["-i", name]
    status, output = run([*base, *modules], mode, folder)
    assert not list(folder.glob("*.reports")), "the heap reported corruption"
    if status == 0:
        return
    failed = cpython_failures(output)
    assert failed, output[-4000:]
    _, plain = run([*base, *sorted(failed)], None, folder)
    only_here = failed - cpython_failures(plain)
    assert not only_here, output[-4000:]


@pytest.mark.parametrize("mode", MODES)
def test_part_of_cpythons_suite(mode: str, tmp_path: Path) -> None:
    check_cpython(list(PART), mode, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_all_of_cpythons_suite(mode: str, tmp_path: Path) -> None:
    check_cpython(["-x", "test_gdb", "test_asyncio"], mode, tmp_path)


def check_numpy(targets: tuple[str, ...], mode: str, folder: Path) -> None:
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        pytest.skip("NumPy is not installed")
    site = Path(found.origin).parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0"]
    command += ["--continue-on-collection-errors"]  # f2py without meson
    if importlib.util.find_spec("xdist") is None:
        command.remove("-n0")
    command += ["-m", "not slow", *(str(site / target) for target in targets)]
    status, output = run(command, mode, folder)
    assert not list(folder.glob("*.reports")), "the heap reported corruption"
    if status != 0:
        failed = set(re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.M))
        assert failed, output[-4000:]
        _, plain = run(command, None, folder)
        only_here = failed - set(re.findall(r"^(?:FAILED|ERROR) (\S+)", plain, re.M))
        assert not only_here, output[-4000:]


@pytest.mark.parametrize("mode", MODES)
def test_part_of_numpys_suite(mode: str, tmp_path: Path) -> None:
    check_numpy(NUMPY_PART, mode, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_all_of_numpys_suite(mode: str, tmp_path: Path) -> None:
    check_numpy(("numpy",), mode, tmp_path)
