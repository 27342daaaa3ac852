"""launch.py - start the program, pass on the signals meant for it, wait for its end.

    terminal --^C--> whole foreground group: holdfast, witness, program      nothing to do
    kill -TERM PID of holdfast --> holdfast only                             forwarded
    kill -TERM -GROUP          --> all three                                 nothing to do

The program stays in holdfast's process group, so job control and group kills work as without
holdfast. A signal must reach it exactly once: uvicorn, celery and others take a second SIGTERM for
"drop everything". What was sent to the group is told from what was sent to holdfast alone by a
*witness*, a child that does nothing but write down the signals it gets.

Invariants  the program starts with the signal mask and dispositions holdfast was started with.
Fails with  OSError from posix_spawn: the program cannot be executed.
Source      sigwaitinfo(2) si_code; job control: POSIX.1 section 11.1.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from resource import struct_rusage

__all__ = ["Ending", "die_of", "run"]

FORWARDED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP, signal.SIGALRM,
)  # fmt: skip
SENT_BY_KERNEL = 0x80  # si_code SI_KERNEL: the terminal, which tells the whole group
WITNESS_WAIT = 0.05  # a group's signals are queued by one system call; the rest is scheduling


class Ending(NamedTuple):
    """How the program ended. Times in seconds; ``code`` is None when ``signal`` killed it."""

    pid: int
    code: int | None
    signal: int | None
    wall: float
    user: float
    system: float
    peak_rss: int
    core_dumped: bool


def run(executable: str, argv: list[str], environment: Mapping[str, str]) -> Ending:
    """Run a program to its end.

    Raises
    ------
    OSError
        It cannot be executed.
    """
    watched = {*FORWARDED, signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    original = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    witness = _Witness(original)
    began = time.monotonic()
    try:
        pid = os.posix_spawn(
            executable,
            argv,
            environment,
            setsigmask=original,
            # Python ignores these two; a program expects them as they are in a shell.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        status, usage = _attend(pid, watched, witness)
    finally:
        witness.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, original)
    killed = os.WIFSIGNALED(status)
    return Ending(
        pid=pid,
        code=None if killed else os.WEXITSTATUS(status),
        signal=os.WTERMSIG(status) if killed else None,
        wall=time.monotonic() - began,
        user=usage.ru_utime,
        system=usage.ru_stime,
        peak_rss=usage.ru_maxrss * 1024,
        core_dumped=os.WCOREDUMP(status),
    )


def _attend(pid: int, watched: set[signal.Signals], witness: _Witness) -> tuple[int, struct_rusage]:
    stopping = False
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo != signal.SIGCHLD:
            stopping = info.si_signo == signal.SIGTSTP
            group = witness.saw(info.si_signo) or info.si_code == SENT_BY_KERNEL
            if not group or _left_group(pid):
                _send(pid, info.si_signo)
            continue
        # One SIGCHLD may stand for several changes of state, and for the witness's.
        while True:
            ended, status, usage = os.wait4(pid, os.WNOHANG | os.WUNTRACED)
            if ended == 0:
                break
            if not os.WIFSTOPPED(status):
                return status, usage
            # The shell takes the terminal back when holdfast, its child, stops as well. A program
            # that tidies up on SIGTSTP stops itself by SIGSTOP; a debugger's SIGSTOP is not ours.
            if stopping or os.WSTOPSIG(status) != signal.SIGSTOP:
                os.kill(os.getpid(), signal.SIGSTOP)


class _Witness:
    """A process of the same group that writes down which signals it got."""

    def __init__(self, mask: set[signal.Signals | int]) -> None:
        self._log, theirs = os.pipe()
        alive, self._alive = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._log)
                os.close(self._alive)
                _bear_witness(theirs, alive)
            finally:  # not by exit: it would report on itself where holdfast runs under holdfast
                os.kill(os.getpid(), signal.SIGKILL)
        os.close(theirs)
        os.close(alive)
        self._seen: list[int] = []

    def saw(self, number: int) -> bool:
        """Tell if the signal that just came was sent to the group."""
        deadline = time.monotonic() + WITNESS_WAIT
        while number not in self._seen:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._log], [], [], left)[0]:
                return False
            told = os.read(self._log, 64)
            if not told:
                return False
            self._seen.extend(told)
        self._seen = [seen for seen in self._seen if seen != number]
        return True

    def close(self) -> None:
        os.close(self._alive)
        os.close(self._log)
        os.waitpid(self._pid, 0)


def _bear_witness(log: int, alive: int) -> None:
    os.set_blocking(log, False)
    signal.set_wakeup_fd(log, warn_on_full_buffer=False)
    for number in FORWARDED:
        signal.signal(number, lambda *_: None)
    # It would otherwise keep open what holdfast was given: a pipe's reader waits for its end.
    keep = {log, alive}
    for descriptor in range(3):
        if descriptor not in keep:
            os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    while os.read(alive, 1):
        pass


def _left_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) != os.getpgrp()
    except ProcessLookupError:
        return False


def _send(pid: int, number: int) -> None:
    # It may have ended, or have become another user's: then there is nobody to tell.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def die_of(number: int) -> None:
    """End this process by the signal that ended the program, so that a shell sees the same."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
