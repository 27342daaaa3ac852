"""What the preloaded library reads from its environment, and what it leaves of it to others.

Method: small Python programs, some of which misuse malloc through ctypes, run preloaded with one
variable changed at a time; looked at are their standard streams, their status and the files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_programs import LIMIT_S, find_library

PYTHON = str(Path(sys.executable).resolve())

DOUBLE_FREE = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
block = libc.malloc(1234)
libc.free(block)
libc.free(block)
print("still here")
"""


@pytest.fixture(scope="module")
def library() -> Path:
    found = find_library()
    if found is None or not found.exists():
        pytest.skip("libholdfast_malloc.so is not built")
    return found


def run(
    code: str, library: Path | None, folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if "HOLDFAST" not in name}
    if library is not None:
        variables.setdefault("LD_PRELOAD", str(library))
    return subprocess.run(
        [PYTHON, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env=kept | variables,
        timeout=LIMIT_S,
        check=False,
    )


def test_nothing_is_said_without_corruption(library: Path, tmp_path: Path) -> None:
    done = run("print('hello')", library, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    assert not list(tmp_path.iterdir())


def test_a_report_goes_to_stderr_once(library: Path, tmp_path: Path) -> None:
    done = run(DOUBLE_FREE, library, tmp_path)
    assert done.returncode == 0
    assert done.stdout == "still here\n"
    assert done.stderr.count("DOUBLE_FREE") == 1
    assert done.stderr.endswith("\n")


def test_quiet_keeps_stderr_clean_and_the_file_complete(library: Path, tmp_path: Path) -> None:
    done = run(DOUBLE_FREE, library, tmp_path, HOLDFAST_QUIET="1", HOLDFAST_REPORT_DIR=".")
    assert (done.returncode, done.stderr) == (0, "")
    (file,) = tmp_path.glob("*.reports")
    (line,) = file.read_text().splitlines()
    report = json.loads(line)
    assert report["kind"] == "DOUBLE_FREE"
    assert report["block_size"] == 1234


def test_the_final_report_counts_the_corruption(library: Path, tmp_path: Path) -> None:
    done = run(DOUBLE_FREE, library, tmp_path, HOLDFAST_REPORT_DIR=str(tmp_path))
    assert done.returncode == 0
    (file,) = tmp_path.glob("*.json")
    report = json.loads(file.read_text())
    assert report["exit"] == "exit"
    assert report["argv"] == [PYTHON, "-c", DOUBLE_FREE]
    assert report["process"]["report_count"] == 1


def test_arguments_survive_in_the_report(library: Path, tmp_path: Path) -> None:
    code = '# \u00e4\u20ac\U0001f600 "quoted" back\\slash\ttab'
    done = run(code, library, tmp_path, HOLDFAST_REPORT_DIR="relative")
    assert done.returncode == 0
    assert not list(tmp_path.rglob("*.json"))  # the folder is not made for the user
    (tmp_path / "relative").mkdir()
    moved = "import os; os.chdir('/')\n" + code
    done = run(moved, library, tmp_path, HOLDFAST_REPORT_DIR="relative")
    (file,) = (tmp_path / "relative").glob("*.json")
    assert json.loads(file.read_text())["argv"][2] == moved


def test_figures_of_the_process_are_its_own(library: Path, tmp_path: Path) -> None:
    # A child of a large process: its peak is not its parent's.
    code = (
        "import subprocess, sys\n"
        "ballast = bytearray(200_000_000)\n"
        "subprocess.run([sys.executable, '-c', 'pass'], check=True)\n"
    )
    done = run(code, library, tmp_path, HOLDFAST_REPORT_DIR=".")
    assert done.returncode == 0, done.stderr
    peaks = sorted(json.loads(file.read_text())["maxrss_kb"] for file in tmp_path.glob("*.json"))
    assert len(peaks) == 2
    assert peaks[1] > 195_000
    assert peaks[0] < 100_000


SHOW_PRELOAD = "import os, subprocess, sys; print(os.environ.get('LD_PRELOAD'))\n"


def test_children_inherit_unless_told(library: Path, tmp_path: Path) -> None:
    done = run(SHOW_PRELOAD, library, tmp_path)
    assert done.stdout == f"{library}\n"
    done = run(SHOW_PRELOAD, library, tmp_path, HOLDFAST_NO_CHILDREN="1")
    assert done.stdout == "None\n"
    done = run(SHOW_PRELOAD, library, tmp_path, HOLDFAST_NO_CHILDREN="0")
    assert done.stdout == f"{library}\n"


@pytest.mark.parametrize("form", ["{ours}:{other}", "{other} {ours}", "{ours}  {other}:{ours}"])
def test_other_preloaded_libraries_stay(library: Path, tmp_path: Path, form: str) -> None:
    other = "libm.so.6"
    given = form.format(ours=library, other=other)
    done = run(SHOW_PRELOAD, library, tmp_path, LD_PRELOAD=given, HOLDFAST_NO_CHILDREN="1")
    assert done.stdout == f"{other}\n"


def test_without_children_only_the_first_process_reports(library: Path, tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'], check=True)"
    run(code, library, tmp_path, HOLDFAST_REPORT_DIR=".", HOLDFAST_NO_CHILDREN="1")
    assert len(list(tmp_path.glob("*.json"))) == 1
    run(code, library, tmp_path, HOLDFAST_REPORT_DIR=".")
    assert len(list(tmp_path.glob("*.json"))) == 3


def test_closed_streams_are_left_closed(library: Path, tmp_path: Path) -> None:
    # The first file the program opens becomes descriptor 2: no report may end up in it.
    shell = f'exec 2>&-; exec {PYTHON} -c "$CODE"'
    code = "import os\nfd = os.open('data', os.O_RDWR | os.O_CREAT)\nos.dup2(fd, 2)\n" + DOUBLE_FREE
    done = subprocess.run(
        ["/bin/sh", "-c", shell],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"CODE": code, "LD_PRELOAD": str(library)},
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "still here\n")
    assert (tmp_path / "data").read_bytes() == b""


def test_loading_it_late_is_harmless(library: Path, tmp_path: Path) -> None:
    code = (
        "import ctypes, _ctypes\n"
        f"late = ctypes.CDLL({str(library)!r})\n"
        "late.hf_malloc.restype = ctypes.c_void_p\n"
        "late.hf_free.argtypes = [ctypes.c_void_p]\n"
        "late.hf_free(late.hf_malloc(100))\n"
        "_ctypes.dlclose(late._handle)\n"
        "print('closed')\n"
    )
    done = run(code, None, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")
