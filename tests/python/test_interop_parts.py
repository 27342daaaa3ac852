"""Which parts serve an interpreter, and why one does not: by option, version, environment.

Method: a tiny program under each setting; the exit report says which parts were on.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from interop_tools import VERSIONS, Interpreter, interpreter_fixture, interpreters

USE_SOME = "x = [str(i) for i in range(200_000)]; print(len(x))"


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Interpreter:
    return interpreter_fixture(request.param, tmp_path)


def test_mode_arenas_serves_arenas_and_leaves_domains(python: Interpreter) -> None:
    result = python.ok("-c", USE_SOME)
    assert result.out == "200000\n"
    assert result.python["version"].startswith(python.version)
    assert result.python["mode"] == "arenas"
    assert result.part("arenas")["on"]
    assert not result.part("domains")["on"]
    assert result.python["arenas"]["used_peak"] >= 10
    assert result.python["arenas"]["allocs"] >= result.python["arenas"]["used_peak"]


def test_mode_heap_serves_domains_and_no_arenas(python: Interpreter) -> None:
    result = python.ok("-c", USE_SOME, mode="heap")
    assert result.out == "200000\n"
    assert result.part("domains") == {"on": True, "reason": None}
    assert result.python["arenas"]["used_peak"] == 0
    assert "no pools" in result.part("trim")["reason"]


def test_mode_none_changes_nothing(python: Interpreter) -> None:
    result = python.ok("-c", USE_SOME, mode="none")
    assert result.out == "200000\n"
    assert result.python is None


@pytest.mark.parametrize("setting", ["malloc", "malloc_debug"])
def test_pythonmalloc_malloc_leaves_arenas_off(python: Interpreter, setting: str) -> None:
    result = python.ok("-c", USE_SOME, PYTHONMALLOC=setting)
    assert not result.part("arenas")["on"]
    assert "PYTHONMALLOC" in result.part("arenas")["reason"]


@pytest.mark.parametrize("setting", ["debug", "pymalloc", "malloc", "malloc_debug"])
def test_mode_heap_yields_to_pythonmalloc(python: Interpreter, setting: str) -> None:
    result = python.ok("-c", USE_SOME, mode="heap", PYTHONMALLOC=setting)
    assert not result.part("domains")["on"]
    assert "PYTHONMALLOC" in result.part("domains")["reason"]


@pytest.mark.parametrize(
    "arguments", [("-X", "dev"), ("-Xdev",), ("-W", "ignore", "-IX", "dev"), ("-Bs", "-Xdev")]
)
def test_mode_heap_yields_to_development_mode(
    python: Interpreter, arguments: tuple[str, ...]
) -> None:
    result = python.ok(*arguments, "-c", USE_SOME, mode="heap")
    assert not result.part("domains")["on"]
    assert "development mode" in result.part("domains")["reason"]


def test_mode_heap_is_not_fooled_by_arguments_of_the_program(python: Interpreter) -> None:
    result = python.ok("-c", USE_SOME, "-X", "dev", mode="heap")
    assert result.part("domains")["on"]


def test_trim_off_by_option_says_so(python: Interpreter) -> None:
    result = python.ok("-c", USE_SOME, HOLDFAST_PYTHON_TRIM="0")
    assert result.part("trim") == {"on": False, "reason": "option python_trim is 0"}


def test_program_without_python_has_no_part(python: Interpreter) -> None:
    code = "import subprocess, sys; sys.exit(subprocess.run(['/bin/echo', 'hello']).returncode)"
    assert python.ok("-c", code).out == "hello\n"


@pytest.mark.skipif(
    not any(name.endswith("t") for name in interpreters()),
    reason="no free-threaded Python on this machine",
)
@pytest.mark.parametrize("mode", ["arenas", "heap"])
def test_free_threaded_python_keeps_its_objects(tmp_path: Path, mode: str) -> None:
    version = next(name for name in interpreters() if name.endswith("t"))
    python = interpreter_fixture(version, tmp_path)
    code = (
        "import gc\n"
        "for i in range(5002): a = []; b = [a]; a.append(b)\n"
        "del a, b; print(gc.collect() >= 10000)"
    )
    result = python.ok("-c", code, mode=mode)
    assert result.out == "True\n"
    assert not result.part("arenas")["on"]
    assert result.part("domains")["on"] is (mode == "heap")
