"""Signals reach the program exactly once, whoever sends them and wherever to.

Method: a program that counts what it gets and says so; holdfast runs it in a process group (or
behind a terminal) of its own. Sent are: to holdfast alone, to the whole group, by the terminal.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import HOLDFAST, WATCHDOG, environment, script, start, tool

COUNTER = """
import collections, os, signal, sys, time
seen = collections.Counter()
def note(number, frame):
    seen[signal.Signals(number).name] += 1
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), note)
print("ready", os.getpid(), flush=True)
end = time.monotonic() + 20
while not seen and time.monotonic() < end:
    time.sleep(0.01)
end = time.monotonic() + 0.4
while time.monotonic() < end:
    time.sleep(0.01)
print(dict(seen), flush=True)
"""
NAMES = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGWINCH"]


@pytest.fixture(autouse=True)
def reports_of_the_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is killed leaves its directory behind: not for ever."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    return script(tmp_path, COUNTER)


@contextlib.contextmanager
def running(counter: Path, *names: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A counting program under holdfast, and its process id."""
    process = start("run", "--quiet", counter, *names)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        assert ready[:1] == [b"ready"], process.stderr.read() if process.stderr else ""
        yield process, int(ready[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=WATCHDOG)


def result(process: subprocess.Popen[bytes]) -> bytes:
    stdout, stderr = process.communicate(timeout=WATCHDOG)
    assert process.returncode == 0, stderr
    return stdout.strip()


@pytest.mark.parametrize("name", NAMES)
def test_signal_to_holdfast_is_forwarded_once(counter: Path, name: str) -> None:
    with running(counter, name) as (process, _):
        os.kill(process.pid, signal.Signals[name])
        assert result(process) == f"{{'{name}': 1}}".encode()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_signal_to_the_group_is_not_doubled(counter: Path, name: str) -> None:
    with running(counter, name) as (process, _):
        os.killpg(process.pid, signal.Signals[name])
        assert result(process) == f"{{'{name}': 1}}".encode()


def test_signal_to_the_group_does_not_hide_a_later_one_to_holdfast(counter: Path) -> None:
    with running(counter, "SIGUSR1", "SIGUSR2") as (process, _):
        os.killpg(process.pid, signal.SIGUSR1)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGUSR2)
        assert result(process) == b"{'SIGUSR1': 1, 'SIGUSR2': 1}"


def test_group_signal_reaches_a_program_that_left_the_group(tmp_path: Path) -> None:
    path = script(tmp_path, "import os\nos.setpgid(0, 0)\n" + COUNTER)
    with running(path, "SIGTERM") as (process, _):
        os.killpg(process.pid, signal.SIGTERM)
        assert os.getpgid(process.pid) == process.pid
        assert result(process) == b"{'SIGTERM': 1}"


def test_term_without_a_handler_ends_both_by_term(tmp_path: Path) -> None:
    path = script(tmp_path, "import time\nprint('ready', 0, flush=True)\ntime.sleep(30)")
    with running(path) as (process, _):
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=WATCHDOG)
        assert process.returncode == -signal.SIGTERM


def test_kill_of_the_group_leaves_nobody_behind(counter: Path) -> None:
    with running(counter) as (process, pid):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=WATCHDOG)
        for _ in range(200):
            if not Path(f"/proc/{pid}").exists() or state(pid) == "Z":
                break
            time.sleep(0.01)
        else:
            pytest.fail("the program outlived its group")


def test_witness_ends_with_holdfast(counter: Path) -> None:
    with running(counter, "SIGUSR1") as (process, pid):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        witnesses = [int(child) for child in children if int(child) != pid]
        assert len(witnesses) == 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=WATCHDOG)
        for _ in range(200):
            if not Path(f"/proc/{witnesses[0]}").exists() or state(witnesses[0]) == "Z":
                break
            time.sleep(0.01)
        else:
            pytest.fail("the witness outlived holdfast")


def state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def wait_for_state(pid: int, wanted: str) -> None:
    for _ in range(500):
        if state(pid) == wanted:
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} is {state(pid)}, not {wanted}")


def test_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    code = "import signal as s; print(*(s.getsignal(n) is s.SIG_IGN for n in (s.SIGINT, s.SIGHUP)))"
    line = 'trap "" INT HUP; exec "$@"'
    words = ["sh", "-c", line, "sh", *HOLDFAST, "run", "-q", "-c", code]
    done = subprocess.run(words, capture_output=True, env=environment(), timeout=WATCHDOG)
    assert done.stdout == b"True True\n"


# --- a terminal ------------------------------------------------------------------------------


class Terminal:
    """A command as the first process of a terminal of its own."""

    def __init__(self, *words: str | Path) -> None:
        self.text = ""
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.execve(words[0], [str(word) for word in words], environment(PS1="$ "))

    def matching(self, pattern: str) -> str:
        """Read until the pattern is there; its first group."""
        end = time.monotonic() + WATCHDOG
        while not (found := re.search(pattern, self.text)):
            if not select.select([self.file], [], [], max(0, end - time.monotonic()))[0]:
                pytest.fail(f"no {pattern!r} in {self.text!r}")
            try:
                self.text += os.read(self.file, 4096).decode()
            except OSError:
                pytest.fail(f"no {pattern!r} in all of {self.text!r}")
        return found[1]

    def until(self, words: str) -> str:
        """Read until the words are there; everything so far."""
        self.matching(f"({re.escape(words)})")
        return self.text

    def close(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.file)
        return status


def test_interrupt_key_reaches_the_program_once(counter: Path) -> None:
    terminal = Terminal(*HOLDFAST, "run", "--quiet", counter, "SIGINT")
    terminal.until("ready")
    os.write(terminal.file, b"\x03")
    assert "{'SIGINT': 1}" in terminal.until("}")
    assert terminal.close() == 0


def test_interrupt_key_ends_a_program_without_a_handler() -> None:
    terminal = Terminal(*HOLDFAST, "run", "-q", "--", "sh", "-c", "echo ready; exec sleep 30")
    terminal.until("ready")
    time.sleep(0.1)
    os.write(terminal.file, b"\x03")
    status = terminal.close()
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGINT


def test_stop_key_stops_holdfast_and_program_and_both_go_on(counter: Path) -> None:
    # The kernel does not stop an orphaned group: a shell in between is what a terminal has.
    terminal = Terminal(tool("bash"), "--norc", "-i")
    command = shlex.join([*HOLDFAST, "run", "--quiet", str(counter), "SIGUSR1"])
    os.write(terminal.file, command.encode() + b"\n")
    program = int(terminal.matching(r"ready (\d+)\r"))
    os.write(terminal.file, b"\x1a")
    wait_for_state(program, "T")
    terminal.until("Stopped")
    os.write(terminal.file, b"fg\n")
    wait_for_state(program, "S")
    os.kill(program, signal.SIGUSR1)
    assert "{'SIGUSR1': 1}" in terminal.until("'SIGUSR1': 1}")
    os.write(terminal.file, b"exit\n")
    terminal.close()


def test_window_change_reaches_the_program_once(counter: Path) -> None:
    import fcntl
    import struct
    import termios

    terminal = Terminal(*HOLDFAST, "run", "--quiet", counter, "SIGWINCH")
    terminal.until("ready")
    fcntl.ioctl(terminal.file, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    assert "{'SIGWINCH': 1}" in terminal.until("}")
    assert terminal.close() == 0
