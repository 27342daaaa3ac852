"""Structures as arguments of Process, Pool and ProcessPoolExecutor, by every start method.

Method: a program of its own sends one of every structure to workers, which use each, and counts
what came of it. Here: it says nothing else, not even as it ends, and nothing is left.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ("shm_tools",)

PROGRAM = Path(__file__).parent / "programs" / "shm_workers.py"


@pytest.mark.parametrize("kind", ["named", "anonymous", "file"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_structure_travels(shm_name: str, tmp_path: Path, method: str, kind: str) -> None:
    place = {"named": [shm_name], "anonymous": [], "file": [str(tmp_path / "state")]}[kind]
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(PROGRAM), method, kind, *place],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == f"{[9] * 9} 0\n"
    assert not Path(f"/dev/shm/holdfast-{shm_name}").exists()
