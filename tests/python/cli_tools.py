"""How the tests of the command line start `holdfast run`, and what they compare."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

HOLDFAST = [sys.executable, "-m", "holdfast"]
WATCHDOG = 60


def environment(**more: str) -> dict[str, str]:
    """This environment without what would change a run."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "HOLDFAST_LIBRARY" or not name.startswith(("HOLDFAST_", "LD_PRELOAD"))
    }
    return {**kept, **more}


def holdfast(
    *words: str | Path,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `holdfast words...` to its end."""
    return subprocess.run(
        [*HOLDFAST, *map(str, words)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=dict(env) if env is not None else environment(),
        timeout=WATCHDOG,
        check=False,
    )


def start(*words: str | Path, **more: object) -> subprocess.Popen[bytes]:
    """Start `holdfast words...` in a process group of its own."""
    return subprocess.Popen(
        [*HOLDFAST, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        process_group=0,
        **more,  # type: ignore[call-overload]
    )


def script(folder: Path, text: str, name: str = "program.py") -> Path:
    """Write a Python program."""
    path = folder / name
    path.write_text(text)
    return path


def refused(words: Sequence[str | Path], status: int = 2, **more: object) -> str:
    """The sentence with which `holdfast run words...` is refused."""
    done = holdfast("run", *words, **more)  # type: ignore[arg-type]
    text = done.stderr.decode()
    assert done.returncode == status, text
    assert done.stdout == b""
    assert text.startswith("holdfast: ")
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text.strip().removeprefix("holdfast: ")


def tool(name: str) -> str:
    """The path of a program, or a skip that says which is missing."""
    from shutil import which

    found = which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
