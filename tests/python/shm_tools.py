"""shm_tools.py - segments of tests: names of their own, and none left behind.

Functions that run in other processes stand at the top of a module, so that spawn finds them.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from holdfast import shm

_numbers = itertools.count()

FORK = multiprocessing.get_context("fork")


def started(target: Any, *arguments: Any) -> Any:
    child = FORK.Process(target=target, args=arguments, daemon=True)
    child.start()
    return child


def killed(child: Any) -> None:
    os.kill(child.pid, signal.SIGKILL)
    child.join(60)


def fresh_name() -> str:
    return f"py-{os.getpid()}-{next(_numbers)}"


def files() -> set[str]:
    """Segments of this test process that are there."""
    return {path.name for path in Path("/dev/shm").glob(f"holdfast-py-{os.getpid()}-*")}


@pytest.fixture
def shm_name() -> Iterator[str]:
    made = fresh_name()
    yield made
    Path(f"/dev/shm/holdfast-{made}").unlink(missing_ok=True)


@pytest.fixture
def segment(shm_name: str) -> Iterator[shm.Segment]:
    made = shm.Segment(shm_name, size="4 MiB")
    yield made
    if not made.closed:
        made.close()
