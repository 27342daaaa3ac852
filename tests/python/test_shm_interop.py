"""One segment, three languages: what one writes the others read, in all pairs.

Method: a C and a C++ program, compiled against the installed headers and library, and this process
each write one of every structure, or read and check it.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import holdfast
import numpy as np
import pytest
from holdfast import shm

pytest_plugins = ("shm_tools",)

PREFIX = Path(str(holdfast.prefix()))
PROGRAMS = Path(__file__).parent / "programs"
TICK = np.dtype([("price", "<f8"), ("count", "<i4")])
COMPILERS = {"c": ("cc", "shm_speaker.c", []), "cpp": ("c++", "shm_speaker.cpp", ["-std=c++20"])}


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for language, (compiler, source, flags) in COMPILERS.items():
        if shutil.which(compiler) is None:
            pytest.skip(f"no {compiler} here")
        made[language] = tmp_path_factory.mktemp("speakers") / language
        library = PREFIX / "lib"
        subprocess.run(
            [compiler, *flags, "-O1", "-Wall", "-Werror", str(PROGRAMS / source), "-o",
             str(made[language]), f"-I{PREFIX / 'include'}", f"-L{library}", "-lholdfast",
             f"-Wl,-rpath,{library}"],
            check=True,
        )  # fmt: skip
    return made


def meet(segment: shm.Segment, writes: bool) -> None:
    """What processes wait for each other with."""
    mode: Any = "open_or_create" if writes else "open"
    ready = segment.event("ready", automatic=True, mode=mode)
    tokens = segment.semaphore("tokens", 0, counted=True, most=9, mode=mode)
    permits = segment.semaphore("permits", 5, mode=mode)
    step = segment.barrier("step", 1, on_death="go_on", mode=mode)
    with segment.mutex("guard", mode=mode):
        assert permits.acquire(5, timeout=0)
        if writes:
            ready.set()
            tokens.release(3)
            assert [step.wait(), step.wait()] == [0, 0]
        else:
            assert ready.wait(0)
            assert not ready.is_set()
            assert tokens.acquire(3, timeout=0)
            assert tokens.value == 0
            assert step.round == 2
        permits.release(5)


def write(segment: shm.Segment) -> None:
    meet(segment, True)
    for number in range(3):
        segment.queue("ticks", 16, dtype=TICK).put((1.5 * number, number))
    segment.array("field", (2, 3), "<f4")[:] = np.arange(6.0).reshape(2, 3) ** 2
    segment.versioned("state", 5, "<i8").write([1, 2, 3, 4, -5])
    segment.ring("stream", 64, dtype="<f8").push([0.5, 1.5, 2.5, 3.5])
    counts = segment.cells("counts", 2)
    counts.add(42, 1)
    values = segment.map("values", 100, key="<i8", value="<f8")
    for key in range(-2, 3):
        values[key] = key / 4
    one = segment.pool("objects", 4, dtype="<f8").acquire()
    one.array[()] = 6.25
    counts.store(one.handle)
    one.pass_on()
    segment.queue("notes", 8, size=64).put(b"hello")


def read(segment: shm.Segment) -> None:
    meet(segment, False)
    ticks: Any = segment["ticks"]
    assert [tuple(ticks.get(timeout=0)) for _ in range(3)] == [(0.0, 0), (1.5, 1), (3.0, 2)]
    field: Any = segment["field"]
    assert field.ndarray.tolist() == [[0, 1, 4], [9, 16, 25]]
    state: Any = segment["state"]
    array, version = state.read()
    assert (array.tolist(), version) == ([1, 2, 3, 4, -5], 1)
    stream: Any = segment["stream"]
    assert stream.latest(8).tolist() == [0.5, 1.5, 2.5, 3.5]
    counts: Any = segment["counts"]
    assert counts[1] == 42
    values: Any = segment["values"]
    assert dict(values.items()) == {key: key / 4 for key in range(-2, 3)}
    objects: Any = segment["objects"]
    with objects.adopt(counts[0]) as one:
        assert one.array == 6.25
    notes: Any = segment["notes"]
    assert notes.get(timeout=0) == b"hello"


@pytest.mark.parametrize(
    ("writer", "reader"), list(itertools.product(["python", "c", "cpp"], repeat=2))
)
def test_what_one_writes_the_other_reads(
    segment: shm.Segment, speakers: dict[str, Path], writer: str, reader: str
) -> None:
    for step, language in (("write", writer), ("read", reader)):
        if language == "python":
            (write if step == "write" else read)(segment)
        else:
            done = subprocess.run(
                [str(speakers[language]), segment.name, step],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")
    assert segment.check() == []


def test_an_old_layout_is_refused_politely(shm_name: str) -> None:
    segment = shm.Segment(shm_name, size="1 MiB", persist=True)
    segment.close()
    path = Path(f"/dev/shm/holdfast-{shm_name}")
    with path.open("r+b") as file:  # magic:64 layout:32
        file.seek(8)
        (layout,) = struct.unpack("<I", file.read(4))
        file.seek(8)
        file.write(struct.pack("<I", layout + 7))
    with pytest.raises(shm.LayoutError) as caught:
        shm.Segment(shm_name, mode="open")
    assert str(layout) in str(caught.value)
    assert str(layout + 7) in str(caught.value)


@pytest.mark.parametrize("kind", ["empty", "short", "text", "folder", "link", "fifo"])
def test_what_is_no_segment_is_refused(shm_name: str, kind: str, tmp_path: Path) -> None:
    path = Path(f"/dev/shm/holdfast-{shm_name}")
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        shm.Segment(f"{shm_name}-real", size="1 MiB", persist=True).close()
        path.symlink_to(f"holdfast-{shm_name}-real")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes({"empty": b"", "short": b"x" * 100, "text": b"hello " * 100_000}[kind])
    try:
        with pytest.raises(shm.ShmError) as caught:
            shm.Segment(shm_name, size="1 MiB")
        assert shm_name in str(caught.value)
    finally:
        if kind == "folder":
            path.rmdir()
        if kind == "link":
            shm.remove(f"{shm_name}-real")


def test_mode_and_owner_of_the_file(shm_name: str) -> None:
    path = Path(f"/dev/shm/holdfast-{shm_name}")
    with shm.Segment(shm_name, size="1 MiB"):
        assert path.stat().st_mode & 0o777 == 0o600
    with shm.Segment(shm_name, size="1 MiB", access=0o660) as segment:
        assert path.stat().st_mode & 0o777 == 0o660
        assert segment.info().access == 0o660


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_segment_of_another_user_is_not_trusted(shm_name: str) -> None:
    path = Path(f"/dev/shm/holdfast-{shm_name}")
    with shm.Segment(shm_name, size="1 MiB", persist=True):
        pass
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionError, match="12345"):
        shm.Segment(shm_name, mode="open")
    with shm.Segment(shm_name, mode="open", owner=12345):
        pass
    with shm.Segment(shm_name, mode="open", owner="any"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_mode_keeps_others_out(shm_name: str) -> None:
    with shm.Segment(shm_name, size="1 MiB"):
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).setresuid(12345, 12345, 12345)
            try:
                os.open(f"/dev/shm/holdfast-{shm_name}", os.O_RDWR)
            except PermissionError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
