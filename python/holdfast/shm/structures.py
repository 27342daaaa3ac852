"""structures.py - from what stands in the table to the class that opens it.

Talks to    the modules of the structures, each imported when it is first needed.
            Called by segment.py and by unpickling.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.shm.errors import MismatchError, NotFoundError

if TYPE_CHECKING:
    from holdfast.shm.records import Entry
    from holdfast.shm.segment import Segment
    from holdfast.shm.structure import Structure

__all__ = ["open_any"]

# kind: module and class, whose `_from_entry(segment, entry)` opens what is there.
_CLASSES = {
    "array": ("array", "Array"),
    "ring": ("ring", "Ring"),
    "versioned": ("versioned", "Versioned"),
    "queue": ("queue", "Queue"),
    "cells": ("cells", "Cells"),
    "map": ("map", "Map"),
    "pool": ("pool", "Pool"),
    "event": ("sync", "Event"),
    "semaphore": ("sync", "Semaphore"),
    "mutex": ("sync", "Mutex"),
    "barrier": ("sync", "Barrier"),
}


def open_any(segment: Segment, name: str) -> Structure:
    """Open the structure of this name with the class for its kind.

    Raises
    ------
    NotFoundError
        There is none; the message names what there is.
    MismatchError
        It is of a kind that has no Python class: a span, or one of a newer version.
    """
    entries = segment.entries()
    for entry in entries:
        if entry.name == name:
            return _open(segment, entry)
    known = ", ".join(entry.name for entry in entries[:10]) or "nothing"
    raise NotFoundError(f"segment {segment.name!r} has no structure {name!r}; it has: {known}")


def _open(segment: Segment, entry: Entry) -> Structure:
    if entry.kind not in _CLASSES:
        raise MismatchError(
            f"{entry.name!r} is a {entry.kind or 'structure of another version'}, "
            "which has no Python class"
        )
    module, name = _CLASSES[entry.kind]
    made: Any = getattr(import_module(f"holdfast.shm.{module}"), name)
    opened: Structure = made._from_entry(segment, entry)
    return opened
