"""shm_look.py - what there is in shared memory, as documents: lists and dictionaries for JSON.

    listing()      every segment of this machine, also those that cannot be opened, with the reason
    inspection()   one segment: itself, its participants, its structures and their figures
    contents()     the same with one structure alone, and the items in it

Contract    looking changes nothing: segments are opened as a watcher, who is no participant.
Talks to    holdfast.shm.   Called by shm.py and shm_act.py; shown by ui/shm.py.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from holdfast import shm
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.shm import Segment

__all__ = [
    "SCHEMA_VERSION",
    "contents",
    "inspection",
    "is_gone",
    "listing",
    "open_target",
    "rates",
    "user",
]

SCHEMA_VERSION = 1
FOLDER = "/dev/shm/holdfast-"
RATES = ("written", "read", "lost", "waits")


def open_target(
    target: str, presence: Literal["member", "guest", "watcher"], *, any_owner: bool
) -> Segment:
    """Open a segment by its name, or by the path of its file: what holds a ``/``."""
    name, path = (None, target) if "/" in target else (target, None)
    owner: Literal["any"] | None = "any" if any_owner else None
    return shm.Segment(name, path=path, mode="open", presence=presence, owner=owner, role="cli")


def is_gone(segment: Segment) -> bool:
    """Whether a watched segment's name was taken away."""
    return os.fstat(segment.file).st_nlink == 0


def user(uid: int) -> str:
    """Name of a user, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def listing(targets: Sequence[str], *, any_owner: bool) -> dict[str, Any]:
    """See every segment, or those asked for."""
    wanted = targets or sorted(name for name, _ in shm.names())
    rows = [_row(target, any_owner) for target in wanted]
    kept = [row for row in rows if row is not None]
    if targets and len(kept) < len(rows):
        missing = ", ".join(t for t, row in zip(wanted, rows, strict=True) if row is None)
        raise shm.NotFoundError(
            f"there is no segment {missing}; holdfast shm ls shows what there is"
        )
    return {
        "schema": "holdfast.shm.ls",
        "schema_version": SCHEMA_VERSION,
        "time_ns": time.time_ns(),
        "segments": kept,
    }


def _row(target: str, any_owner: bool) -> dict[str, Any] | None:
    """One line of the list; None if it went away meanwhile."""
    path = target if "/" in target else FOLDER + target
    try:
        file = os.lstat(path)
    except OSError:
        return None
    row: dict[str, Any] = {
        "name": target,
        "size": file.st_size,
        "user": user(file.st_uid),
        "access": stat.S_IMODE(file.st_mode),
        "reason": None,
    }
    try:
        segment = open_target(target, "watcher", any_owner=any_owner)
    except shm.NotFoundError:
        return None
    except (HoldfastError, ValueError) as error:
        return {**row, "reason": str(error)}
    info = segment.info()
    segment.close()
    for key in ("size", "size_max", "bytes_used", "bytes_free", "participants_live",
                "participants_dead", "created_ns", "persist", "recoveries"):  # fmt: skip
        row[key] = getattr(info, key)
    return {**row, "structures": info.entries}


def inspection(target: str, segment: Segment) -> dict[str, Any]:
    """See one segment in full."""
    info = segment.info()
    about = {slot: getattr(info, slot) for slot in type(info).__slots__ if slot != "self"}
    file = os.fstat(segment.file)
    about.update(name=info.name or target, user=user(file.st_uid), gone=file.st_nlink == 0)
    return {
        "schema": "holdfast.shm.inspect",
        "schema_version": SCHEMA_VERSION,
        "time_ns": time.time_ns(),
        "segment": about,
        "participants": [_participant(one) for one in segment.participants()],
        "structures": [_structure(segment, entry) for entry in segment.entries()],
    }


def contents(
    target: str, segment: Segment, structure: str, *, limit: int, free: bool
) -> dict[str, Any]:
    """See one structure and up to `limit` items (0: all), what somebody has before the rest."""
    items, states = segment._view(structure, limit or sys.maxsize, free)
    found = inspection(target, segment)
    found["structures"] = [row for row in found["structures"] if row["name"] == structure]
    kept = sum(states.values()) - (0 if free else states.get("free", 0))
    found["items"] = [
        {slot: getattr(item, slot) for slot in type(item).__slots__} for item in items
    ]
    found["items_left_out"] = max(0, kept - len(items))
    found["states"] = states
    return found


def _participant(one: shm.Participant) -> dict[str, Any]:
    return {
        "index": one.index,
        "pid": one.pid,
        "life": one.life,
        "role": one.role,
        "command": _command(one.pid, one.started) if one.life != "dead" else None,
        "joined_ns": one.joined_ns,
    }


def _command(pid: int, started: int) -> str | None:
    """Name of a process, if the number still means the one that joined, and means it here."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            head, _, rest = file.read().rpartition(")")
        return head.partition("(")[2] if int(rest.split()[19]) == started else None
    except (OSError, ValueError, IndexError):
        return None


def _structure(segment: Segment, entry: shm.Entry) -> dict[str, Any]:
    row: dict[str, Any] = {slot: getattr(entry, slot) for slot in type(entry).__slots__}
    row["shape"] = list(entry.shape)
    row["figures"] = None
    with contextlib.suppress(HoldfastError):  # erased meanwhile, or of a version of its own
        found = segment.figures(entry.name)
        row["figures"] = {slot: getattr(found, slot) for slot in type(found).__slots__}
    return row


def rates(before: Mapping[str, Any], now: dict[str, Any]) -> None:
    """Add to every structure what went through it per second since `before`."""
    seconds = (now["time_ns"] - before["time_ns"]) / 1e9
    earlier = {(s["name"], s["created_ns"]): s["figures"] for s in before["structures"]}
    for structure in now["structures"]:
        was = earlier.get((structure["name"], structure["created_ns"]))
        figures = structure["figures"]
        if was is None or figures is None or seconds <= 0:
            structure["rates"] = None
            continue
        structure["rates"] = {key: max(0, figures[key] - was[key]) / seconds for key in RATES}
