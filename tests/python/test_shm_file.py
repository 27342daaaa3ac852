"""Segments on a file from Python: there again after a close, a kill, and under another path.

Method: programs of their own write, persist and are killed; the file is opened again here. What a
power cut leaves is tested in C (tests/shm/steps_power.c).
"""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from holdfast import InvalidArgumentError, UnsupportedError, shm

pytest_plugins = ("shm_tools",)

WRITE = """
import os, signal, sys
from holdfast import shm
segment = shm.Segment(path=sys.argv[1], size="2 MiB")
field = segment.array("field", (50, 60), "f8")
done = segment.cells("done", 1)
queue = segment.queue("queue", 16, dtype="<i8")
table = segment.map("table", 32, key=8, value=16)
for step in range(1, 4):
    field.ndarray[:] = step
    segment.persist(field)
    done.store(step)
    segment.persist(done)
    queue.put(step)
    table[b"step%04d" % step] = b"%d" % step
    segment.persist()
{ending}
"""
KILLED = "field.ndarray[:10] = 4\nos.kill(os.getpid(), signal.SIGKILL)"


def write(path: Path, ending: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", WRITE.format(ending=ending), str(path)], timeout=60, check=False
    ).returncode


def expect(path: Path, top: int) -> None:
    with shm.Segment(path=str(path), mode="open") as segment:
        assert segment.check() == []
        info = segment.info()
        assert (info.on_file, info.persist, info.power_cuts) == (True, True, 0)
        assert segment["done"].load() == 3
        values = segment["field"].ndarray
        assert np.all(values[10:] == 3)
        assert np.all(values[:10] == top)
        queue = segment["queue"]
        assert [queue.get() for _ in range(3)] == [1, 2, 3]
        for step in (3, 2, 1):
            queue.put(step)
        assert segment["table"][b"step0002"] == b"2"
        del values


@pytest.mark.parametrize("ending", ["segment.close()", "", KILLED, "os._exit(0)"])
def test_file_is_opened_again(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "state"
    killed = ending == KILLED
    assert write(path, ending) == (-signal.SIGKILL if killed else 0)
    copied = tmp_path / "copied"
    shutil.copy(path, copied)
    with shm.Segment(path=str(path), mode="open") as segment:
        assert segment.name == ""
        assert [segment["queue"].get() for _ in range(3)] == [1, 2, 3]
        expect(copied, 4 if killed else 3)  # a copy is another segment
        assert len(segment["queue"]) == 0
    assert {entry.name for entry in tmp_path.iterdir()} == {"state", "copied"}


def test_two_processes_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with shm.Segment(path=str(path), size="2 MiB") as segment:
        assert write(path, "") == 0
        assert segment["done"].load() == 3
        assert segment.info().participants_live == 1
    assert path.exists()


def test_path_means_the_same_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with shm.Segment(path=Path("state"), size="1 MiB") as segment:
        cells = segment.cells("cells", 1)
        cells.store(7)
        program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).load())"
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=pickle.dumps(cells),
            cwd="/",
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == b"7\n"
    assert (tmp_path / "state").exists()


def test_what_cannot_be_persisted_is_an_error(tmp_path: Path, segment: shm.Segment) -> None:
    with shm.Segment(path=tmp_path / "state", size="1 MiB") as on_file:
        cells = on_file.cells("cells", 1)
        with pytest.raises(InvalidArgumentError, match="another segment"):
            on_file.persist(segment.cells("cells", 1))
        cells.erase()
        with pytest.raises(shm.NotFoundError, match="erased"):
            on_file.persist(cells)


def test_memory_has_no_medium(segment: shm.Segment) -> None:
    cells = segment.cells("cells", 1)
    for what in (None, cells):
        with pytest.raises(UnsupportedError, match="path"):
            segment.persist(what)
