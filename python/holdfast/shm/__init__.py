"""holdfast.shm - memory that several processes use at once and that survives `kill -9` of any.

    Segment ─ array · cells · queue · ring · versioned · map · pool · sync

A process may be killed between any two instructions: the others go on, nothing hangs, nothing is
corrupt, and what it held comes back. See docs/shm.md.
"""

from __future__ import annotations

from holdfast.shm.array import Array
from holdfast.shm.cells import Cells
from holdfast.shm.errors import (
    AccessError,
    EmptyError,
    ExistsError,
    FullError,
    LayoutError,
    MismatchError,
    NoSpaceError,
    NotFoundError,
    OwnerDiedError,
    ShmError,
    StaleError,
)
from holdfast.shm.machine import collect, names, remove
from holdfast.shm.map import Map
from holdfast.shm.pool import Pool, PoolObject
from holdfast.shm.queue import BytesQueue, ObjectQueue, Queue, RecordQueue
from holdfast.shm.records import Entry, Fault, Figures, Info, Item, Participant
from holdfast.shm.ring import ReaderInfo, Ring, RingReader
from holdfast.shm.segment import Segment
from holdfast.shm.structure import Structure
from holdfast.shm.sync import Barrier, Event, Mutex, Semaphore
from holdfast.shm.versioned import Versioned

__all__ = [
    "AccessError",
    "Array",
    "Barrier",
    "BytesQueue",
    "Cells",
    "EmptyError",
    "Entry",
    "Event",
    "ExistsError",
    "Fault",
    "Figures",
    "FullError",
    "Info",
    "Item",
    "LayoutError",
    "Map",
    "MismatchError",
    "Mutex",
    "NoSpaceError",
    "NotFoundError",
    "ObjectQueue",
    "OwnerDiedError",
    "Participant",
    "Pool",
    "PoolObject",
    "Queue",
    "ReaderInfo",
    "RecordQueue",
    "Ring",
    "RingReader",
    "Segment",
    "Semaphore",
    "ShmError",
    "StaleError",
    "Structure",
    "Versioned",
    "collect",
    "names",
    "remove",
]
