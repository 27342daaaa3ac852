"""Real programs under the preloaded library behave as they do without it.

Method: every program runs twice on the same deterministic input, plain and preloaded, each in a
folder of its own; standard output, standard error and exit status must be equal, every process must
have left a report that is JSON, and none of them may have reported corruption.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INPUTS = Path(__file__).parent / "inputs"
PROFILES = ("fast", "checked", "hardened", "debug")
LIMIT_S = 120


def find_library() -> Path | None:
    """Return the library to test: the environment's, the newest built, or the installed one."""
    for variable in ("HOLDFAST_MALLOC_LIBRARY", "HOLDFAST_LIBRARY"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).resolve()
    if os.environ.get("HOLDFAST_BUILD_DIR"):
        return Path(os.environ["HOLDFAST_BUILD_DIR"]).resolve() / "libholdfast_malloc.so"
    built = sorted(
        ROOT.glob("build/*/libholdfast_malloc.so"), key=lambda path: path.stat().st_mtime
    )
    if built:
        return built[-1]
    package = find_spec("holdfast")
    folders = list(package.submodule_search_locations or ()) if package else []
    installed = [path for folder in folders for path in Path(folder).rglob("libholdfast_malloc.so")]
    return installed[0] if installed else None


@pytest.fixture(scope="session")
def library() -> Path:
    found = find_library()
    if found is None or not found.exists():
        pytest.skip("libholdfast_malloc.so is not built")
    return found


@dataclass(frozen=True)
class Outcome:
    """What a program left behind."""

    status: int
    out: bytes
    err: bytes


class Place:
    """A folder of its own for one run, and the environment of that run."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        folder.mkdir()
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if "HOLDFAST" not in name}
        kept.pop("LD_PRELOAD", None)
        fixed = {"HOME": str(folder), "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
        self.environment = kept | fixed | dict(variables)

    def run(self, argv: Sequence[str | Path], given: bytes = b"") -> Outcome:
        """Run a program here to its end."""
        done = subprocess.run(
            [str(word) for word in argv],
            input=given,
            capture_output=True,
            cwd=self.folder,
            env=self.environment,
            timeout=LIMIT_S,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


class Both:
    """The same thing done twice, plain and preloaded."""

    def __init__(self, folder: Path, library: Path, profile: str) -> None:
        self.reports = folder / "reports"
        self.reports.mkdir()
        self.plain = Place(folder / "plain", {})
        self.preloaded = Place(
            folder / "preloaded",
            {
                "LD_PRELOAD": str(library),
                "HOLDFAST_PROFILE": profile,
                "HOLDFAST_REPORT_DIR": str(self.reports),
            },
        )

    def same(
        self, argv: Sequence[str | Path], given: bytes = b"", status: int | None = 0
    ) -> Outcome:
        """Run in both places and insist on the same outcome."""
        plain = self.plain.run(argv, given)
        if status is not None:
            assert plain.status == status, plain.err.decode(errors="replace")[-2000:]
        preloaded = self.preloaded.run(argv, given)
        assert preloaded.err == plain.err
        assert preloaded.status == plain.status
        assert preloaded.out == plain.out
        self.check_reports()
        return preloaded

    def check_reports(self) -> None:
        """Insist on at least one report, all whole, and on no corruption."""
        found = [path.read_text() for path in self.reports.glob("*.reports")]
        assert not found, found[0]
        written = list(self.reports.glob("*.json"))
        assert written
        for path in written:
            report = json.loads(path.read_text())
            assert report["pid"] == int(path.stem)
            assert report["process"]
            assert path.with_suffix(".smaps").stat().st_size > 0


@pytest.fixture(params=PROFILES)
def both(tmp_path: Path, library: Path, request: pytest.FixtureRequest) -> Both:
    return Both(tmp_path, library, str(request.param))


def program(name: str) -> str:
    """Return the path of a program, or skip the test."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def words(count: int, seed: int = 7) -> bytes:
    """Return lines of random words, always the same ones."""
    source = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = (
        f"{source.randrange(10**6)} " + "".join(source.choices(letters, k=source.randrange(2, 40)))
        for _ in range(count)
    )
    return "\n".join(lines).encode() + b"\n"


def test_python_computes_the_same(both: Both) -> None:
    python = Path(sys.executable).resolve()
    both.same([python, "-c", (INPUTS / "work.py").read_text()], status=3)


def test_python_spawns_workers(both: Both) -> None:
    script = both.plain.folder.parent / "workers.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "def cube(n): return len(str(list(range(n)))) ** 3\n"
        "if __name__ == '__main__':\n"
        "    for method in ('fork', 'spawn', 'forkserver'):\n"
        "        with multiprocessing.get_context(method).Pool(2) as pool:\n"
        "            print(method, sum(pool.map(cube, range(200))))\n"
    )
    both.same([Path(sys.executable).resolve(), script])


def test_git_makes_the_same_history(both: Both) -> None:
    program("git")
    variables = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_PAGER": "cat"}
    for place in (both.plain, both.preloaded):
        place.environment.update(variables)
        (place.folder / "words").write_bytes(words(2000))
    both.same(["/bin/sh", INPUTS / "history.sh"])


def test_sqlite_answers_the_same(both: Both) -> None:
    both.same([program("sqlite3"), "data.db"], (INPUTS / "queries.sql").read_bytes())


def test_gcc_makes_the_same_object(both: Both) -> None:
    compiler = program("g++")
    for place in (both.plain, both.preloaded):
        (place.folder / "main.cpp").write_bytes((INPUTS / "main.cpp").read_bytes())
    both.same([compiler, "-std=c++17", "-O2", "-pipe", "-c", "main.cpp", "-o", "main.o"])
    objects = [(place.folder / "main.o").read_bytes() for place in (both.plain, both.preloaded)]
    assert objects[0] == objects[1]
    both.same([compiler, "main.o", "-o", "main"])
    assert both.same(["./main"]).out.endswith(b" 96\n")


def test_gcc_reports_errors_the_same(both: Both) -> None:
    both.same(
        [program("gcc"), "-x", "c", "-c", "-", "-o", "x.o"], b"int f( { return y; }\n", status=1
    )


def test_sort_orders_the_same(both: Both) -> None:
    given = words(150_000)
    sort = program("sort")
    outcome = both.same([sort, "--parallel=4", "-S", "4M", "-k2"], given)
    assert outcome.out.count(b"\n") == 150_000
    both.same([sort, "-n", "-u", "-r"], given)


def test_tar_packs_the_same(both: Both) -> None:
    tar = program("tar")
    for place in (both.plain, both.preloaded):
        for number in range(60):
            folder = place.folder / "tree" / f"{number % 7}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{'long' * (number % 40)}{number}").write_bytes(words(number * 5, number))
    fixed = [
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--format=pax",
    ]
    fixed += ["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]
    outcome = both.same([tar, "-cf", "-", *fixed, "tree"])
    both.same([tar, "-tvf", "-"], outcome.out)
    both.same([tar, "-xf", "-", "--one-top-level=out"], outcome.out)
    program("gzip")
    both.same([tar, "-czf", "out.tgz", *fixed, "tree"])
    digests = [
        hashlib.sha256((place.folder / "out.tgz").read_bytes()).hexdigest()
        for place in (both.plain, both.preloaded)
    ]
    assert digests[0] == digests[1]


def test_perl_prints_the_same(both: Both) -> None:
    both.same([program("perl"), INPUTS / "words.pl"], words(20_000), status=4)


def test_shell_pipelines_give_the_same(both: Both) -> None:
    both.same([program("bash"), INPUTS / "pipelines.sh"], status=8)


def test_death_by_signal_is_the_same(both: Both) -> None:
    shell = program("sh")
    both.same([shell, "-c", "exit 0"])
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
        both.same([shell, "-c", f"kill -{int(number)} $$"], status=-int(number))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so; a watchdog, not a measurement."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def serve_redis(place: Place, server: str, client: str, load: str) -> tuple[int, bytes]:
    """Start a server on a socket in the folder, ask it, load it, end it."""
    # Socket names are short: the folder of a test is not.
    socket = Path("/tmp") / f"holdfast-{os.getpid()}-{place.folder.name}.sock"
    argv = [server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    # Threads that free lazily, and the background move of blocks where the build has it.
    argv += ["--lazyfree-lazy-user-del", "yes"]
    process = subprocess.Popen(
        argv,
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: socket.exists() or process.poll() is not None, "redis never listened")
        assert process.poll() is None, process.communicate()[0].decode(errors="replace")
        answers = place.run([client, "-s", socket], (INPUTS / "commands.redis").read_bytes())
        assert answers.status == 0, answers.err
        tests = "set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset"
        bench = [
            load,
            "-s",
            str(socket),
            "-n",
            "4000",
            "-c",
            "20",
            "-P",
            "4",
            "-q",
            "-r",
            "1000",
            "-t",
            tests,
        ]
        done = place.run(bench)
        assert done.status == 0, done.err
        place.run([client, "-s", socket, "shutdown", "nosave"])
        process.communicate(timeout=LIMIT_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        socket.unlink(missing_ok=True)
    return process.returncode, answers.out


def test_redis_answers_the_same_and_survives_load(both: Both) -> None:
    tools = [program(name) for name in ("redis-server", "redis-cli", "redis-benchmark")]
    plain = serve_redis(both.plain, *tools)
    preloaded = serve_redis(both.preloaded, *tools)
    assert plain[0] == 0
    assert preloaded == plain
    both.check_reports()
