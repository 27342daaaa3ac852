"""pipeline.py - what lies in the shared memory, and who may do what with it.

    settings  Map        whoever comes first says how large everything is; the others read it
    bodies    Versioned  version v is the state after v - 1 steps             simulation writes
    steps     Ring       position i holds the statistics of step i            simulation writes
    results   Map        named results, as JSON; ``account`` says how far it is  analytics writes
    figures   Cells      lives of the parts; the step that was shown last     everybody
    alert     Event      there is a new alert in `results`                    analytics sets
    stop      Event      the simulation shall end                             launcher sets
    done      Event      no further step will come                            simulation sets
    <part>    Mutex      one of a kind works, others of it stand by           each part

Nothing here belongs to a process: whoever is killed left a whole state behind, and its successor
goes on from there. Parts can be started in any order, by the launcher or by hand.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from holdfast import shm
from physics import STATISTICS

PARTS = ("simulation", "renderer", "analytics")
SIZE = "8 MiB"  # room for 30,000 bodies; the same for whoever comes first
SHOWN = len(PARTS)  # in `figures`; before it, the lives of the parts


@dataclass(frozen=True)
class Settings:
    """How large everything is; the same for all, from the segment."""

    particles: int = 400
    steps: int = 1000
    seed: int = 7
    rate: float = 120.0
    """Steps a second at most; 0: as fast as it goes."""
    kept: int = 1024
    """Statistics that the ring keeps: who listens later has lost the older ones."""
    width: int = 480
    height: int = 320
    frames: str = "frames"
    """Folder of the PNG files."""
    frame_rate: float = 15.0
    port: int = 0
    """Of the live page on 127.0.0.1; 0: none."""
    drift: float = 5e-4
    """Relative change of the energy from which on there is an alert."""


class Pipeline:
    """The segment and everything in it, open in this process."""

    def __init__(self, name: str, role: str, wanted: Settings) -> None:
        self.segment = shm.Segment(name, SIZE, role=role)
        settings = self.segment.map("settings", 8, key=16, value=1024)
        text = json.dumps(asdict(wanted))
        self.is_new = settings.put_if_absent("settings", text)
        self.settings = Settings(**json.loads(settings["settings"]))
        given = self.settings
        self.bodies = self.segment.versioned("bodies", (2, given.particles, 3), buffers=4)
        self.steps = self.segment.ring("steps", given.kept, dtype=STATISTICS)
        self.results = self.segment.map("results", 256, key=32, value=1024)
        self.figures = self.segment.cells("figures", len(PARTS) + 1)
        self.alert = self.segment.event("alert", automatic=True)
        self.stop = self.segment.event("stop")
        self.done = self.segment.event("done")
        self.held: Any = None

    def take_part(self, part: str) -> bool:
        """Wait until this process is the one that works as `part`; False: the work is done."""
        mutex = self.segment.mutex(part)
        while True:
            try:
                if mutex.lock(timeout=0.2):
                    break
            except shm.OwnerDiedError:
                mutex.consistent()  # whoever it was, what it left is whole
                break
            if self.done.is_set():
                return False
        self.held = mutex
        self.figures.add(1, PARTS.index(part))
        return True

    def result(self, name: str, default: Any = None) -> Any:
        """One of the named results."""
        found = self.results.get(name)
        return default if found is None else json.loads(found)

    def say(self, name: str, value: Any) -> None:
        """Set a named result: all of it, or nothing if this process is killed on the way."""
        self.results[name] = json.dumps(value)

    def alerts(self) -> dict[int, str]:
        """Sentences by step."""
        found = {}
        for key, value in self.results.items():
            if key.startswith(b"alert/"):
                found[int(key[6:])] = json.loads(value)
        return dict(sorted(found.items()))

    def digest(self) -> str:
        """Of the newest state; the same for every run with these settings, killed or not."""
        bodies, _ = self.bodies.read()
        return hashlib.sha256(bodies.tobytes()).hexdigest()[:16]

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *error: Any) -> None:
        """Leave, so that who stands by can go on; the last one removes the segment."""
        if self.held is not None:
            self.held.unlock()
        self.segment.__exit__(*error)
