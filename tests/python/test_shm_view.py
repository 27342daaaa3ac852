"""What a view shows of structures in shared memory: every slot, and who has it, dead or alive.

Method: every kind at rest, in states that are known; a process is killed with something of several
kinds in hand, and is shown with its process id until it is recovered. The states of each kind one
by one are in tests/shm/test_shm_view.c.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from typing import Any

import holdfast
import pytest
from holdfast import shm
from shm_tools import killed, started

pytest_plugins = ("shm_tools",)


def states(items: list[shm.Item], piece: str) -> Counter[str]:
    return Counter(item.state for item in items if item.piece == piece)


def test_view_of_every_kind(segment: shm.Segment) -> None:
    made: dict[str, tuple[shm.Structure, dict[str, dict[str, int]]]] = {
        "a": (segment.array("a", (3, 4), "f8"), {"elements": {"live": 1}}),
        "b": (segment.barrier("b", 2), {"seat": {"free": 2}}),
        "c": (segment.cells("c", 3), {"cell": {"live": 3}}),
        "e": (segment.event("e"), {"bit": {"clear": 1}}),
        "mutex": (segment.mutex("mutex"), {"lock": {"free": 1}}),
        "p": (segment.pool("p", 5, size=8), {"object": {"free": 5}}),
        "q": (segment.queue("q", 8, size=8), {"slot": {"free": 8}}),
        "r": (segment.ring("r", 8), {"element": {"free": 8}}),
        "s": (segment.semaphore("s", 3), {"permit": {"free": 3}}),
        "v": (segment.versioned("v", 4), {"copy": {"free": 2}}),
    }
    entries = {entry.name: entry for entry in segment.entries()}
    for name, (structure, expected) in made.items():
        items = structure.view()
        assert items == segment.view(name)
        assert {piece: dict(states(items, piece)) for piece in expected} == expected, name
        assert len(items) == sum(sum(counts.values()) for counts in expected.values())
        first, last = entries[name].offset, entries[name].offset + entries[name].size
        for item in items:
            assert first <= item.offset <= item.offset + item.size <= last
            assert (item.participant, item.pid, item.dead) == (None, None, False)


def test_view_of_a_map(segment: shm.Segment) -> None:
    made = segment.map("m", 100)
    for number in range(60):
        made[f"key {number}"] = b"value"
    for number in range(20):
        del made[f"key {number}"]
    items = made.view()
    shards = [item for item in items if item.piece == "shard"]
    assert sum(shard.value for shard in shards) == 40
    found = states(items, "record")
    assert found["live"] == 40
    assert found["spare"] == len(shards)
    assert found.keys() <= {"live", "spare", "free"}


def test_view_of_what_this_process_has(segment: shm.Segment) -> None:
    queue = segment.queue("q", 4, dtype="<i8")
    hits = segment.cells("c", 2)
    ring = segment.ring("r", 4, dtype="i4")
    hits.store(3, 1)
    for number in range(3):
        queue.put(number)
    queue.get()
    ring.push([1, 2, 3])
    reader = ring.reader()
    own = segment.info().self
    slots = queue.view()
    assert [slot.number for slot in slots] == [1, 2, 3, 4]  # as they are read
    assert [slot.state for slot in slots] == ["full", "full", "free", "free"]
    assert [item.value for item in hits.view()] == [0, 3]
    by_piece = {item.piece: item for item in ring.view() if item.piece in ("reader", "writer")}
    assert by_piece["writer"].state == "held"
    assert by_piece["reader"].value == 3 - reader.position
    for item in by_piece.values():
        assert (item.participant, item.pid, item.dead) == (own, os.getpid(), False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        slots[0].state = "free"  # type: ignore[misc]
    reader.close()


def _take_and_wait(queue: Any, pool: Any, mutex: Any, ready: Any) -> None:
    taken = queue.peek(timeout=60)
    room = queue.reserve(8)
    handle = pool.acquire()
    mutex.lock()
    ready.put(b"!")
    time.sleep(600)
    del taken, room, handle


def test_what_a_killed_process_had_is_shown_as_its_own(segment: shm.Segment) -> None:
    queue = segment.queue("q", 4, size=8)
    pool = segment.pool("p", 3, size=16)
    mutex = segment.mutex("m")
    ready = segment.queue("ready", 2, size=1)
    queue.put(b"one")
    child = started(_take_and_wait, queue, pool, mutex, ready)
    assert ready.get(timeout=60) == b"!"
    killed(child)
    watcher = shm.Segment(segment.name, mode="open", presence="watcher")
    for looker in (segment, watcher, segment):  # looking recovers nobody
        seen = {
            item.state: item
            for name in ("q", "p", "m")
            for item in looker.view(name)
            if item.participant is not None
        }
        assert set(seen) == {"reading", "writing", "taken", "held"}
        assert all((item.pid, item.dead) == (child.pid, True) for item in seen.values())
    watcher.close()
    segment.sweep()
    assert all(item.participant is None for name in ("q", "p", "m") for item in segment.view(name))
    assert states(queue.view(), "slot") == {"free": 3, "skipped": 1}
    assert states(mutex.view(), "lock") == {"in doubt": 1}


def test_what_cannot_be_viewed_is_an_error(segment: shm.Segment) -> None:
    with pytest.raises(shm.NotFoundError, match="nothing"):
        segment.view("nothing")
    with pytest.raises(holdfast.InvalidArgumentError):
        segment.view("zero\0byte")
    segment.queue("q", 4, size=8)
    entry = segment.entries()[0]
    with open(f"/dev/shm/holdfast-{segment.name}", "r+b") as file:
        file.seek(entry.offset)
        file.write(b"\xa5" * 64)
    with pytest.raises(holdfast.CorruptionError, match="header"):
        segment.view("q")
    segment.close()
    with pytest.raises(holdfast.InvalidArgumentError):
        segment.view("q")
