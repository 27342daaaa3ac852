"""The programs of the C suite: ours in benchmarks/c, and real ones found on the machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import measure
from harness.allocators import Allocator
from harness.machine import ROOT
from harness.measure import Sample

REAL = ROOT / "benchmarks" / "real"


@dataclass(frozen=True)
class Program:
    """One row of the C suite.

    ``field`` marks the programs that the published comparisons of allocators share; their geometric
    mean is the figure to compare with those. The rest widens the picture.
    """

    name: str
    run: Callable[[Allocator], Sample]
    field: bool
    threads: str  # "1" or "N"


def _ours(source: str, threads: int, percent: int) -> Callable[[Allocator], Sample]:
    command = [str(measure.BUILD / source), str(percent), str(threads)]
    return lambda allocator: measure.run(command, allocator)


# name, source, threads (0: one a processor), field
_C = (
    ("bignum", "bignum", 1, True),
    ("espresso", "espresso", 1, True),
    ("barnes", "barnes", 1, True),
    ("alloc-test1", "alloc_test", 1, True),
    ("alloc-testN", "alloc_test", 0, True),
    ("larsonN", "larson", 0, True),
    ("larsonN-sized", "larson_sized", 0, True),
    ("sh6N", "sh6", 0, True),
    ("sh8N", "sh8", 0, True),
    ("xmallocN", "xmalloc", 0, True),
    ("cache-scratch1", "cache_scratch", 1, True),
    ("cache-scratchN", "cache_scratch", 0, True),
    ("cache-thrash1", "cache_thrash", 1, True),
    ("cache-thrashN", "cache_thrash", 0, True),
    ("glibc-simple", "glibc_simple", 1, True),
    ("glibc-thread", "glibc_thread", 0, True),
    ("mstressN", "mstress", 0, True),
    ("rptestN", "rptest", 0, True),
    ("malloc-large", "malloc_large", 1, True),
    ("mleakN", "mleak", 0, True),
    ("realloc-mix", "realloc_mix", 1, False),
    ("fragmentation", "fragmentation", 1, False),
    ("calloc-mix", "calloc_mix", 1, False),
    ("treesN", "trees", 0, False),
    ("containers", "containers", 1, False),
)


def _redis(allocator: Allocator) -> Sample:
    """A server under the allocator, its client without: 150000 pipelined requests of four kinds."""
    if allocator.library is None:
        # Debian's server is linked to jemalloc; the shim gives it the C library's malloc back.
        allocator = Allocator(allocator.name, str(measure.BUILD / "libglibc_shim.so"))
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        socket = f"{folder}/s"
        server = ["redis-server", "--port", "0", "--unixsocket", socket, "--save", ""]
        process, reader = measure.start([*server, "--appendonly", "no", "--dir", folder], allocator)
        client = ["redis-benchmark", "-s", socket, "-q", "-P", "16", "-c", "8", "-r", "50000"]
        deadline = time.monotonic() + 20
        while not Path(socket).exists() and time.monotonic() < deadline:
            if process.poll() is not None:
                return measure.finish(process, reader)
            time.sleep(0.01)
        begun = time.monotonic()
        load = subprocess.run(
            [*client, "-n", "60000", "-d", "120", "-t", "set,get,lpush,hset,lrange_100"],
            env=measure.environment(Allocator("none")),
            capture_output=True,
            timeout=60,
            check=False,
        )
        wall_ms = (time.monotonic() - begun) * 1000
        subprocess.run(["redis-cli", "-s", socket, "shutdown", "nosave"], check=False)
        sample = measure.finish(process, reader)
    failure = sample.failure
    if load.returncode != 0:
        failure = f"client: exit {load.returncode}"
    return Sample(wall_ms, sample.cpu_ms, sample.rss_mb, sample.faults, "served", failure)


def _real() -> Iterator[Program]:
    def command(name: str, words: list[str], extra: dict[str, str] | None = None) -> Program:
        return Program(name, lambda allocator: measure.run(words, allocator, extra), True, "1")

    mix = str(ROOT / "benchmarks" / "python" / "mix.py")
    yield command(
        "python", [sys.executable, mix], {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}
    )
    if shutil.which("sqlite3"):
        script = f".read {REAL / 'orders.sql'}"
        yield command("sqlite", ["sqlite3", "-batch", ":memory:", script])
    if shutil.which("redis-server") and shutil.which("redis-benchmark"):
        yield Program("redis", _redis, True, "1")
    if shutil.which("g++"):
        source = str(ROOT / "benchmarks" / "c" / "containers.cpp")
        yield command("gcc", ["g++", "-std=c++20", "-O1", "-S", "-o", "-", source])
    if shutil.which("perl"):
        script = str(REAL / "words.pl")
        yield command("perl", ["perl", script], {"PERL_HASH_SEED": "0"})


def programs(percent: int = 100) -> list[Program]:
    """All programs of this machine; `percent` scales the work of ours."""
    ours = [
        Program(name, _ours(source, threads, percent), field, str(threads or "N"))
        for name, source, threads, field in _C
    ]
    return [*ours, *_real()]
