"""One run of one program under one allocator, and what it cost.

Talks to build/bench/launch, which starts the program and reports wall, CPU, peak RSS and faults;
peak RSS measured straight from Python would be at least Python's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.allocators import Allocator
from harness.machine import ROOT

BUILD = ROOT / "build" / "bench"
TIMEOUT_S = 120.0

_NOISE = ("LD_PRELOAD", "PYTHONMALLOC", "MALLOC_CONF", "GLIBC_TUNABLES", "BENCH_PRELOAD")


@dataclass(frozen=True)
class Sample:
    """What one run cost."""

    wall_ms: float
    cpu_ms: float
    rss_mb: float
    faults: int
    output: str
    failure: str | None = None

    def as_dict(self) -> dict[str, object]:
        """The figures without the program's output."""
        figures = asdict(self)
        del figures["output"]
        return {key: value for key, value in figures.items() if value is not None}


def build() -> Path:
    """Configure and build benchmarks/c into build/bench, and return that folder."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    if not (BUILD / "CMakeCache.txt").exists():
        configure = ["cmake", "-S", str(ROOT / "benchmarks" / "c"), "-B", str(BUILD), *generator]
        subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["cmake", "--build", str(BUILD), "-j", "2"], check=True, stdout=subprocess.DEVNULL
    )
    return BUILD


def environment(allocator: Allocator, extra: dict[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without anything that tunes allocators, plus this allocator's."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if key not in _NOISE and not key.startswith(("HOLDFAST_", "MALLOC_", "MIMALLOC_"))
    }
    clean.update(allocator.environment)
    clean.update(extra or {})
    return clean


def start(
    command: list[str],
    allocator: Allocator,
    extra: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[subprocess.Popen[str], int]:
    """Start a command under an allocator; returns the process and the descriptor of its report."""
    env = environment(allocator, extra)
    if allocator.library is not None:
        env.setdefault("BENCH_PRELOAD", allocator.library)
    reader, writer = os.pipe()
    # launch reports on descriptor 3: the shell moves the pipe there before it becomes launch.
    shell = f'exec "$0" "$@" 3>&{writer}'
    process = subprocess.Popen(
        ["bash", "-c", shell, str(BUILD / "launch"), *command],
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        pass_fds=(writer,),
        start_new_session=True,
    )
    os.close(writer)
    return process, reader


def _short(output: str) -> str:
    """Long output is compared, not read: its digest will do."""
    return output if len(output) < 1000 else hashlib.sha256(output.encode()).hexdigest()


def finish(process: subprocess.Popen[str], reader: int, timeout: float = TIMEOUT_S) -> Sample:
    """Wait for what `start` started and read its report."""
    try:
        output, errors = process.communicate(timeout=timeout)
        failure = None
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        failure = f"no end after {timeout:.0f} s"
    with os.fdopen(reader) as report:
        text = report.read()
    if failure is None and process.returncode != 0:
        failure = f"exit {process.returncode}: {errors.strip()[-200:]}"
    if not text:
        return Sample(0.0, 0.0, 0.0, 0, output, failure or "no report")
    cost = json.loads(text)
    return Sample(
        wall_ms=cost["wall_ns"] / 1e6,
        cpu_ms=(cost["user_ns"] + cost["sys_ns"]) / 1e6,
        rss_mb=cost["maxrss_kb"] / 1024,
        faults=cost["minflt"],
        output=_short(output.strip()),
        failure=failure,
    )


def run(
    command: list[str],
    allocator: Allocator,
    extra: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = TIMEOUT_S,
) -> Sample:
    """Run a command to its end under an allocator."""
    process, reader = start(command, allocator, extra, cwd)
    return finish(process, reader, timeout)
