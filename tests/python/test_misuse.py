"""Fourteen misuses of memory by an extension module, each found and named in profile ``checked``.

Method: a small extension (misuse/misuse.c) is compiled for each interpreter; every case is a
process of its own under the library, with all three domains of CPython on the heap and all call
sites recorded. glibc is silent on half of these cases, jemalloc and mimalloc on ten.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from interop_tools import ROOT, find_library, interpreters

SOURCE = Path(__file__).parent / "misuse" / "misuse.c"
WATCHDOG = 120

PRELUDE = """
import misuse
def make_libc(size):
    return misuse.libc_alloc(size)
def make_object(size):
    return misuse.object_alloc(size)
"""


@dataclass(frozen=True)
class Case:
    """One misuse: what the program does and what the report must say."""

    name: str
    program: str
    kind: str
    size: int
    site: str
    """Function that must stand in the site of the block's last allocation (dfree2: the churn's)."""


CASES = (
    Case(
        "ovf1", "make_libc(40); misuse.poke(40, 1); misuse.libc_free()", "OVERFLOW", 40, "make_libc"
    ),
    Case(
        "ovf16",
        "make_libc(25); misuse.poke(25, 16); misuse.libc_free()",
        "OVERFLOW",
        25,
        "make_libc",
    ),
    Case(
        "ovfbig",
        "make_libc(5000); misuse.poke(5000, 3); misuse.libc_free()",
        "OVERFLOW",
        5000,
        "make_libc",
    ),
    Case(
        "unf8",
        "make_libc(40); misuse.poke(-8, 8); misuse.libc_free()",
        "UNDERFLOW",
        40,
        "make_libc",
    ),
    Case(
        "dfree",
        "make_libc(40); misuse.libc_free(); misuse.libc_free()",
        "DOUBLE_FREE",
        40,
        "make_libc",
    ),
    Case(
        "dfree2",
        "make_libc(200); misuse.libc_free(); misuse.libc_churn(); misuse.libc_free()",
        "DOUBLE_FREE",
        200,
        "<module>",
    ),
    Case("inval", "make_libc(40); misuse.libc_free(16)", "INTERIOR_FREE", 40, "make_libc"),
    Case(
        "uaf",
        "make_libc(40); misuse.libc_free(); misuse.poke(0, 4); misuse.libc_reuse(40)",
        "USE_AFTER_FREE",
        40,
        "make_libc",
    ),
    Case(
        "pyovf1",
        "make_object(40); misuse.poke(40, 1); misuse.object_free()",
        "OVERFLOW",
        40,
        "make_object",
    ),
    Case(
        "pyovf16",
        "make_object(25); misuse.poke(25, 16); misuse.object_free()",
        "OVERFLOW",
        25,
        "make_object",
    ),
    Case(
        "pydfree",
        "make_object(40); misuse.object_free(); misuse.object_free()",
        "DOUBLE_FREE",
        40,
        "make_object",
    ),
    Case(
        "pyuaf",
        "make_object(40); misuse.object_free(); misuse.poke(0, 4); misuse.object_reuse(40)",
        "USE_AFTER_FREE",
        40,
        "make_object",
    ),
    Case(
        "mismatch",
        "make_object(40); misuse.libc_free()",
        "DOMAIN_MISMATCH",
        40,
        "make_object",
    ),
    Case(
        "npovf",
        """
import numpy, ctypes
def make_array():
    return numpy.zeros(1000, 'u1')
x = make_array()
ctypes.memset(x.ctypes.data + 1000, 0x58, 2)
del x
""",
        "OVERFLOW",
        1000,
        "make_array",
    ),
)


@pytest.fixture(scope="session", params=sorted(v for v in interpreters() if not v.endswith("t")))
def extension(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The interpreter and the folder of the extension built for it."""
    python = interpreters()[request.param]
    folder = tmp_path_factory.mktemp(f"misuse-{request.param}")
    include = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    if not (Path(include) / "Python.h").exists():
        pytest.skip(f"{request.param} has no headers")
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    target = folder / "misuse.so"
    command = [compiler, "-O1", "-shared", "-fPIC", f"-I{include}", str(SOURCE), "-o", str(target)]
    subprocess.run(command, check=True)
    return python, folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_misuse_is_reported_with_its_site(
    case: Case, extension: tuple[Path, Path], tmp_path: Path
) -> None:
    library = find_library()
    if library is None:
        pytest.skip("the preload library is not built")
    python, folder = extension
    script = tmp_path / "case.py"
    script.write_text(PRELUDE + case.program.replace("; ", "\n") + "\nprint('went on')\n")
    if case.name == "npovf":
        probe = subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False)
        if probe.returncode != 0:
            pytest.skip("this interpreter has no numpy")
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "PYTHONPATH": str(folder),
        "HOLDFAST_PROFILE": "checked",
        "HOLDFAST_PYTHON_ALLOCATOR": "heap",
        "HOLDFAST_SITES": "all",
        "HOLDFAST_REPORT_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [python, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "went on" in done.stdout
    lines = [line for path in tmp_path.glob("*.reports") for line in path.read_text().splitlines()]
    reports = [json.loads(line) for line in lines]
    assert reports, "the misuse was not noticed"
    report = reports[0]
    assert report["kind"] == case.kind, reports
    assert report["block_size"] == case.size, report
    assert case.site in report["site_allocated"], report
    assert "case.py" in report["site_allocated"], report
