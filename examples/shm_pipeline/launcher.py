"""launcher.py - starts the three parts, starts again whichever dies, shows how far they are.

It moves no data and holds nothing: when it is killed itself, the parts go on, and another launcher
(the same command again) looks after them.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import PARTS, SHOWN, Pipeline
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

FAILURES_MAX = 3  # in a row, by an error of its own; being killed does not count


@dataclass
class Child:
    """A part in a process of its own."""

    part: str
    command: list[str]
    process: subprocess.Popen[bytes] = field(init=False)
    deaths: int = 0
    failures: int = 0

    def start(self) -> None:
        """Start it, in a process group of its own: Ctrl-C is the launcher's to answer."""
        self.process = subprocess.Popen(self.command, process_group=0)

    @property
    def finished(self) -> bool:
        """It ended because the work is done."""
        return self.process.poll() == 0

    def restart_if_dead(self) -> str | None:
        """Start it again if it died; says so."""
        code = self.process.poll()
        if code is None or code == 0:
            return None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed ({code})"
        old = self.process.pid
        self.deaths += 1
        self.failures = self.failures + 1 if code > 0 else 0
        if self.failures == FAILURES_MAX:
            raise SystemExit(f"{self.part} failed {FAILURES_MAX} times in a row; giving up")
        self.start()
        return f"{self.part} (pid {old}) {how}; started again as pid {self.process.pid}"


class Display:
    """Three bars on a terminal, lines elsewhere."""

    def __init__(self, pipe: Pipeline, console: Console) -> None:
        self.pipe = pipe
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description:10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[about]}"),
            console=console,
            disable=not console.is_terminal,
        )
        total = pipe.settings.steps + 1 if pipe.settings.steps else None
        self.tasks = [self.progress.add_task(part, total=total, about="") for part in PARTS]

    def show(self, children: list[Child]) -> None:
        """Draw how far each part is: all of it stands in the segment."""
        account = self.pipe.result("account", {"position": 0, "lost": 0, "drift": 0.0})
        shown = self.pipe.figures[SHOWN]
        drift = f"drift {account['drift']:+.1e}, {account['lost']} lost"
        places = (self.pipe.bodies.version, shown, account["position"])
        for task, child, place, more in zip(
            self.tasks, children, places, ("", "", drift), strict=True
        ):
            lives = self.pipe.figures[PARTS.index(child.part)]
            about = f"pid {child.process.pid}, life {lives}  {more}"
            self.progress.update(task, completed=place, about=about)

    def say(self, sentence: str) -> None:
        """Print a line above the bars."""
        line = f"[{self.pipe.steps.total_written:6}] {sentence}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def tell_alerts(pipe: Pipeline, display: Display, told: set[int]) -> None:
    """Print those that were not told yet."""
    for step, sentence in pipe.alerts().items():
        if step not in told:
            told.add(step)
            display.say(f"alert: {sentence}")


def look_after(pipe: Pipeline, children: list[Child], display: Display, chaos: float) -> None:
    """Start again what dies, tell alerts, until all parts have finished."""
    told: set[int] = set()
    next_kill = time.monotonic() + random.expovariate(1 / chaos) if chaos else float("inf")
    while not all(child.finished for child in children):
        if pipe.alert.wait(timeout=0.05):  # also the pause of this loop
            tell_alerts(pipe, display, told)
        for child in children:
            if sentence := child.restart_if_dead():
                display.say(sentence)
        if time.monotonic() > next_kill and not pipe.stop.is_set():
            random.choice(children).process.kill()
            next_kill = time.monotonic() + random.expovariate(1 / chaos)
        display.show(children)
    tell_alerts(pipe, display, told)


def summary(pipe: Pipeline, children: list[Child], console: Console) -> None:
    """What came of it, from the segment."""
    account = pipe.result("account")
    frames = len(list(Path(pipe.settings.frames).glob("frame-*.png")))
    deaths = ", ".join(f"{child.part} {child.deaths}" for child in children)
    adds_up = account["received"] + account["lost"] == pipe.steps.total_written
    lines = [
        f"simulation  {pipe.bodies.version - 1} steps of {pipe.settings.particles} bodies, "
        f"state {pipe.digest()}",
        f"renderer    {frames} frames in {pipe.settings.frames}, "
        f"the last of step {pipe.figures[SHOWN] - 1}",
        f"analytics   {account['received']} received + {account['lost']} lost "
        f"{'=' if adds_up else 'IS NOT'} {pipe.steps.total_written} statistics",
        f"            drift of the energy {account['drift_max']:.1e} at most, "
        f"{len(pipe.alerts())} alerts; closest at step {account['closest_step']}",
        f"killed      {deaths}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def run(pipe: Pipeline, options: list[str], chaos: float) -> int:
    """Run all three parts to the end."""
    folder = Path(pipe.settings.frames)
    if pipe.is_new and folder.is_dir():
        for frame in folder.glob("frame-*.png"):
            frame.unlink()
    script = str(Path(__file__).with_name("main.py"))
    children = [Child(part, [sys.executable, script, part, *options]) for part in PARTS]
    console = Console()
    display = Display(pipe, console)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: pipe.stop.set())
    started = []
    try:
        with display.progress:
            for child in children:
                child.start()
                started.append(child)
            if pipe.settings.port:
                display.say(f"live page: http://127.0.0.1:{pipe.settings.port}/")
            look_after(pipe, children, display, chaos)
        summary(pipe, children, console)
    finally:
        for child in started:
            child.process.kill()
            child.process.wait()
    return 0
