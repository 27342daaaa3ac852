"""rss() takes the resident set apart without losing or inventing a byte.

Method: classify() over hand-made mappings with known sums; then this very process, and processes
under the preload, before and after they hold something of each kind.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import mmap
import re
import subprocess
import sys
import threading
from pathlib import Path

import cli_samples as samples
import pytest
from cli_tools import WATCHDOG, holdfast
from holdfast.rss import Breakdown, MemoryMapping, classify, parse_segments, parse_smaps

# The package shows the function rss() under the module's name.
rss_module = sys.modules[Breakdown.__module__]
KIB, MIB = samples.KIB, samples.MIB


def sample() -> Breakdown:
    python = samples.final(1, 1, [])["python"]
    return classify(
        parse_smaps(samples.smaps()), parse_segments(samples.SEGMENTS), samples.STATS, python
    )


def test_sample_is_split_to_the_byte() -> None:
    assert sample() == Breakdown(
        live=28 * MIB,
        slack=2 * MIB,
        cached=1 * MIB,
        free=5 * MIB - 64 * KIB,  # 8 MiB mapped, 3 and a bit of them not resident
        quarantined=64 * KIB,
        meta=1 * MIB - 64 * KIB,
        python_used=6 * MIB,
        python_free=2 * MIB,
        other=2 * MIB + 196 * KIB,
        stacks=136 * KIB,
        code=664 * KIB,
        files=256 * KIB,
        shared=512 * KIB,
        kernel=4 * KIB,
    )


def test_total_is_what_the_kernel_counts() -> None:
    assert sample().total == sum(row[4] for row in samples.SMAPS_ROWS) * KIB
    assert sample().as_dict()["total"] == sample().total
    assert sample().heap == 37 * MIB - 64 * KIB


def test_breakdown_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample().live = 0  # type: ignore[misc]


HEAP = MemoryMapping(0x1000_0000, 0x2000_0000, "rw-p", "", 100)
RANGE = [(0x1000_0000, 0x2000_0000, "reservation")]


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ({"in_use": 60, "free": 40}, {"live": 60, "free": 40}),
        ({"in_use": 60, "free": 90}, {"live": 60, "free": 40}),
        ({"in_use": 60, "cached": 30, "free": 90}, {"live": 60, "cached": 30, "free": 10}),
        ({"in_use": 90, "cached": 30, "free": 90}, {"live": 90, "cached": 10}),
        ({"in_use": 300, "cached": 30, "free": 90}, {"live": 100}),
        ({"in_use": 60}, {"live": 60, "free": 40}),
    ],
)
def test_untouched_memory_comes_off_the_free_side_first(
    account: dict[str, int], expected: dict[str, int]
) -> None:
    stats = {f"bytes_{name}": value for name, value in account.items()}
    found = classify([HEAP], RANGE, stats)
    assert found == Breakdown(**expected)
    assert found.total == 100


def test_without_account_the_heap_is_live() -> None:
    assert classify([HEAP], RANGE) == Breakdown(live=100)


def test_mapping_that_sticks_out_of_the_heap_is_split() -> None:
    mapping = MemoryMapping(0x1000, 0x9000, "rw-p", "", 0x8000)
    assert classify([mapping], [(0x1000, 0x3000, "segment")]) == Breakdown(
        live=0x2000, other=0x6000
    )


def test_ranges_may_overlap_and_come_unsorted() -> None:
    ranges = [(0x2000, 0x3000, "b"), (0x1000, 0x3000, "a"), (0x1000, 0x2000, "c")]
    mapping = MemoryMapping(0x1000, 0x9000, "rw-p", "", 0x8000)
    assert classify([mapping], ranges).live == 0x2000


def test_bookkeeping_is_taken_off_the_anonymous_mappings() -> None:
    other = MemoryMapping(0x3000_0000, 0x3100_0000, "rw-p", "", 50)
    stats = {"bytes_in_use": 100, "bytes_meta": 30}
    assert classify([HEAP, other], RANGE, stats) == Breakdown(live=100, meta=30, other=20)
    assert classify([HEAP], RANGE, stats) == Breakdown(live=100)


@pytest.mark.parametrize("edge", [0x10000, 0x11000, 0x18000, 0x1F000])
def test_reservation_inside_a_merged_mapping_is_found(edge: int) -> None:
    mapping = MemoryMapping(0x10000, 0x20000, "rw-p", "", 1)
    found = rss_module._owned_part(mapping, lambda address: address >= edge)
    assert found == (edge, 0x20000, "heap")
    found = rss_module._owned_part(mapping, lambda address: address < edge)
    assert found == (None if edge == 0x10000 else (0x10000, edge, "heap"))


def test_mapping_named_by_the_library_is_its_own() -> None:
    mapping = MemoryMapping(0x1000, 0x2000, "rw-p", "[anon:holdfast]", 50)
    assert classify([mapping]) == Breakdown(live=50)


def test_guard_of_another_size_is_no_stack() -> None:
    guard = MemoryMapping(0x10_0000_0000, 0x20_0000_0000, "---p", "", 0)
    above = MemoryMapping(0x20_0000_0000, 0x20_0010_0000, "rw-p", "", 10)
    assert classify([guard, above]) == Breakdown(other=10)
    near = guard._replace(start=guard.end - 4096)
    assert classify([near, above]) == Breakdown(stacks=10)
    assert classify([near, above._replace(start=above.start + 4096)]) == Breakdown(other=10)


def test_bss_of_a_real_library_is_code() -> None:
    path = next(m.path for m in own_mappings() if "libc.so" in m.path)
    size = rss_module._bss_of(path)
    text = MemoryMapping(0x1000, 0x2000, "r-xp", path, 1)
    data = MemoryMapping(0x2000, 0x3000, "rw-p", path, 2)
    behind = MemoryMapping(0x3000, 0x3000 + 64 * MIB, "rw-p", "", 32 * MIB)
    found = classify([text, data, behind])
    assert found == Breakdown(code=3 + size, other=32 * MIB - size)
    assert 0 < size < MIB


def test_garbage_is_skipped() -> None:
    assert parse_smaps("nonsense\nRss: 5 kB\n\nabc\nzz-yy\n") == []
    assert parse_segments("x y z\n10 5 k\n\n1000 2000 python arenas\n") == [
        (0x1000, 0x2000, "python arenas")
    ]


# --- this process ----------------------------------------------------------------------------


def own_mappings() -> list[MemoryMapping]:
    return parse_smaps(Path("/proc/self/smaps").read_text())


def kernel_rss() -> int:
    status = Path("/proc/self/smaps_rollup").read_text()
    found = re.search(r"^Rss:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * KIB


def test_own_parts_are_near_the_kernels_figure() -> None:
    before = kernel_rss()
    found = rss_module.rss()
    after = kernel_rss()
    assert min(before, after) - 8 * MIB <= found.total <= max(before, after) + 8 * MIB
    assert found.code > MIB


def test_private_mapping_is_other() -> None:
    before = rss_module.rss()
    with mmap.mmap(-1, 32 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for page in range(0, 32 * MIB, 4096):
            block[page] = 1
        during = rss_module.rss()
    assert 31 * MIB <= during.other - before.other <= 34 * MIB


def test_shared_mapping_is_shared() -> None:
    before = rss_module.rss()
    with mmap.mmap(-1, 16 * MIB) as block:
        for page in range(0, 16 * MIB, 4096):
            block[page] = 1
        during = rss_module.rss()
    assert during.shared - before.shared == 16 * MIB


def test_mapped_file_is_files(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * 8 * MIB)
    before = rss_module.rss()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as block:
        assert sum(block[page] for page in range(0, 8 * MIB, 4096)) > 0
        during = rss_module.rss()
    assert during.files - before.files == 8 * MIB


def test_thread_stack_is_stacks() -> None:
    libc = ctypes.CDLL(None)
    ready, leave = threading.Event(), threading.Event()
    before = rss_module.rss()

    def deep() -> None:
        assert libc.getpid() > 0
        ready.set()
        leave.wait(WATCHDOG)

    # A size nobody else has: stacks of ended threads, which libc keeps, do not serve.
    usual = threading.stack_size(64 * MIB)
    threads = [threading.Thread(target=deep) for _ in range(4)]
    for thread in threads:
        thread.start()
    threading.stack_size(usual)
    assert ready.wait(WATCHDOG)
    during = rss_module.rss()
    leave.set()
    for thread in threads:
        thread.join()
    assert during.stacks > before.stacks


# --- under the preload -----------------------------------------------------------------------


def under(code: str, *options: str) -> dict[str, dict[str, int]]:
    """What a program under holdfast prints as JSON."""
    pytest.importorskip("holdfast._core")
    done = holdfast("run", "--quiet", *options, "-c", "import holdfast, json\n" + code)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


PRINT = """
parts = {k: v.as_dict() for k, v in dict(before=before, during=during, after=after).items()}
print(json.dumps(parts))
"""


def test_large_blocks_are_live_while_they_live() -> None:
    found = under(
        "before = holdfast.rss()\n"
        "x = bytearray(b'x') * (64 << 20)\n"
        "during = holdfast.rss()\n"
        "del x; holdfast.reclaim()\n"
        "after = holdfast.rss()\n" + PRINT
    )
    grown = found["during"]["live"] - found["before"]["live"]
    assert 62 * MIB <= grown <= 70 * MIB
    assert found["after"]["total"] < found["during"]["total"] - 50 * MIB
    assert found["during"]["other"] < found["before"]["other"] + 8 * MIB


def test_small_objects_are_pools_with_arenas() -> None:
    found = under(
        "before = holdfast.rss()\n"
        "x = [object() for _ in range(1_000_000)]\n"
        "during = holdfast.rss()\n"
        "after = during\n" + PRINT,
        "--python-allocator=arenas",
    )
    grown = found["during"]["python_used"] - found["before"]["python_used"]
    assert grown >= 14 * MIB
    assert found["during"]["other"] < found["before"]["other"] + 8 * MIB


def test_small_objects_are_live_blocks_with_heap() -> None:
    found = under(
        "before = holdfast.rss()\n"
        "x = [object() for _ in range(1_000_000)]\n"
        "during = holdfast.rss()\n"
        "after = during\n" + PRINT,
        "--python-allocator=heap",
    )
    assert found["during"]["live"] - found["before"]["live"] >= 20 * MIB


def test_works_without_the_preload() -> None:
    pytest.importorskip("holdfast._core")
    code = (
        "import holdfast; b = holdfast.rss(); print(b.total == sum(b.as_dict().values()) - b.total)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=WATCHDOG
    )
    assert done.stdout == b"True\n"
