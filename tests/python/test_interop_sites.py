"""Reports name Python lines: the right ones, for every kind of frame, also of code that is gone.

Method: a double free through ctypes makes a report wherever the program wants one; the program
writes down its own stack (sys._getframe) in the same place, and both must be equal. The example's
module is built here, run, fixed as its README says, and run again.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from interop_tools import ROOT, VERSIONS, Interpreter, interpreter_fixture, interpreters

EXAMPLE = ROOT / "examples" / "find_the_overflow"

STACKS = """
import asyncio, ctypes, json, sys, threading
libc = ctypes.PyDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
written = []
def here(frame):
    stack = []
    while frame:
        stack.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}")
        frame = frame.f_back
    return stack[::-1]
def check():
    block = libc.malloc(4321)
    libc.free(block)
    written.append(here(sys._getframe())); libc.free(block)
    return 1
def wide(a,
         b=2):
    return [check()
            for _ in range(1)] and check(
            )
class Thing:
    def method(self):
        return (1,
                wide(1))
    def __del__(self):
        check()
def generate():
    yield check()
    yield from (check() for _ in range(1))
async def wait():
    await asyncio.sleep(0)
    check()
Thing().method()
list(generate())
asyncio.run(wait())
sorted([3, 1], key=lambda value: check())
exec(compile("def fünc():\\n    return check()\\n\\n\\nfünc()", "päth/✓.py", "exec"))
thread = threading.Thread(target=wide, args=(1,)); thread.start(); thread.join()
for i in range(20):
    exec(compile("\\n" * i + f"def g{i}():\\n  check()\\ng{i}()", f"dynamic{i}", "exec"))
json.dump(written, sys.stdout)
"""


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Interpreter:
    return interpreter_fixture(request.param, tmp_path)


def lines(site: str) -> list[str]:
    return [line.strip() for line in site.strip().splitlines()]


@pytest.mark.parametrize("loader", ["PyDLL", "CDLL"])
def test_stack_in_report_is_the_stack_of_the_program(python: Interpreter, loader: str) -> None:
    """With CDLL the thread has given the GIL away when it allocates and frees."""
    program = python.folder / "program.py"
    program.write_text(STACKS.replace("PyDLL", loader))
    result = python.run(program)
    assert result.status == 0, result.err
    written = json.loads(result.out)
    reports = [r for r in result.reports if r["kind"] == "DOUBLE_FREE"]
    assert len(written) > 25
    assert len(reports) == len(written)
    for report, stack in zip(reports, written, strict=True):
        noticed = lines(report["site_noticed"])
        # A report keeps the innermost frames if there are too many.
        assert noticed == stack[-len(noticed) :]
        assert len(noticed) >= min(len(stack), 8)
    assert result.part("frames") == {"on": True, "reason": "the layout was verified"}


BUSY_TO_THE_END = """
import ctypes, sys, threading, zlib
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def work():
    while True:
        libc.free(libc.malloc(3000))
        zlib.decompress(zlib.compress(bytes(20000)))
for _ in range(6):
    threading.Thread(target=work, daemon=True).start()
for i in range(300):
    exec(compile("def gone():\\n  return zlib.compress(bytes(5000))\\ngone()", f"file{i}", "exec"))
"""


def test_threads_that_allocate_without_the_gil_at_the_end_of_the_interpreter(
    python: Interpreter,
) -> None:
    for _ in range(5):
        result = python.ok("-c", BUSY_TO_THE_END, HOLDFAST_SITES="all")
        assert result.python["sites"]["captured"] > 0


def test_call_sites_off_records_nothing(python: Interpreter) -> None:
    result = python.ok("-c", "x = [bytes(5000) for _ in range(2000)]", HOLDFAST_SITES="off")
    assert result.python["sites"]["captured"] == 0


def build(python: Interpreter, source: str) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on this machine")
    include = subprocess.run(
        [
            interpreters()[python.version],
            "-c",
            "import sysconfig; print(sysconfig.get_path('include'))",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not (Path(include) / "Python.h").exists():
        pytest.skip(f"no headers of Python {python.version} on this machine")
    (python.folder / "palette.c").write_text(source)
    subprocess.run(
        ["cc", "-O1", "-fPIC", "-shared", f"-I{include}", "palette.c", "-o", "palette.so"],
        cwd=python.folder,
        check=True,
        capture_output=True,
    )
    shutil.copy(EXAMPLE / "run.py", python.folder)


def test_example_report_names_the_line_that_allocated(python: Interpreter) -> None:
    build(python, (EXAMPLE / "palette.c").read_text())
    expected = ["evening: 32 colours", "night: 32 colours", "changed the theme"]
    assert python.run("run.py", mode=None).out.splitlines() == expected
    result = python.run("run.py", HOLDFAST_SITES="all")
    assert (result.status, result.out.splitlines()) == (0, expected)
    assert [report["kind"] for report in result.reports] == ["OVERFLOW", "OVERFLOW"]
    first = result.reports[0]
    assert (first["block_size"], first["damage_offset"], first["damage_length"]) == (96, 96, 4)
    source = (EXAMPLE / "run.py").read_text().splitlines()
    number = 1 + next(i for i, line in enumerate(source) if "palette.pack(" in line)
    assert lines(first["site_allocated"])[-1].endswith(f"run.py:{number} in load_theme")
    assert re.search(r"run\.py:\d+ in main$", lines(first["site_noticed"])[-1])


@pytest.mark.parametrize("mode", ["arenas", "heap"])
def test_example_with_the_fix_of_its_readme_is_clean(python: Interpreter, mode: str) -> None:
    source = (EXAMPLE / "palette.c").read_text()
    patch = re.search(r"```diff\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    assert patch
    removed = "".join(m[1] + "\n" for m in re.finditer(r"^-(.*)$", patch[1], re.MULTILINE))
    added = "".join(m[1] + "\n" for m in re.finditer(r"^\+(.*)$", patch[1], re.MULTILINE))
    assert source.count(removed) == 1
    build(python, source.replace(removed, added))
    python.ok("run.py", mode=mode, HOLDFAST_SITES="all")
