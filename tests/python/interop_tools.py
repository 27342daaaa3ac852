"""How the interop tests start interpreters under the library, and what they get back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
VERSIONS = ("3.11", "3.12", "3.13")
WATCHDOG = 240


def find_library() -> Path | None:
    """Return the library to test: the environment's, the newest built, or the installed one."""
    for variable in ("HOLDFAST_MALLOC_LIB", "HOLDFAST_MALLOC_LIBRARY", "HOLDFAST_LIBRARY"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).resolve()
    if os.environ.get("HOLDFAST_BUILD_DIR"):
        return Path(os.environ["HOLDFAST_BUILD_DIR"]).resolve() / "libholdfast_malloc.so"
    built = list(ROOT.glob("build/*/libholdfast_malloc.so"))
    if built:
        return max(built, key=lambda path: path.stat().st_mtime)
    package = find_spec("holdfast")
    folders = list(package.submodule_search_locations or ()) if package else []
    found = [path for folder in folders for path in Path(folder).rglob("libholdfast_malloc.so")]
    return found[0] if found else None


@cache
def interpreters() -> dict[str, Path]:
    """Interpreters on this machine by minor version; free-threaded ones end in "t"."""
    found: dict[str, Path] = {}
    for folder in sorted(Path.home().glob(".pyenv/versions/3.1[123]*")):
        python = folder / "bin" / "python3"
        match = re.match(r"3\.1[123]", folder.name)
        if match and python.exists():
            found[match[0] + ("t" if folder.name.endswith("t") else "")] = python
    found.setdefault(f"{sys.version_info[0]}.{sys.version_info[1]}", Path(sys.executable))
    return found


@dataclass
class Result:
    """What one interpreter left behind."""

    status: int
    out: str
    err: str
    python: dict[str, Any] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)

    def part(self, name: str) -> dict[str, Any]:
        """One part of the interop: {"on": bool, "reason": str or None}."""
        return self.python["parts"][name]


class Interpreter:
    """One interpreter, plain or under the library."""

    def __init__(self, version: str, library: Path, folder: Path) -> None:
        self.version = version
        self.library = library
        self.folder = folder

    def run(self, *arguments: str | Path, mode: str | None = "arenas", **variables: str) -> Result:
        """Run with these arguments; mode None is without the library."""
        reports = self.folder / f"run{len(list(self.folder.iterdir()))}"
        reports.mkdir()
        kept = {
            name: value
            for name, value in os.environ.items()
            if "HOLDFAST" not in name and name not in ("LD_PRELOAD", "PYTHONMALLOC")
        }
        if mode is not None:
            kept |= {
                "LD_PRELOAD": str(self.library),
                "HOLDFAST_PYTHON_ALLOCATOR": mode,
                "HOLDFAST_REPORT_DIR": str(reports),
                "HOLDFAST_QUIET": "1",
            }
        process = subprocess.Popen(
            [str(interpreters()[self.version]), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=self.folder,
            env=kept | variables,
        )
        try:
            out, err = process.communicate(timeout=WATCHDOG)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        result = Result(process.returncode, out, err)
        ending = reports / f"{process.pid}.json"
        if ending.exists():
            result.python = json.loads(ending.read_text())["python"]
        for file in reports.glob("*.reports"):
            result.reports += [json.loads(line) for line in file.read_text().splitlines()]
        return result

    def ok(self, *arguments: str | Path, mode: str | None = "arenas", **variables: str) -> Result:
        """Run and insist on a good end without a report of corruption."""
        result = self.run(*arguments, mode=mode, **variables)
        assert result.status == 0, f"status {result.status}\n{result.out}\n{result.err}"
        assert result.reports == []
        return result


def interpreter_fixture(version: str, tmp_path: Path) -> Interpreter:
    """An interpreter of this version, or a skip that says why there is none."""
    library = find_library()
    if library is None or not library.exists():
        pytest.skip("libholdfast_malloc.so is not built")
    if version not in interpreters():
        pytest.skip(f"no Python {version} on this machine")
    return Interpreter(version, library, tmp_path)
