"""segment.py - memory that several processes map, by name, and what lies in it.

    Segment("frames", size="64 MiB")
      ├ array, queue, ring, map, ... (name, ...)   makes or opens; what is there must agree
      ├ segment["name"]                            opens what is there, whatever it is
      └ entries(), participants(), check(), repair(), sweep(), persist()

Invariants  one Segment per process and segment: opening it again, also by unpickling, gives the
            one that is open. A structure holds its segment, an array its structure.
Talks to    holdfast._shm, makers.py, opened.py, records.py, structures.py.   Called by users.
Threads     every method may be called from any thread.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any, Literal

from holdfast import _shm
from holdfast.errors import BusyError, InvalidArgumentError
from holdfast.options import parse_size
from holdfast.shm import opened, structures
from holdfast.shm.errors import NotFoundError, StaleError
from holdfast.shm.handle import Handle
from holdfast.shm.makers import Makers
from holdfast.shm.records import Entry, Fault, Figures, Info, Item, Participant
from holdfast.shm.structure import Structure, mode_number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from holdfast.shm.ring import RingReader

    Mode = Literal["open", "create", "open_or_create"]
    _Options = dict[str, int | float | str | None]

__all__ = ["Segment"]

_STALE = {"recover": 0, "reset": 1, "refuse": 2}
_PRESENCE = {"member": 0, "guest": 1, "watcher": 2}


def _owner(owner: int | str | None) -> int:
    if owner is None:
        return -1
    if owner == "any":
        return -2
    if isinstance(owner, int) and owner >= 0:
        return owner
    raise InvalidArgumentError(f"owner must be None, 'any' or a user id, it is {owner!r}")


def _path(path: str | os.PathLike[str] | None) -> str:
    """Whole, so that a handle means the same to a process that stands in another folder."""
    return os.path.join(os.getcwd(), os.fspath(path)) if path else ""


def _text(name: str) -> str:
    """Refuse what cannot be UTF-8, as C wants it: bytes of a command line that are none."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"name {name!a} is no text") from None
    return name


def _choice(what: str, value: str, choices: dict[str, int]) -> int:
    if value not in choices:
        raise InvalidArgumentError(f"{what} must be one of {', '.join(choices)}, it is {value!r}")
    return choices[value]


class Segment(Makers):
    """Shared memory with a table of the structures in it.

    The last process that leaves removes it (unless `persist`); one that is killed leaves at once,
    and what it held comes back. Nothing watches from outside: no resource tracker, no daemon.

    Parameters
    ----------
    name : str, optional
        Letters, digits, ``.``, ``_`` and ``-``, up to 200. Without one (and without `path`) the
        segment is reached by its file descriptor alone: inherited, or pickled to a child.
    size : int or str, optional
        Of a new segment, everything included [bytes], such as ``"64 MiB"``. To open one: any.
    mode : {'open_or_create', 'open', 'create'}
        What to do if it is there, or is not.
    size_max : int or str, optional
        Up to which `grow` may go [bytes].
    access : int
        File mode of a new segment.
    group : int, optional
        Its group id.
    owner : int or 'any', optional
        User that an opened segment may belong to, besides root; this user if not given.
    participants, entries : int
        Processes that can have it open at once (up to 1023); structures it can hold (0: as its
        size suggests).
    name_size, format_size : int
        Bytes for the name and the dtype of a structure.
    stale : {'recover', 'reset', 'refuse'}
        What to do with a segment in which nobody lives any more: keep the data and give back what
        dead processes held; start anew; or raise OwnerDiedError.
    persist : bool
        Stays when the last one leaves.
    huge_pages, prefault : bool
        Ask for huge pages; touch every page at once.
    node : int or 'interleave', optional
        NUMA node of the pages.
    path : path-like, optional
        A file instead of shared memory; see `persist`.
    role : str
        Of this process, shown to others (23 bytes).
    presence : {'member', 'guest', 'watcher'}
        A guest leaves the segment there if nobody lived in it before. A watcher opens only, is no
        participant and changes nothing: it sees `info`, `entries`, `figures`,
        `view`, `check`.
    timeout : float, optional
        Longest wait for another process's change of the table [s]; None: for ever.

    Raises
    ------
    NotFoundError, ExistsError, AccessError, NoSpaceError, LayoutError, MismatchError
        Each also the builtin one would catch: FileNotFoundError, FileExistsError, PermissionError,
        MemoryError, OSError, ValueError.
    """

    __slots__ = ("__weakref__", "_core", "_options", "_structures")

    _core: _shm.Segment
    _options: _Options
    _structures: weakref.WeakSet[Structure | RingReader]

    def __new__(
        cls,
        name: str | None = None,
        size: int | str | None = None,
        *,
        mode: Mode = "open_or_create",
        size_max: int | str | None = None,
        access: int = 0o600,
        group: int | None = None,
        owner: int | Literal["any"] | None = None,
        participants: int = 64,
        entries: int = 0,
        name_size: int = 64,
        format_size: int = 192,
        stale: Literal["recover", "reset", "refuse"] = "recover",
        persist: bool = False,
        huge_pages: bool = False,
        prefault: bool = False,
        node: int | Literal["interleave"] | None = None,
        path: str | os.PathLike[str] | None = None,
        role: str = "",
        presence: Literal["member", "guest", "watcher"] = "member",
        timeout: float | None = 10.0,
    ) -> Self:
        """Make or open it."""
        if node is not None and node != "interleave" and not (isinstance(node, int) and node >= 0):
            raise InvalidArgumentError(f"node must be a number or 'interleave', it is {node!r}")
        options: _Options = {
            "size": parse_size(size, "size") if size is not None else 0,
            "size_max": parse_size(size_max, "size_max") if size_max is not None else 0,
            "access": access,
            "group": -1 if group is None else group,
            "owner": _owner(owner),
            "participants": participants,
            "entries": entries,
            "name_size": name_size,
            "format_size": format_size,
            "stale": _choice("stale", stale, _STALE),
            "persist": int(persist),
            "huge_pages": int(huge_pages),
            "prefault": int(prefault),
            "node": -1 if node is None else -2 if node == "interleave" else node,
            "path": _path(path),
            "role": role,
            "presence": _choice("presence", presence, _PRESENCE),
            "timeout": timeout,
        }
        for key, value in options.items():
            signed = key in ("group", "owner", "node", "timeout")
            if isinstance(value, int) and not signed and value < 0:
                raise InvalidArgumentError(f"{key} must not be negative, it is {value}")
        number = mode_number(mode)
        with opened.opening():
            if name is None and path is None:
                if mode == "open":
                    raise InvalidArgumentError("a segment without name and path cannot be opened")
                return cls._wrap(_shm.segment_anonymous(options), options)
            # One that is open here is this one, if it is still what the name stands for.
            core = _shm.segment_open(_text(name or ""), number, options)
            return cls._wrap(core, options)

    @classmethod
    def _wrap(cls, core: _shm.Segment, options: _Options) -> Self:
        """One object per process: a second participant of the same process leaves at once."""
        identity = opened.identity_of(core)
        alone = options["presence"] != _PRESENCE["member"]
        there = None if alone else opened.segments.get(identity)
        if isinstance(there, cls) and not there.closed:
            core.close()
            return there
        self = super().__new__(cls)
        self._core = core
        self._options = options
        self._structures = weakref.WeakSet()
        if not alone:
            opened.segments[identity] = self
        opened.leave_with_multiprocessing()
        return self

    @classmethod
    def from_file(
        cls, file: int, *, owner: int | Literal["any"] | None = None, role: str = ""
    ) -> Self:
        """Open what a file descriptor refers to; the descriptor stays the caller's.

        Parameters
        ----------
        file : int
            Inherited, or received over a socket.
        owner : int or 'any', optional
            User that the segment may belong to, besides root; this user if not given. Its `access`
            must let this user read and write it: the file is opened anew.
        role : str
            Of this process, shown to others (23 bytes).

        Raises
        ------
        AccessError, LayoutError, CorruptionError
        """
        options: _Options = dict(_PLAIN, owner=_owner(owner), role=role)
        with opened.opening():
            return cls._wrap(_shm.segment_from_file(file, options), options)

    def _note(self, structure: Structure | RingReader) -> None:
        """Remember a structure or reader, to be closed with the segment."""
        self._structures.add(structure)

    # --- structures ---------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Structure:
        """Open the structure of this name, whatever kind it is.

        Raises
        ------
        NotFoundError
            There is none.
        """
        return structures.open_any(self, name)

    def __contains__(self, name: object) -> bool:
        return any(entry.name == name for entry in self.entries())

    def __iter__(self) -> Iterator[str]:
        return iter([entry.name for entry in self.entries()])

    def __len__(self) -> int:
        return len(self.entries())

    def __bool__(self) -> bool:
        return True

    def entries(self) -> list[Entry]:
        """See every structure in it."""
        return [Entry(*row) for row in self._core.entries()]

    def erase(self, name: str) -> None:
        """Take a structure away: the name at once, its bytes when nobody has it open any more."""
        self._core.erase(name)

    # --- who and what -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name; empty without one."""
        return self.info().name

    @property
    def size(self) -> int:
        """Of the segment [bytes]."""
        return self.info().size

    @property
    def file(self) -> int:
        """File descriptor, owned by the segment."""
        return self._core.file

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._core.closed

    def info(self) -> Info:
        """See the segment as a whole."""
        return Info(**self._core.info())

    def participants(self) -> list[Participant]:
        """See who has it open."""
        return [Participant(*row) for row in self._core.participants()]

    def figures(self, name: str) -> Figures:
        """See how full a structure is and what went through it."""
        return Figures(*self._core.figures(name))

    def view(self, name: str) -> list[Item]:
        """See every piece of a structure without owning any: slots, objects, records, readers.

        Nothing of it is changed and nobody waits for it; what a killed process left is shown as it
        was left.

        Returns
        -------
        list of Item
            Each was true when it was read.

        Raises
        ------
        NotFoundError
            There is no such structure, or it was erased meanwhile.
        CorruptionError
            Its header cannot be; `check` says more.
        """
        return self._view(name, sys.maxsize, True)[0]

    def _view(self, name: str, limit: int, free: bool) -> tuple[list[Item], dict[str, int]]:
        """Keep up to `limit` items, what somebody has before the rest; count all, by state."""
        rows, states = self._core.view(name, limit, free)
        return [Item(*row) for row in rows], states

    # --- health -------------------------------------------------------------------------------

    def sweep(self) -> int:
        """Give back what killed processes held; happens by itself where somebody waits for it.

        Returns
        -------
        int
            Processes that were recovered.
        """
        return self._core.sweep()

    def check(self, name: str = "") -> list[Fault]:
        """Verify the table and every structure, or one; empty if all is well."""
        return [Fault(*row) for row in self._core.faults(name)]

    def repair(self, name: str = "") -> int:
        """Put right what can be; returns how many things were."""
        return self._core.repair(name)

    # --- copies -------------------------------------------------------------------------------

    def dump(self, file: int, *, while_live: bool = False) -> dict[str, Any]:
        """Write all of it to an open file, for `load`.

        Parameters
        ----------
        file : int
            Descriptor, written from where it stands.
        while_live : bool
            Although others live in it: what they change meanwhile may be copied half.

        Returns
        -------
        dict
            What the dump says of itself: sizes [bytes], times [ns], how many others lived.

        Raises
        ------
        BusyError
            Others live in it.
        """
        return self._core.dump(file, while_live)

    @classmethod
    def load(
        cls,
        file: int,
        name: str | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        access: int = 0o600,
        group: int | None = None,
        persist: bool = False,
        presence: Literal["member", "guest"] = "member",
    ) -> tuple[Self, dict[str, Any]]:
        """Make a segment from what `dump` wrote.

        Parameters
        ----------
        file : int
            Descriptor, read from where it stands.
        name, path : str or path-like, optional
            Of the new segment; the dumped one's name if neither is given.
        access, group : int
            File mode and group id of the new segment.
        persist : bool
            Stays when the last one leaves.
        presence : {'member', 'guest'}
            As what this process takes part.

        Returns
        -------
        tuple of Segment and dict
            And what the dump says of itself.

        Raises
        ------
        LayoutError, CorruptionError, ExistsError
        """
        options: _Options = dict(
            _PLAIN,
            path=_path(path),
            access=access,
            group=-1 if group is None else group,
            persist=int(persist),
            presence=_choice("presence", presence, _PRESENCE),
        )
        with opened.opening():
            core, about = _shm.segment_load(name and _text(name), file, options)
            return cls._wrap(core, options), about

    # --- size and end -------------------------------------------------------------------------

    def grow(self, size: int | str) -> None:
        """Add memory at the end, up to `size_max`; arrays stay where they are."""
        self._core.grow(parse_size(size, "size"))

    def persist(self, structure: Structure | None = None) -> None:
        """Return when what was written before is on the medium (a segment made with `path`).

        Parameters
        ----------
        structure : Structure, optional
            Only the bytes of this one. (It is in the table on the medium since it was made.)

        Raises
        ------
        UnsupportedError, InvalidArgumentError, NotFoundError
            There is no medium; the structure is of another segment; it was erased.
        """
        if structure is None:
            self._core.persist()
            return
        if structure.segment is not self:
            raise InvalidArgumentError(f"{structure!r} lies in another segment than {self!r}")
        for entry in self.entries():
            if entry.name == structure.name:
                self._core.persist_span(entry.offset, entry.size)
                return
        raise NotFoundError(f"{structure!r} was erased: persist the whole segment")

    def close(self) -> None:
        """Leave. The last one that leaves removes the segment, unless it persists.

        It ends for all of this process: whoever opened it here has this object.

        Raises
        ------
        BusyError
            Arrays or views on its memory are alive; nothing is closed then.
        """
        made = list(self._structures)
        lent = [one.name for one in made if isinstance(one, Handle) and one.borrows]
        if lent:
            raise BusyError(f"arrays or views of {', '.join(sorted(lent))} are alive: delete them")
        # Readers first: a ring with readers cannot be closed.
        for structure in sorted(made, key=lambda one: isinstance(one, Structure)):
            structure.close()
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        # The error on its way must not be hidden; the segment goes with its last array.
        with contextlib.suppress(BufferError):
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a handle: the receiver opens the same segment, or gets the one it has."""
        info = self.info()
        if info.name or self._options["path"]:
            return _reopen, (
                info.name,
                self._options["path"],
                opened.identity_of(self._core),
                self._options["owner"],
                self._options["presence"],
            )
        from multiprocessing import reduction

        return _reopen_file, (reduction.DupFd(self.file), opened.identity_of(self._core))

    def __repr__(self) -> str:
        if self.closed:
            return "<holdfast.shm.Segment, closed>"
        info = self.info()
        return (
            f"<holdfast.shm.Segment {info.name!r}: {info.entries} structures, "
            f"{info.bytes_used} of {info.size} bytes used, {info.participants_live} participants>"
        )


_PLAIN: _Options = {
    "size": 0,
    "size_max": 0,
    "access": 0o600,
    "group": -1,
    "owner": -1,
    "participants": 64,
    "entries": 0,
    "name_size": 64,
    "format_size": 192,
    "stale": 0,
    "persist": 0,
    "huge_pages": 0,
    "prefault": 0,
    "node": -1,
    "path": "",
    "role": "",
    "presence": 0,
    "timeout": 10.0,
}


def _reopen(name: str, path: str, identity: str, owner: int, presence: int) -> Segment:
    with opened.opening():
        there = opened.segments.get(identity) if presence == _PRESENCE["member"] else None
        if there is not None and not there.closed:
            return there
        options = dict(_PLAIN, path=path, owner=owner, presence=presence)
        core = _shm.segment_open(name, mode_number("open"), options)
        if core.info()["id"] != identity.partition("-")[0]:
            core.close()
            raise StaleError(f"segment {name or path} is another one by now than this handle's")
        return Segment._wrap(core, options)


def _reopen_file(duplicate: Any, identity: str) -> Segment:
    file = duplicate.detach()
    try:
        with opened.opening():
            there = opened.segments.get(identity)
            if there is not None and not there.closed:
                return there
            return Segment.from_file(file)
    finally:
        os.close(file)
