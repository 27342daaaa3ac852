"""sync.py - waiting for each other between processes: Event, Semaphore, Mutex, Barrier.

Invariants  who is killed holds nothing: permits come back, a mutex is handed on with a word about
            it, a barrier is broken or goes on without.
Talks to    holdfast._shm.   Called by segment.py.
Threads     any. Waits let other threads run and are interrupted by signal handlers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast import _shm
from holdfast.errors import InvalidArgumentError, WaitTimeoutError
from holdfast.shm.errors import OwnerDiedError
from holdfast.shm.handle import Handle
from holdfast.shm.structure import mode_number, whole

if TYPE_CHECKING:
    from typing import Self

    from holdfast.shm.records import Entry
    from holdfast.shm.segment import Segment

__all__ = ["Barrier", "Event", "Mutex", "Semaphore"]


class Event(Handle):
    """Something has happened: one process says so, others wait for it."""

    __slots__ = ()

    @classmethod
    def _make(
        cls, segment: Segment, name: str, automatic: bool | None, is_set: bool, mode: str
    ) -> Self:
        core = _shm.event_open(segment._core, name, mode_number(mode), automatic, is_set)
        return cls._wrap(segment, name, core)

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        return cls._make(segment, entry.name, None, False, "open")

    def set(self) -> None:
        """Say that it has happened; wakes who waits."""
        self._core.set()

    def clear(self) -> None:
        """Say that it has not."""
        self._core.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set.

        Parameters
        ----------
        timeout : float, optional
            Longest wait [s]; 0: look; as long as it takes if not given.

        Returns
        -------
        bool
            False: it was not set for that long. Automatic: this wait took it.
        """
        return bool(self._core.wait(timeout))

    def is_set(self) -> bool:
        """See whether it is set; of a moment that is over."""
        return bool(self._core.is_set())

    @property
    def automatic(self) -> bool:
        """True if one wait takes it."""
        return bool(self._core.automatic)


class Semaphore(Handle):
    """So many may at once.

    Permits belong to the process that took them and come back when it is killed, unless the
    semaphore is `counted`: then it is a bare number for signals from one process to another.
    """

    __slots__ = ()

    @classmethod
    def _make(
        cls, segment: Segment, name: str, permits: int, counted: bool, most: int, mode: str
    ) -> Self:
        core = _shm.semaphore_open(
            segment._core,
            name,
            mode_number(mode),
            whole("permits", permits),
            counted,
            whole("most", most),
            False,
        )
        return cls._wrap(segment, name, core)

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        core = _shm.semaphore_open(segment._core, entry.name, 0, 0, False, 0, True)
        return cls._wrap(segment, entry.name, core)

    def acquire(self, count: int = 1, timeout: float | None = None) -> bool:
        """Take `count` permits or none; False if they were not to be had in `timeout` seconds.

        A wait for several keeps what it has collected; once a second it gives that back and begins
        again, so that signal handlers run.
        """
        return bool(self._core.wait(count, timeout))

    def release(self, count: int = 1) -> None:
        """Give `count` permits back.

        Raises
        ------
        InvalidArgumentError
            This process holds fewer.
        FullError
            Counted: it would go beyond the most.
        """
        self._core.post(count)

    @property
    def value(self) -> int:
        """Permits that are free; of a moment that is over."""
        return int(self._core.value)

    @property
    def held(self) -> int:
        """Permits of this process."""
        return int(self._core.held)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Mutex(Handle):
    """One thread of one process at a time.

    If its owner is killed, the next to lock it has it, and is told: `lock` raises OwnerDiedError
    with the mutex locked. Put right what it protects, call `consistent`, go on, and unlock. Without
    `consistent` the next one is told as well.

    Examples
    --------
    >>> with mutex:                       # raises OwnerDiedError, unlocked, if its owner was killed
    ...     change(data)
    >>> with mutex.repairing(mend):       # calls mend() in that case, and goes on
    ...     change(data)
    """

    __slots__ = ()

    @classmethod
    def _make(cls, segment: Segment, name: str, mode: str) -> Self:
        return cls._wrap(segment, name, _shm.mutex_open(segment._core, name, mode_number(mode)))

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        return cls._make(segment, entry.name, "open")

    def lock(self, timeout: float | None = None) -> bool:
        """Lock it.

        Parameters
        ----------
        timeout : float, optional
            Longest wait [s]; 0: try; as long as it takes if not given.

        Returns
        -------
        bool
            False: another one had it all the time.

        Raises
        ------
        OwnerDiedError
            It is locked, and its last owner was killed in the middle of something.
        BusyError
            This thread has it already.
        """
        answer = self._core.lock(timeout)
        if answer == 2:
            raise OwnerDiedError(
                f"mutex {self._name!r} is locked now; the process that had it was killed: put "
                "right what it protects, then call consistent()"
            )
        return bool(answer)

    def unlock(self) -> None:
        """Unlock it, in the thread that locked it."""
        self._core.unlock()

    def consistent(self) -> None:
        """After OwnerDiedError: what the mutex protects is right again."""
        self._core.consistent()

    @property
    def inconsistent(self) -> bool:
        """True if an owner was killed and nobody called `consistent` since."""
        return bool(self._core.inconsistent)

    @property
    def owner(self) -> tuple[int, int] | None:
        """Participant and thread that have it; None: nobody. Of a moment that is over."""
        found: tuple[int, int] | None = self._core.owner()
        return found

    def repairing(self, mend: Any, timeout: float | None = None) -> _Repairing:
        """Lock for a block; where an owner was killed, call ``mend()`` first.

        Raises
        ------
        WaitTimeoutError
            It was not to be had in `timeout` seconds.
        """
        return _Repairing(self, mend, timeout)

    def __enter__(self) -> Self:
        try:
            self.lock()
        except OwnerDiedError:
            self.unlock()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()


class _Repairing:
    """What `Mutex.repairing` gives."""

    __slots__ = ("_mend", "_mutex", "_timeout")

    def __init__(self, mutex: Mutex, mend: Any, timeout: float | None) -> None:
        self._mutex, self._mend, self._timeout = mutex, mend, timeout

    def __enter__(self) -> Mutex:
        try:
            if not self._mutex.lock(self._timeout):
                raise WaitTimeoutError(f"mutex {self._mutex.name!r} was locked all the time")
        except OwnerDiedError:
            try:
                self._mend()
            except BaseException:
                self._mutex.unlock()  # the next one is told as well
                raise
            self._mutex.consistent()
        return self._mutex

    def __exit__(self, *_: object) -> None:
        self._mutex.unlock()


class Barrier(Handle):
    """Nobody goes on before all have come, round after round."""

    __slots__ = ()

    @classmethod
    def _make(cls, segment: Segment, name: str, parties: int, on_death: str, mode: str) -> Self:
        choices = {"break": 0, "go_on": 1}
        if on_death not in choices:
            raise InvalidArgumentError(f"on_death must be 'break' or 'go_on', it is {on_death!r}")
        core = _shm.barrier_open(
            segment._core,
            name,
            mode_number(mode),
            whole("parties", parties, 32),
            choices[on_death],
            False,
        )
        return cls._wrap(segment, name, core)

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        core = _shm.barrier_open(segment._core, entry.name, 0, 0, 0, True)
        return cls._wrap(segment, entry.name, core)

    def wait(self, timeout: float | None = None) -> int:
        """Come, and wait for the others; once a second it looks whether signal handlers are to run.

        Returns
        -------
        int
            A place from 0 to parties - 1, each given at most once a round.

        Raises
        ------
        OwnerDiedError
            Somebody who takes part was killed; the round is broken: come again.
        WaitTimeoutError
            Not all came in time; this one has not come.
        """
        place = self._core.wait(timeout)
        if place is None:
            raise WaitTimeoutError(f"not all {self.parties} came to barrier {self._name!r} in time")
        return int(place)

    @property
    def parties(self) -> int:
        """How many are waited for."""
        return int(self._core.parties)

    @property
    def waiting(self) -> int:
        """How many have come; of a moment that is over."""
        return int(self._core.waiting)

    @property
    def round(self) -> int:
        """Rounds so far, complete or broken."""
        return int(self._core.round)
