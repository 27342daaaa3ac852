"""The pipeline of examples/shm_pipeline: three processes, killed again and again, and an account.

Method: it is started as its README says. The test has the segment open as well, so it sees what the
parts see, and is the last one out. Whoever is killed is kept dead (the launcher is stopped) until
the others were seen to go on without it. The end state must be, to the last bit, that of the same
simulation computed here in one go.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shm_tools import files, fresh_name

np = pytest.importorskip("numpy")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "shm_pipeline"
PARTS = ("simulation", "renderer", "analytics")
SMALL = ["--particles", "60", "--width", "96", "--height", "64", "--frame-rate", "40"]
PATIENCE = 60.0


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of the example can be imported, and are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(EXAMPLE) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def until(what: str, condition: Callable[[], Any]) -> Any:
    """Wait for something to be true; says what never was."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)
    return found


class Run:
    """A pipeline, and this process looking on."""

    def __init__(self, folder: Path) -> None:
        self.name = fresh_name()
        self.frames = folder / "frames"
        self.processes: list[subprocess.Popen[str]] = []
        self.pipe: Any = None

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(EXAMPLE / "main.py"), *arguments, "--name", self.name]
        made = subprocess.Popen(
            [*command, "--frames", str(self.frames)], stdout=subprocess.PIPE, text=True
        )
        self.processes.append(made)
        return made

    def watch(self, *settings: str) -> None:
        """Open it, as any process could; makes it if nobody did yet."""
        from main import arguments
        from pipeline import Pipeline

        _, wanted = arguments([*settings, "--frames", str(self.frames)])
        self.pipe = Pipeline(self.name, "test", wanted)

    def pids(self, part: str) -> set[int]:
        """Living processes of this kind, as the kernel says."""
        found = self.pipe.segment.participants()
        return {one.pid for one in found if one.role == part and one.life == "live"}

    def places(self) -> dict[str, int]:
        """How far each part is, in steps."""
        return {
            "simulation": self.pipe.bodies.version,
            "renderer": self.pipe.figures[len(PARTS)],
            "analytics": self.pipe.result("account", {"position": 0})["position"],
        }

    def wait_for_progress(self, parts: tuple[str, ...] = PARTS) -> None:
        """Until each of them is further than now, by more than what it had begun."""
        before = self.places()
        for part in parts:
            until(f"progress of {part}", lambda part=part: self.places()[part] > before[part] + 2)

    def account_adds_up(self) -> dict[str, Any]:
        """Check received + lost = positions, here and for whoever it is."""
        account: dict[str, Any] = self.pipe.result("account")
        assert account["received"] + account["lost"] == account["position"]
        assert account["position"] <= self.pipe.steps.total_written
        assert sum(account["speeds"]) <= account["received"] * self.pipe.settings.particles
        return account

    def check_end(self) -> dict[str, Any]:
        """Everything was done, once, and is whole."""
        import physics
        import png

        written = self.pipe.steps.total_written
        assert written == self.pipe.bodies.version
        account = self.account_adds_up()
        assert account["position"] == written
        last = self.pipe.steps.latest(self.pipe.settings.kept)["step"]
        assert last.tolist() == list(range(written - len(last), written))
        assert self.pipe.segment.check() == []

        frames = sorted(self.frames.iterdir())
        assert {frame.suffix for frame in frames} == {".png"}
        assert frames[-1].name == f"frame-{written - 1:06d}.png"
        for frame in frames:
            image = png.decode(frame.read_bytes())
            assert image.shape == (64, 96, 3)
            if frame.name < "frame-001000":  # later they may have left the picture
                assert image.any()

        given = self.pipe.settings
        undisturbed = physics.Galaxies(physics.start(given.particles, given.seed), 0)
        for _ in range(written - 1):
            undisturbed.advance()
        bodies, _ = self.pipe.bodies.read()
        assert bodies[0].tobytes() == undisturbed.position.tobytes()
        assert bodies[1].tobytes() == undisturbed.velocity.tobytes()
        return account

    def leave(self) -> None:
        """Be the last one out: then nothing is left."""
        with contextlib.suppress(AttributeError), self.pipe:
            until("the others have left", lambda: self.pipe.segment.info().participants_live == 1)
        assert f"holdfast-{self.name}" not in files()

    def clean(self) -> None:
        """After a failure: end what runs, by its process id, and remove the segment."""
        for process in self.processes:
            process.kill()
            process.communicate()
        if self.pipe is not None and not self.pipe.segment.closed:
            for one in self.pipe.segment.participants():
                if one.role in PARTS and one.life == "live":
                    os.kill(one.pid, signal.SIGKILL)
            self.pipe.segment.close()
        Path(f"/dev/shm/holdfast-{self.name}").unlink(missing_ok=True)


@pytest.fixture
def run(tmp_path: Path, example: None) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.clean()


def kill(run: Run, part: str) -> None:
    (pid,) = run.pids(part)
    os.kill(pid, signal.SIGKILL)
    until(f"death of {part}", lambda: not run.pids(part))


@pytest.mark.parametrize("rounds", [3, pytest.param(60, marks=pytest.mark.nightly)])
def test_any_part_is_killed_and_the_others_go_on(run: Run, rounds: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    run.watch(*SMALL, "--steps", "0", "--rate", "200")
    launcher = run.start()
    run.wait_for_progress()
    for _ in range(rounds):
        for part in dice.sample(PARTS, len(PARTS)):
            others = tuple(other for other in PARTS if other != part)
            same = {other: run.pids(other) for other in others}
            time.sleep(dice.uniform(0, 0.1))
            launcher.send_signal(signal.SIGSTOP)  # so that it does not start anything again
            kill(run, part)
            if part == "simulation":  # the others finish what there is, and wait
                written = run.pipe.bodies.version
                until(
                    "the last whole version is shown",
                    lambda written=written: run.places()["renderer"] == written,
                )
                until(
                    "all statistics are read",
                    lambda: run.places()["analytics"] == run.pipe.steps.total_written,
                )
                assert run.pipe.bodies.version == written
                assert written - run.pipe.steps.total_written in (0, 1)
            else:
                run.wait_for_progress(others)
            assert {other: run.pids(other) for other in others} == same
            run.account_adds_up()
            launcher.send_signal(signal.SIGCONT)
            run.wait_for_progress()
    launcher.send_signal(signal.SIGTERM)
    said, _ = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 0, said
    run.check_end()
    assert [run.pipe.figures[index] for index in range(3)] == [1 + rounds] * 3
    assert said.count("was killed by SIGKILL; started again") == 3 * rounds
    assert f"killed      simulation {rounds}, renderer {rounds}, analytics {rounds}" in said
    account = re.search(r"(\d+) received \+ (\d+) lost = (\d+) statistics", said)
    assert account, said
    assert int(account[1]) + int(account[2]) == int(account[3]) == run.pipe.steps.total_written
    run.leave()


def test_who_was_dead_too_long_is_told_what_it_lost(run: Run) -> None:
    run.watch(*SMALL, "--steps", "0", "--rate", "0", "--kept", "64")
    launcher = run.start()
    run.wait_for_progress()
    launcher.send_signal(signal.SIGSTOP)
    kill(run, "analytics")
    before = run.account_adds_up()
    behind = before["position"] + 3 * 64
    until("more steps than are kept", lambda: run.pipe.steps.total_written > behind)
    launcher.send_signal(signal.SIGCONT)
    until("analytics goes on", lambda: run.places()["analytics"] > behind)
    launcher.send_signal(signal.SIGTERM)
    said, _ = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 0, said
    after = run.check_end()
    assert after["lost"] >= before["lost"] + 2 * 64
    assert "statistics were lost, nobody was listening" in said
    run.leave()


def test_parts_started_by_hand_one_after_the_other(run: Run) -> None:
    run.watch(*SMALL, "--steps", "300", "--rate", "0", "--kept", "64")
    for part in PARTS:
        assert run.start(part).wait(PATIENCE) == 0
    account = run.check_end()
    assert (account["received"], account["lost"]) == (64, 301 - 64)
    assert len(list(run.frames.iterdir())) == 1
    run.leave()


def test_second_of_a_kind_stands_by_and_takes_over(run: Run) -> None:
    run.watch(*SMALL, "--steps", "400", "--rate", "200")
    first = run.start("simulation")
    until("steps", lambda: run.pipe.bodies.version > 5)
    second = run.start("simulation")
    until("two of them", lambda: len(run.pids("simulation")) == 2)
    assert run.pipe.figures[0] == 1  # it works once, by one
    first.kill()
    assert second.wait(PATIENCE) == 0
    assert run.pipe.figures[0] == 2
    for part in PARTS[1:]:
        assert run.start(part).wait(PATIENCE) == 0
    run.check_end()
    run.leave()


def test_all_are_killed_and_the_next_goes_on(run: Run) -> None:
    settings = [*SMALL, "--steps", "300", "--rate", "200"]
    run.watch(*settings)
    first = run.start("simulation")
    until("steps", lambda: run.pipe.bodies.version > 5)
    with run.pipe:  # the simulation is alone from here on
        reached = run.pipe.bodies.version
    first.kill()
    first.wait(PATIENCE)
    run.watch(*settings)
    assert not run.pipe.is_new
    assert run.pipe.bodies.version >= reached
    for part in PARTS:
        assert run.start(part).wait(PATIENCE) == 0
    assert run.check_end()["received"] == 301
    run.leave()


def test_launcher_is_killed_and_another_takes_over(run: Run) -> None:
    run.watch(*SMALL, "--steps", "0", "--rate", "200")
    first = run.start()
    run.wait_for_progress()
    parts = {part: run.pids(part) for part in PARTS}
    first.kill()
    first.wait(PATIENCE)
    run.wait_for_progress()
    assert {part: run.pids(part) for part in PARTS} == parts
    second = run.start()
    until("all stand by", lambda: all(len(run.pids(part)) == 2 for part in PARTS))
    for pids in parts.values():
        os.kill(pids.copy().pop(), signal.SIGKILL)
    run.wait_for_progress()
    assert not any(parts[part] & run.pids(part) for part in PARTS)
    second.send_signal(signal.SIGINT)
    said, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, said
    run.check_end()
    run.leave()


def test_chaos_and_the_live_page(run: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run.watch(*SMALL, "--steps", "0", "--rate", "100", "--port", str(port))
    launcher = run.start("--chaos", "0.7")

    def get(path: str) -> bytes:
        address = f"http://127.0.0.1:{port}{path}"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            return bytes(answer.read())
        return b""

    import png

    lives = run.pipe.figures
    until("a renderer was killed", lambda: lives[1] > 1)
    assert b"<img" in until("the page", lambda: get("/"))
    image = until("a frame on the page", lambda: get("/frame.png"))
    assert png.decode(image).shape == (64, 96, 3)
    results = json.loads(until("results on the page", lambda: get("/results.json")))
    assert results["account"]["received"] > 0
    launcher.send_signal(signal.SIGINT)
    said, _ = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 0, said
    run.check_end()
    run.leave()


def test_part_that_fails_by_itself_is_given_up(run: Run) -> None:
    run.watch(*SMALL, "--steps", "0")
    run.frames.write_text("no folder")
    launcher = run.start()
    said, _ = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 1
    assert said.count("renderer") >= 2
    run.leave()


class Killed(BaseException):
    """Stands for SIGKILL at one call."""


def killed_at(call: int, *functions: tuple[Any, str]) -> Callable[[], None]:
    """Let the calls of these functions be counted, and the given one end in Killed."""
    seen = 0
    originals = [(owner, name, getattr(owner, name)) for owner, name in functions]

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **more: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == call:
                raise Killed
            return original(*given, **more)

        return counted

    for owner, name, original in originals:
        setattr(owner, name, wrap(original))

    def restore() -> None:
        for owner, name, original in originals:
            setattr(owner, name, original)

    return restore


def test_simulation_killed_between_any_two_calls_goes_on_exactly(run: Run) -> None:
    import simulation

    call = 0
    while True:
        call += 1
        run.name = fresh_name()
        run.watch(*SMALL, "--steps", "4", "--rate", "0")
        ring = type(run.pipe.steps)
        restore = killed_at(call, (simulation, "publish"), (ring, "push"), (simulation, "resume"))
        try:
            simulation.work(run.pipe)
            whole = True
        except Killed:
            whole = False
        finally:
            restore()
        if not whole:
            simulation.work(run.pipe)
        import analytics
        import renderer

        analytics.work(run.pipe)
        renderer.work(run.pipe)
        assert run.check_end()["received"] == 5
        run.leave()
        for frame in run.frames.iterdir():
            frame.unlink()
        if whole:
            break
    assert call == 12  # 5 states, 5 statistics, 1 beginning


def test_analytics_killed_between_any_two_calls_counts_nothing_twice(run: Run) -> None:
    import analytics
    import simulation

    accounts: dict[bool, list[Any]] = {True: [], False: []}
    call = 0
    whole = False
    while not whole:
        call += 1
        run.name = fresh_name()
        run.watch(*SMALL, "--steps", "40", "--rate", "0", "--kept", "32", "--drift", "1e-9")
        restore = killed_at(21, (simulation, "publish"))
        with pytest.raises(Killed):
            simulation.work(run.pipe)
        restore()
        run.pipe.done.set()  # for analytics, which ends there if it is not killed before
        restore = killed_at(call, (type(run.pipe), "say"), (type(run.pipe.alert), "set"))
        try:
            analytics.work(run.pipe)
            whole = True
        except Killed:
            pass
        restore()
        run.pipe.done.clear()
        said = run.pipe.result("account") is not None
        simulation.work(run.pipe)  # overwrites the first 9 statistics
        analytics.work(run.pipe)
        account = run.account_adds_up()
        assert (account["received"], account["lost"]) == ((41, 0) if said else (32, 9))
        accounts[said].append(account)
        run.leave()
    for found in accounts.values():
        assert len(found) > 1
        assert all(account == found[0] for account in found)


def test_frame_has_no_name_before_it_is_whole(run: Run) -> None:
    import analytics
    import renderer
    import simulation

    run.watch(*SMALL, "--steps", "3", "--rate", "0")
    simulation.work(run.pipe)
    restore = killed_at(1, (Path, "replace"))
    try:
        with pytest.raises(Killed):
            renderer.work(run.pipe)
    finally:
        restore()
    assert {path.suffix for path in run.frames.iterdir()} == {".part"}
    renderer.work(run.pipe)
    analytics.work(run.pipe)
    run.check_end()
    run.leave()


def test_png_is_whole_or_refused(example: None) -> None:
    import png

    image = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    data = png.encode(image)
    assert (png.decode(data) == image).all()
    for cut in range(len(data)):
        with pytest.raises(ValueError):
            png.decode(data[:cut])
        wrong = bytearray(data)
        wrong[cut] ^= 0x10
        with pytest.raises(ValueError):
            png.decode(bytes(wrong))


def test_energy_alert_is_given_once_until_it_is_well_back(example: None) -> None:
    from analytics import FRESH, add_up
    from physics import STATISTICS

    rows = np.zeros(8, STATISTICS)
    rows["step"] = np.arange(8)
    rows["separation"] = [5, 4, 3, 2, 1, 2, 3, 4]
    rows["kinetic"] = [1, 1.2, 1.3, 1.08, 1.2, 1.04, 1.08, 1.0]
    account = dict(FRESH)
    alerts = {**add_up(account, rows[:4], 0.1), **add_up(account, rows[4:], 0.1)}
    assert list(alerts) == [1, 5]
    assert (account["closest"], account["closest_step"]) == (1.0, 4)
    assert account["drift_max"] == pytest.approx(0.3)
