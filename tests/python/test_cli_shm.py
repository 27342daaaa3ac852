"""`holdfast shm` on segments of processes that live, were killed, and come again.

Method: programs of their own make and use segments; the command line runs as a process too. What
it prints as JSON is compared with what the programs did; what people read is looked through.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cli_tools import HOLDFAST, WATCHDOG, environment
from holdfast import shm
from shm_tools import files, fresh_name

pytest_plugins = ("shm_tools",)

MAKE = """
import os, signal, sys, time
from holdfast import shm
segment = shm.Segment({name!r}, size="2 MiB", role="maker", **{options!r})
work = segment.queue("work", 16, dtype="<i8")
for i in range(5):
    work.put(i)
hits = segment.cells("hits", 4)
hits.add(7, 0)
{more}
print("ready", flush=True)
{ending}
"""
WAIT = "sys.stdin.read()"
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
Program = Callable[..., "subprocess.Popen[str]"]


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HOLDFAST, "shm", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=WATCHDOG,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def asked(*words: str | Path, status: int = 0) -> dict[str, Any]:
    """The document of a command."""
    done = command(*words, "--json")
    assert (done.returncode, done.stderr) == (status, ""), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["schema"] == f"holdfast.shm.{words[0]}"
    assert found["schema_version"] == 1
    return found


def refused(*words: str | Path) -> str:
    """The sentence of a command that cannot be done."""
    done = command(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("holdfast: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


@pytest.fixture
def program() -> Iterator[Program]:
    """Starts programs that have a segment open; those that still run are ended at the end."""
    running: list[subprocess.Popen[str]] = []

    def start(
        name: str | None, ending: str = WAIT, more: str = "", **options: Any
    ) -> subprocess.Popen[str]:
        text = MAKE.format(name=name, options=options, more=more, ending=ending)
        made = subprocess.Popen(
            [sys.executable, "-c", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        running.append(made)
        assert made.stdout is not None
        assert made.stdout.readline() == "ready\n"
        if ending == DIE:
            made.wait(WATCHDOG)
        return made

    yield start
    for made in running:
        made.kill()
        made.wait(WATCHDOG)
        for stream in (made.stdin, made.stdout):
            if stream is not None:
                stream.close()


def leave(made: subprocess.Popen[str]) -> None:
    made.communicate(timeout=WATCHDOG)
    assert made.returncode == 0


def one(found: dict[str, Any], name: str) -> dict[str, Any]:
    rows = [row for row in found["segments"] if row["name"] == name]
    assert len(rows) == 1, found
    return dict(rows[0])


# --- seeing --------------------------------------------------------------------------------------


def test_ls_tells_who_lives_and_who_was_killed(shm_name: str, program: Program) -> None:
    first = program(shm_name)
    second = program(shm_name)
    row = one(asked("ls"), shm_name)
    assert (row["size"], row["participants_live"], row["participants_dead"]) == (2 << 20, 2, 0)
    assert (row["structures"], row["access"], row["reason"]) == (2, 0o600, None)
    assert 0 < row["bytes_used"] < row["size"]
    second.kill()
    second.wait(WATCHDOG)
    for _ in range(2):  # looking buries nobody
        row = one(asked("ls", shm_name), shm_name)
        assert (row["participants_live"], row["participants_dead"]) == (1, 1)
    said = command("ls").stdout
    assert shm_name in said
    assert "2.00 MiB" in said
    assert "holdfast shm gc" in said
    leave(first)
    assert shm_name not in {row["name"] for row in asked("ls")["segments"]}


def test_looking_leaves_what_nobody_lives_in(shm_name: str, program: Program) -> None:
    program(shm_name, DIE)
    for word in ("ls", "inspect", "check", "repair"):
        asked(word, shm_name)
        assert f"holdfast-{shm_name}" in files(), word
    kept = shm.Segment(shm_name, mode="open")
    assert [kept["work"].get() for _ in range(5)] == list(range(5))
    kept.close()


def test_ls_of_what_is_no_segment_says_why(shm_name: str) -> None:
    path = Path(f"/dev/shm/holdfast-{shm_name}")
    path.write_bytes(b"nothing of ours" * 1000)
    row = one(asked("ls"), shm_name)
    assert row["size"] == 15000
    assert "is no segment of holdfast" in row["reason"]
    assert "is no segment of holdfast" in " ".join(command("ls").stdout.split())


def test_segments_of_other_users_are_listed_with_the_reason(shm_name: str) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make files of another user")
    with shm.Segment(shm_name, size="1 MiB") as mine:
        os.chown(mine.file, 65534, -1)
        row = one(asked("ls"), shm_name)
        assert "belongs to user 65534" in row["reason"]
        assert "structures" not in row
        assert "belongs to user 65534" in refused("inspect", shm_name)
        assert one(asked("ls", "--any-owner"), shm_name)["participants_live"] == 1
        assert asked("inspect", shm_name, "--any-owner")["segment"]["entries"] == 0
        os.chown(mine.file, 0, -1)


def test_inspect_shows_everything(shm_name: str, program: Program) -> None:
    made = program(shm_name)
    killed = program(shm_name, DIE)
    found = asked("inspect", shm_name)
    assert found["segment"]["name"] == shm_name
    assert found["segment"]["participants_dead"] == 1
    people = {p["pid"]: p for p in found["participants"]}
    assert set(people) == {made.pid, killed.pid}
    assert people[made.pid]["life"] == "live"
    assert people[made.pid]["role"] == "maker"
    comm = Path(f"/proc/{made.pid}/comm").read_text().strip()
    assert people[made.pid]["command"] == comm
    assert (people[killed.pid]["life"], people[killed.pid]["command"]) == ("dead", None)
    structures = {s["name"]: s for s in found["structures"]}
    work = structures["work"]
    assert (work["kind"], work["format"], work["element_count"]) == ("queue", "<i8", 16)
    assert (work["figures"]["count"], work["figures"]["capacity"]) == (10, 16)
    assert structures["hits"]["kind"] == "cells"
    said = command("inspect", shm_name).stdout
    assert all(word in said for word in ("work", "hits", "maker", "killed", "10/16", "queue"))
    assert max(map(len, said.splitlines())) <= 110


def test_inspect_of_one_structure_shows_what_is_in_it(shm_name: str, program: Program) -> None:
    made = program(shm_name)
    dead = program(shm_name, DIE, more="slot = work.peek(timeout=60); pool = work.reserve(8)")
    found = asked("inspect", shm_name, "work")
    assert [row["name"] for row in found["structures"]] == ["work"]
    assert found["states"] == {"full": 9, "reading": 1, "writing": 1, "free": 5}
    assert found["items_left_out"] == 0
    items = found["items"]
    assert len(items) == 11  # without what is free
    assert [row["number"] for row in items] == list(range(11))
    reading, writing = items[0], items[10]
    assert (reading["piece"], reading["state"], reading["pid"]) == ("slot", "reading", dead.pid)
    assert (writing["state"], writing["pid"], writing["dead"]) == ("writing", dead.pid, True)
    assert (items[1]["state"], items[1]["participant"], items[1]["dead"]) == ("full", None, False)
    assert len(asked("inspect", shm_name, "work", "--free")["items"]) == 16
    short = asked("inspect", shm_name, "work", "--limit=4")
    assert (len(short["items"]), short["items_left_out"], short["states"]) == (
        4,
        7,
        found["states"],
    )
    assert [row["number"] for row in short["items"]] == [0, 1, 2, 10]  # what somebody has stays
    assert len(asked("inspect", shm_name, "work", "--limit=0")["items"]) == 11
    said = command("inspect", shm_name, "work", "--limit", "4").stdout
    assert all(
        word in said for word in ("reading", "killed", str(dead.pid), "9 full", "and 7 more")
    )
    assert max(map(len, said.splitlines())) <= 110
    looks = command("inspect", shm_name, "work", "--watch=0.05", "--times=2", "--json").stdout
    assert [len(json.loads(line)["items"]) for line in looks.splitlines()] == [11, 11]
    assert "nothing" in refused("inspect", shm_name, "nothing")
    assert "0 or more" in refused("inspect", shm_name, "work", "--limit=-1")
    leave(made)


def test_watch_gives_rates(shm_name: str, program: Program) -> None:
    program(
        shm_name,
        ending="while True:\n    work.put(1)\n    work.get()\n    time.sleep(0.0005)",
    )
    done = command("inspect", "--watch=0.2", shm_name, "--times", "3", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    looks = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(looks) == 3
    work = [{s["name"]: s for s in found["structures"]}["work"] for found in looks]
    assert "rates" not in work[0]
    for before, now in pairwise(looks):
        seconds = (now["time_ns"] - before["time_ns"]) / 1e9
        a, b = ({s["name"]: s for s in found["structures"]}["work"] for found in (before, now))
        passed = b["figures"]["written"] - a["figures"]["written"]
        assert passed > 0
        assert b["rates"]["written"] == pytest.approx(passed / seconds)
    said = command("inspect", shm_name, "--watch", "--times=2").stdout
    assert said.count("Segment") == 2 or said.count(shm_name) >= 2
    assert "/s" in said


def test_watch_ends_when_the_segment_does(shm_name: str, program: Program) -> None:
    made = program(shm_name)
    with subprocess.Popen(
        [*HOLDFAST, "shm", "inspect", shm_name, "--watch=0.05", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["segment"]["gone"] is False
        leave(made)
        rest = [json.loads(line) for line in watching.stdout]
        assert watching.wait(WATCHDOG) == 0
    assert rest[-1]["segment"]["gone"] is True
    assert not any(found["segment"]["gone"] for found in rest[:-1])


def test_interrupted_watch_ends_well(shm_name: str, program: Program) -> None:
    program(shm_name)
    with subprocess.Popen(
        [*HOLDFAST, "shm", "inspect", shm_name, "--watch=0.05", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=WATCHDOG)
        assert (watching.returncode, said) == (0, "")


def test_watch_on_a_terminal_draws_over_itself(shm_name: str, program: Program) -> None:
    program(shm_name)
    here, there = pty.openpty()
    with subprocess.Popen(
        [*HOLDFAST, "shm", "inspect", shm_name, "--watch=0.1", "--times=3"],
        stdout=there,
        stderr=subprocess.PIPE,
        env={**environment(), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "50"},
    ) as watching:
        os.close(there)
        text = b""
        try:
            while piece := os.read(here, 65536):
                text += piece
        except OSError:  # the other side was closed
            pass
        assert watching.wait(WATCHDOG) == 0
        assert watching.stderr is not None
        assert watching.stderr.read() == b""
    os.close(here)
    assert b"\x1b[" in text
    assert b"work" in text
    assert b"[1A" in text  # goes up again


# --- health --------------------------------------------------------------------------------------


def test_check_of_a_used_segment_finds_nothing(shm_name: str, program: Program) -> None:
    program(shm_name)
    found = asked("check", shm_name)
    assert (found["faults"], found["wrong"]) == ([], False)
    assert set(found["structures"]) == {"work", "hits"}
    assert asked("check", shm_name, "work")["structures"] == ["work"]
    assert "nothing is wrong" in command("check", shm_name).stdout
    assert "no structure" in refused("check", shm_name, "play")


def test_check_mentions_the_killed(shm_name: str, program: Program) -> None:
    program(shm_name)
    program(shm_name, DIE)
    assert asked("check", shm_name)["participants_dead"] == 1
    assert "1 participant killed" in command("check", shm_name).stdout


def test_damage_is_found_repaired_and_gone(shm_name: str) -> None:
    with shm.Segment(shm_name, size="1 MiB") as segment:
        segment.queue("work", 16, dtype="<i8").put(1)
        entry = segment.entries()[0]
        with open(f"/dev/shm/holdfast-{shm_name}", "r+b") as file:
            bytes_ = file.read()
            at = bytes_.index(b"work\0")
            assert at < entry.offset
            file.seek(at)
            file.write(b"wo\0k")
        found = asked("check", shm_name, status=1)
        assert found["wrong"] is True
        assert any("wo" in fault["fault"] for fault in found["faults"]), found
        said = command("check", shm_name)
        assert said.returncode == 1
        assert "holdfast shm repair" in said.stdout
        fixed = asked("repair", shm_name)
        assert fixed["repaired"] >= 1
        assert fixed["faults_before"] == found["faults"]
        assert fixed["faults"] == []
        assert asked("check", shm_name)["faults"] == []


def test_segment_whose_header_is_gone_is_wrong_not_an_error(
    shm_name: str, program: Program
) -> None:
    program(shm_name, DIE)
    with open(f"/dev/shm/holdfast-{shm_name}", "r+b") as file:
        file.seek(40)
        file.write(b"\xff" * 64)
    found = asked("check", shm_name, status=1)
    assert "header" in found["faults"][0]["fault"]
    assert "header" in refused("repair", shm_name)
    assert "--force" in refused("rm", shm_name)
    assert asked("rm", shm_name, "--force")["removed"][0]["name"] == shm_name
    assert f"holdfast-{shm_name}" not in files()


def test_repair_recovers_the_killed(shm_name: str, program: Program) -> None:
    made = program(shm_name)
    program(shm_name, DIE)
    found = asked("repair", shm_name)
    assert found["participants_recovered"] == 1
    assert found["wrong"] is False
    assert one(asked("ls", shm_name), shm_name)["participants_dead"] == 0
    leave(made)
    assert f"holdfast-{shm_name}" not in files()


# --- the end -------------------------------------------------------------------------------------


def test_rm_of_a_used_segment_needs_force(shm_name: str, program: Program) -> None:
    made = program(shm_name)
    said = refused("rm", shm_name)
    assert str(made.pid) in said
    assert "--force" in said
    assert f"holdfast-{shm_name}" in files()
    assert asked("rm", shm_name, "--force")["removed"] == [{"name": shm_name, "size": 2 << 20}]
    assert f"holdfast-{shm_name}" not in files()
    leave(made)


def test_rm_of_the_same_name_twice_is_rm(shm_name: str, program: Program) -> None:
    program(shm_name, DIE)
    assert asked("rm", shm_name, shm_name)["removed"] == [{"name": shm_name, "size": 2 << 20}]


def test_names_of_structures_do_not_reach_the_terminal_raw(shm_name: str) -> None:
    with shm.Segment(shm_name, size="1 MiB", role="\x1b[2Jme") as segment:
        segment.event("red\x1b[31m")
        segment.event("two\nlines")
        segment.event("schön")
        for said in (
            command("inspect", shm_name).stdout,
            command("check", shm_name, "\x1b[31m").stderr,
        ):
            assert "\x1b" not in said
        said = command("inspect", shm_name).stdout
        for name in ("red\\x1b[31m", "two\\nlines", "schön", "\\x1b[2Jme"):
            assert name in said
        names = {one["name"] for one in asked("inspect", shm_name)["structures"]}
        assert names == {"red\x1b[31m", "two\nlines", "schön"}


def test_rm_takes_all_or_none(shm_name: str, program: Program) -> None:
    program(shm_name, DIE)
    assert "no-such-one" in refused("rm", shm_name, "no-such-one")
    assert f"holdfast-{shm_name}" in files()
    assert command("rm", shm_name).returncode == 0
    assert f"holdfast-{shm_name}" not in files()


def test_gc_takes_what_only_dead_processes_hold(program: Program) -> None:
    names = [fresh_name() for _ in range(4)]
    lonely, shared, kept, alive = names
    try:
        program(lonely, DIE)
        living = program(shared)
        program(shared, DIE)
        program(kept, DIE, persist=True)
        program(alive)
        tried = asked("gc", *names, "--dry-run")
        found = asked("gc", *names)
        for document in (tried, found):
            assert [row["name"] for row in document["removed"]] == [lonely]
            assert {(row["name"], row["participants"]) for row in document["recovered"]} == {
                (shared, 1),
                (kept, 1),
            }
        there = {name for name in names if f"holdfast-{name}" in files()}
        assert there == {shared, kept, alive}
        again = asked("gc", *names[1:])
        assert (again["removed"], again["recovered"]) == ([], [])
        assert "nothing is held" in command("gc", *names[1:]).stdout
        leave(living)
        assert f"holdfast-{shared}" not in files()
    finally:
        for name in names:
            Path(f"/dev/shm/holdfast-{name}").unlink(missing_ok=True)


def test_gc_of_everything_leaves_the_living(shm_name: str, program: Program) -> None:
    other = fresh_name()
    program(other, DIE)
    program(shm_name)
    found = asked("gc", "--dry-run")  # of tests that run beside this one, too
    assert other in {row["name"] for row in found["removed"]}
    assert shm_name not in {row["name"] for row in found["removed"]}
    assert f"holdfast-{other}" in files()
    Path(f"/dev/shm/holdfast-{other}").unlink()


# --- copies --------------------------------------------------------------------------------------


def test_dump_and_load(shm_name: str, tmp_path: Path, program: Program) -> None:
    program(shm_name, DIE)
    file = tmp_path / "saved"
    found = asked("dump", shm_name, file)
    assert (found["name"], found["entries"], found["consistent"]) == (shm_name, 2, True)
    assert found["bytes_stored"] < found["size"] == 2 << 20
    assert file.stat().st_size >= found["bytes_stored"]
    assert list(tmp_path.iterdir()) == [file]
    assert f"holdfast-{shm_name}" in files()
    asked("rm", shm_name)

    loaded = asked("load", file)
    assert (loaded["name"], loaded["faults"], loaded["consistent"]) == (shm_name, [], True)
    assert asked("gc", shm_name)["removed"] == []  # it stays until it is removed
    with shm.Segment(shm_name, mode="open") as segment:
        assert segment["hits"].load(0) == 7
        work = segment["work"]
        assert [work.get() for _ in range(5)] == list(range(5))
        work.put(9)
    assert f"holdfast-{shm_name}" in files()

    assert "--force" in refused("load", file)
    asked("load", file, "--force")
    with shm.Segment(shm_name, mode="open") as segment:
        assert len(segment["work"]) == 5
    asked("rm", shm_name)


def test_load_under_another_name_and_for_a_while(shm_name: str, tmp_path: Path) -> None:
    other = fresh_name()
    file = tmp_path / "saved"
    with shm.Segment(shm_name, size="1 MiB") as segment:
        cells = segment.cells("c", 1)
        cells.store(5, 0)
        # This process lives in it.
        assert "--force" in refused("dump", shm_name, file)
        assert not list(tmp_path.iterdir())
        found = asked("dump", shm_name, file, "--force")
        assert (found["consistent"], found["live"], found["in_use"]) == (False, 1, ["c"])
        said = command("dump", shm_name, file, "--force")
        assert "In use: c" in said.stdout
        loaded = asked("load", file, "--name", other, "--temporary", "--mode", "640")
        assert (loaded["name"], loaded["name_dumped"], loaded["live"]) == (other, shm_name, 1)
        assert loaded["faults"] == []
        assert one(asked("ls", other), other)["access"] == 0o640
        with shm.Segment(other, mode="open") as copy:
            assert copy["c"].load(0) == 5
        assert f"holdfast-{other}" not in files()


def test_load_onto_a_file(shm_name: str, tmp_path: Path, program: Program) -> None:
    program(shm_name, DIE)
    file, path = tmp_path / "saved", tmp_path / "segment"
    asked("dump", shm_name, file)
    asked("rm", shm_name)
    assert asked("load", file, "--path", path)["name"] == str(path)
    assert f"holdfast-{shm_name}" not in files()
    found = asked("inspect", path)
    assert found["segment"]["on_file"] is True
    assert asked("check", path)["faults"] == []
    with shm.Segment(path=str(path), mode="open") as segment:
        assert segment["hits"].load(0) == 7
        assert str(os.getpid()) in refused("rm", path)
    assert asked("ls", path)["segments"][0]["structures"] == 2
    asked("rm", path)
    assert not path.exists()


def test_load_onto_a_file_of_this_folder(
    shm_name: str, tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(shm_name, DIE)
    asked("dump", shm_name, tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    assert asked("load", "saved", "--path", shm_name)["name"] == f"./{shm_name}"
    # It stands in for the file, not for the segment of that name.
    assert "--force" in refused("load", "saved", "--path", shm_name)
    asked("load", "saved", "--path", shm_name, "--force")
    assert f"holdfast-{shm_name}" in files()
    assert asked("inspect", f"./{shm_name}")["segment"]["on_file"] is True
    asked("rm", f"./{shm_name}", shm_name)


def test_dump_replaces_files_alone(shm_name: str, tmp_path: Path, program: Program) -> None:
    program(shm_name, DIE)
    fifo, link, file = tmp_path / "fifo", tmp_path / "link", tmp_path / "file"
    os.mkfifo(fifo)
    link.symlink_to(file)
    for bad in (fifo, tmp_path):
        assert f"{bad} is no regular file" in refused("dump", shm_name, bad)
    assert fifo.is_fifo()
    for _ in range(2):
        asked("dump", shm_name, link)
    assert link.is_symlink()
    assert asked("load", file, "--name", shm_name, "--force")["faults"] == []
    assert {path.name for path in tmp_path.iterdir()} == {"fifo", "link", "file"}


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "empty"])
def test_damaged_dump_makes_nothing(
    shm_name: str, tmp_path: Path, program: Program, damage: str
) -> None:
    program(shm_name, DIE)
    file = tmp_path / "saved"
    asked("dump", shm_name, file)
    asked("rm", shm_name)
    bytes_ = bytearray(file.read_bytes())
    if damage == "flip":
        bytes_[len(bytes_) // 2] ^= 1
    kept = {"cut": bytes_[:-30], "flip": bytes_, "other": b"x" * 5000, "empty": b""}[damage]
    file.write_bytes(kept)
    said = refused("load", file)
    assert {"cut": "cut short", "flip": "checksum"}.get(damage, "no dump") in said
    assert f"holdfast-{shm_name}" not in files()
    # What stands under that name is not removed for a dump that cannot be read.
    program(shm_name, DIE)
    refused("load", file, "--name", shm_name, "--force")
    assert f"holdfast-{shm_name}" in files()


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lss"], "unknown command shm lss; did you mean ls?"),
        (["zzz"], "try holdfast shm --help"),
        (["inspect"], "NAME"),
        (["inspect", "no-such-segment"], 'there is no segment "no-such-segment"'),
        (["ls", "no-such-segment"], "there is no segment no-such-segment"),
        (["check", "../x"], "../x"),
        (["check", ".hidden"], "the name of a segment"),
        (["check", "a b"], "the name of a segment"),
        (["rm"], "NAME"),
        (["gc", "no-such-segment"], 'there is no segment "no-such-segment"'),
        (["dump", "no-such-segment", "x"], 'there is no segment "no-such-segment"'),
        (["load", "/no/such/file"], "/no/such/file: no such file or directory"),
        (["load", "/etc/passwd", "--mode=999"], "--mode"),
        (["load", "/etc/passwd", "--mode=044"], "no mode in which the owner"),
        (["load", "/etc/passwd", "--name=a", "--path=b"], "not allowed with"),
        (["inspect", "x", "--watch=0"], "is not between"),
        (["inspect", "x", "--watch=nan"], "is not between"),
        (["inspect", "x", "--watch=often"], "often is not between"),
        (["inspect", "x", "--watch", "--times=0"], "0 is no number of 1 or more"),
        (["inspect", "x", "--watch", "--times=x"], "x is no number of 1 or more"),
        (["load", "/etc/passwd", "--mode=rw"], "rw is no mode in which the owner"),
        (["inspect", os.fsdecode(b"\xff")], "is no text"),
        (["load", os.fsdecode(b"/no/\xff")], "no such file"),
        (["inspect", "x", "--wat"], "--wat"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(words: list[str], said: str) -> None:
    assert said in refused(*words)


@pytest.mark.parametrize(
    "words", [["--help"], *([word, "--help"] for word in ("ls", "inspect", "gc", "load"))]
)
def test_help_fits_80_columns(words: list[str]) -> None:
    done = command(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: holdfast shm")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_no_command_is_usage() -> None:
    done = command()
    assert done.returncode == 2
    assert "usage: holdfast shm" in done.stderr


def test_dump_that_cannot_be_written_leaves_nothing(shm_name: str, program: Program) -> None:
    program(shm_name, DIE)
    assert "no such file or directory" in refused("dump", shm_name, "/no/such/folder/file")
    assert f"holdfast-{shm_name}" in files()


def test_figures_are_seen_while_others_write(shm_name: str, program: Program) -> None:
    made = program(
        shm_name,
        ending="end = time.monotonic() + 60\n"
        "while time.monotonic() < end:\n    work.put(1)\n    work.get()",
    )
    for _ in range(3):
        assert asked("check", shm_name)["faults"] == []
        assert asked("inspect", shm_name)["participants"][0]["pid"] == made.pid
    assert made.poll() is None
