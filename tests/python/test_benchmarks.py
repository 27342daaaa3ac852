"""The benchmark programs end well and compute the same under every allocator installed here.

Method: build benchmarks/c, run each program with one percent of its work under glibc and under each
peer and profile found, compare exit status and printed checksum. No time is asserted.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import instructions  # noqa: E402
from harness import allocators, measure, programs, tables  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")

PYTHON = ROOT / "benchmarks" / "python"
ROWS = programs.programs(percent=1)
COLUMNS = allocators.choose(allocators.find_holdfast())


@pytest.fixture(scope="module", autouse=True)
def built() -> Path:
    return measure.build()


@pytest.mark.parametrize("program", ROWS, ids=lambda program: program.name)
def test_program_under_every_allocator_prints_the_same(program: programs.Program) -> None:
    samples = {column.name: program.run(column) for column in COLUMNS}
    failures = {name: s.failure for name, s in samples.items() if s.failure}
    assert not failures
    expected = samples[allocators.BASELINE].output
    assert expected
    assert {name: s.output for name, s in samples.items() if s.output != expected} == {}


def test_program_run_twice_prints_the_same_checksum() -> None:
    command = [str(measure.BUILD / "mstress"), "2", "3"]
    first, second = (measure.run(command, COLUMNS[0]) for _ in range(2))
    assert first.output == second.output
    other = measure.run([command[0], "3", "3"], COLUMNS[0])
    assert other.output != first.output


def test_launch_reports_peak_and_exit_of_the_program_not_of_the_harness() -> None:
    sample = measure.run(["sh", "-c", "exit 7"], COLUMNS[0])
    assert sample.failure is not None
    assert sample.failure.startswith("exit 7")
    assert 0 < sample.rss_mb < 8
    code = "b = bytearray(64 << 20); b[::4096] = b'x' * len(b[::4096])"
    assert measure.run([sys.executable, "-S", "-c", code], COLUMNS[0]).rss_mb > 64


def test_launch_kills_a_program_that_does_not_end() -> None:
    sample = measure.run(["sleep", "30"], COLUMNS[0], timeout=0.2)
    assert sample.failure is not None
    assert "no end" in sample.failure


def test_c_programs_refuse_nonsense_arguments() -> None:
    run = subprocess.run([str(measure.BUILD / "sh6"), "0"], capture_output=True, check=False)
    assert run.returncode == 2


def test_ratios_pair_rounds_and_skip_failures() -> None:
    assert tables.ratios([2.0, None, 6.0], [4.0, 4.0, 3.0]) == [0.5, 2.0]
    assert tables.geometric_mean([0.5, 2.0, float("nan")]) == pytest.approx(1.0)
    assert tables.markdown(["a", "b"], [["x", "1"]]).splitlines()[2] == "| x | 1 |"


@pytest.mark.parametrize("script", ["churn", "json_records", "parsing", "threads"])
def test_python_workload_prints_its_figures(script: str) -> None:
    sample = measure.run([sys.executable, str(PYTHON / f"{script}.py"), "1", "0.01"], COLUMNS[0])
    assert sample.failure is None
    figures = json.loads(sample.output)
    assert figures["cpu_ms"] > 0
    assert figures["peak_mb"] >= figures["end_mb"] > 5
    assert "checksum" in figures


def test_numpy_workload_measures_every_expression() -> None:
    pytest.importorskip("numpy")
    script = str(PYTHON / "numpy_temporaries.py")
    sample = measure.run([sys.executable, script, "--scale", "2"], COLUMNS[0])
    assert sample.failure is None
    figures = json.loads(sample.output)
    labels = {f"{e}{s}" for e in ("A", "B", "C", "outA", "outB") for s in ("64K", "1M", "8M")}
    assert all(figures[label] > 0 for label in labels)


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_instructions_of_a_pair_repeat_and_grow_with_the_work() -> None:
    first, second = (instructions.per_pair(COLUMNS[0], "16") for _ in range(2))
    assert first is not None
    assert second == pytest.approx(first, abs=0.5)
    cleared = instructions.per_pair(COLUMNS[0], "calloc")
    assert cleared is not None
    assert cleared > first > 7  # seven are the loop


@pytest.mark.parametrize("more", [[], ["--install"]])
def test_arrays_measures_every_variant(more: list[str]) -> None:
    pytest.importorskip("holdfast.numpy")
    command = [sys.executable, str(PYTHON / "arrays.py"), "--scale", "1", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    figures = json.loads(done.stdout)
    for name in ("empty1K plain", "empty1K array", "a10+1 heap", "arenaB64M", "outB64M"):
        assert figures[name] > 0


def test_object_pool_benchmarks_print_every_pool_and_workload() -> None:
    run = subprocess.run(
        [str(measure.BUILD / "bench_object_pool"), "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    pools: dict[str, set[str]] = {}
    for row in rows:
        pools.setdefault(row["workload"], set()).add(row["pool"])
    assert set(pools) == {"pair", "stack", "queue", "random", "threads", "handed"}
    assert all({"holdfast", "holdfast-capacity", "glibc"} <= names for names in pools.values())
    assert all(row["ns"] > 0 for row in rows)

    script = [sys.executable, str(PYTHON / "object_pool.py"), "1"]
    run = subprocess.run(script, capture_output=True, text=True, timeout=120, check=True)
    ways = {json.loads(line)["way"] for line in run.stdout.splitlines()}
    assert {"holdfast.Pool", "bytearray", "empty"} <= ways


def test_map_benchmarks_print_every_map_and_workload() -> None:
    run = subprocess.run(
        [str(measure.BUILD / "bench_shm_map"), "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    maps: dict[str, set[str]] = {}
    for row in rows:
        maps.setdefault(row["workload"], set()).add(row["name"])
    kinds = ("get", "miss", "put", "cycle", "walk")
    assert set(maps) == {f"{kind} {count}" for kind in kinds for count in ("1k", "100k")}
    assert all({"holdfast", "unordered_map", "locked"} <= names for names in maps.values())
    assert all(row["ns"] > 0 for row in rows)
