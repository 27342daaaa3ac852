"""Every example of C, C++ and Python heaps, run as its README says, against the installed package.

Method: C and C++ are built twice, by CMake through find_package and by the compiler through
pkg-config, and their output is compared with the README's, addresses and figures apart. What this
machine has no tool for is skipped with a reason.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import holdfast
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PREFIX = Path(str(holdfast.prefix()))


def tool(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"no {' or '.join(names)} on this machine")


def run(*command: str | Path, **more: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **more},
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shape(text: str) -> list[str]:
    """Lines without what differs from run to run: numbers, addresses, quoted bytes."""
    text = re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
    text = re.sub(r"\d+(\.\d+)?", "N", text)
    return [line.strip() for line in text.strip().splitlines() if "expected ADDRESS" not in line]


def readme_output(folder: str) -> list[str]:
    """The block after "It prints" in the README of an example."""
    page = (EXAMPLES / folder / "README.md").read_text()
    match = re.search(r"It prints.*?```text\n(.*?)```", page, re.DOTALL)
    assert match, f"{folder}/README.md shows no output"
    return shape(match[1])


@pytest.mark.parametrize("folder", ["c_heap", "cpp_pmr", "arena_parser"])
def test_example_built_by_cmake_prints_what_the_readme_shows(folder: str, tmp_path: Path) -> None:
    cmake = tool("cmake")
    tool("cc", "gcc", "clang")
    tool("c++", "g++", "clang++")
    run(cmake, "-S", EXAMPLES / folder, "-B", tmp_path, f"-Dholdfast_ROOT={PREFIX}")
    run(cmake, "--build", tmp_path)
    assert shape(run(tmp_path / folder)) == readme_output(folder)


@pytest.mark.parametrize(
    ("folder", "source", "compilers", "flags"),
    [
        ("c_heap", "main.c", ("cc", "gcc", "clang"), ["-std=c11", "-Wall", "-Wextra", "-Werror"]),
        ("cpp_pmr", "main.cpp", ("c++", "g++", "clang++"), ["-std=c++20", "-Wall", "-Wextra"]),
        ("arena_parser", "main.cpp", ("c++", "g++", "clang++"), ["-std=c++20", "-Wall", "-Wextra"]),
    ],
)
def test_example_built_by_pkg_config_runs(
    folder: str, source: str, compilers: tuple[str, ...], flags: list[str], tmp_path: Path
) -> None:
    compiler = tool(*compilers)
    path = str(PREFIX / "lib" / "pkgconfig")
    found = run(tool("pkg-config"), "--cflags", "--libs", "holdfast", PKG_CONFIG_PATH=path).split()
    target = tmp_path / folder
    rpath = f"-Wl,-rpath,{PREFIX / 'lib'}"
    run(compiler, *flags, EXAMPLES / folder / source, "-o", target, *found, rpath)
    assert shape(run(target)) == readme_output(folder)


def test_python_heap_prints_what_the_readme_shows() -> None:
    pytest.importorskip("numpy")
    output = run(sys.executable, EXAMPLES / "python_heap" / "main.py")
    assert shape(output) == readme_output("python_heap")


@pytest.mark.parametrize("how", ["plain", "preload"])
def test_particles_print_what_the_readme_shows(how: str) -> None:
    pytest.importorskip("numpy")
    front = [] if how == "plain" else ["-m", "holdfast", "run", "--quiet"]
    script = EXAMPLES / "particles" / "main.py"
    output = run(sys.executable, *front, script, "--particles", "20000", "--steps", "20")
    assert shape(output) == readme_output("particles")


def test_python_heap_runs_under_holdfast_run() -> None:
    pytest.importorskip("numpy")
    script = EXAMPLES / "python_heap" / "main.py"
    output = run(sys.executable, "-m", "holdfast", "run", "--quiet", script)
    assert shape(output) == readme_output("python_heap")


def test_service_memory_is_told_and_gives_back() -> None:
    script = EXAMPLES / "service_memory" / "service.py"
    output = run(sys.executable, "-m", "holdfast", "run", "--quiet", script)
    assert "active: True" in output
    match = re.search(r"start (\d+) MiB, peak (\d+) MiB, after two seconds (\d+) MiB", output)
    assert match, output
    start, peak, rest = map(int, match.groups())
    assert peak - start > 50
    assert rest - start < (peak - start) / 2
    told = re.search(r"(\d+) rows kept, told to shrink (\d+) times", output)
    assert told, output
    assert int(told[1]) == 451
    assert int(told[2]) >= 1


def test_service_memory_runs_without_the_preload() -> None:
    output = run(sys.executable, EXAMPLES / "service_memory" / "service.py")
    assert "active: False" in output


@pytest.mark.skipif(holdfast.fiber.unsupported() is not None, reason="fibers do not work here")
@pytest.mark.parametrize("under", [(), ("-m", "holdfast", "run", "--quiet")], ids=["plain", "run"])
def test_fiber_python_prints_what_the_readme_shows(under: tuple[str, ...]) -> None:
    output = run(sys.executable, *under, EXAMPLES / "fiber_python" / "main.py")
    expected = (EXAMPLES / "fiber_python" / "README.md").read_text()
    assert output in expected
    assert " 0 wrong" in output


@pytest.mark.parametrize("under", [(), ("-m", "holdfast", "run", "--quiet")], ids=["plain", "run"])
def test_record_pool_prints_what_the_readme_shows(under: tuple[str, ...]) -> None:
    pytest.importorskip("numpy")
    output = run(sys.executable, *under, EXAMPLES / "record_pool" / "main.py")
    assert output in (EXAMPLES / "record_pool" / "README.md").read_text()


def build_fiber_server(folder: Path) -> Path:
    cmake = tool("cmake")
    tool("c++", "g++", "clang++")
    run(cmake, "-S", EXAMPLES / "fiber_server", "-B", folder, f"-Dholdfast_ROOT={PREFIX}")
    run(cmake, "--build", folder)
    return folder / "fiber_server"


def test_fiber_server_answers_every_client_and_names_who_overflows(tmp_path: Path) -> None:
    server = build_fiber_server(tmp_path)

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [str(server), "0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return process, process.stdout.readline().split()[-1]

    process, port = start()
    try:
        output = run(sys.executable, EXAMPLES / "fiber_server" / "client.py", port, "300", "10")
        assert output.strip() == "300 connections, 3003 lines, 0 wrong"
        said, _ = process.communicate(input="", timeout=60)
        assert process.returncode == 0
        assert "300 connections, at most 300 at once, 3003 lines" in said
        assert said.strip().endswith("2 in use")
    finally:
        process.kill()

    process, port = start()
    try:
        with socket.create_connection(("127.0.0.1", int(port)), 60) as client:
            client.sendall(b"deep 10000000\n")
            assert client.recv(100) == b""
        _, errors = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGABRT
        assert "fiber 'connection-1' overflowed its 64.0 KiB stack at 0x" in errors
        assert "pool 'connections'" in errors
    finally:
        process.kill()
