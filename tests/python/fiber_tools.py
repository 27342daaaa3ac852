"""How the tests of stacks and fibers start other interpreters, and when they skip."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap

import pytest
from holdfast import fiber

WATCHDOG = 100

needs_fibers = pytest.mark.skipif(
    fiber.unsupported() is not None, reason=f"fibers do not work here: {fiber.unsupported()}"
)

# Ways to run the same program: without the library's malloc, and with it in its modes.
PLAIN: tuple[str, ...] = ()
ARENAS = ("-m", "holdfast", "run", "--quiet")
HEAP = (*ARENAS, "--python-allocator", "heap")


def child(
    code: str,
    *arguments: str,
    through: tuple[str, ...] = PLAIN,
    main_stack: int | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run Python code in another interpreter; `main_stack` limits its main thread's C stack [B]."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if main_stack is not None:
            resource.setrlimit(resource.RLIMIT_STACK, (main_stack, main_stack))

    command = ["-c", textwrap.dedent(code), *arguments]
    if through:
        command = [*through, "--", sys.executable, *command]
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=WATCHDOG,
        preexec_fn=limit,
        env={**os.environ, **variables},
        check=False,
    )


def ok(code: str, *arguments: str, **how: object) -> str:
    """Run and insist on a good end; returns what was printed."""
    result = child(code, *arguments, **how)  # type: ignore[arg-type]
    assert result.returncode == 0, f"{result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout
