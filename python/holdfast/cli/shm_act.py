"""shm_act.py - what is done to segments: check, repair, rm, gc, dump, load; each gives a document.

Contract    who changes something comes as a guest: a segment in which nobody lives is left there.
            A document says what was done and what was found; `wrong` in it is exit status 1.
Talks to    holdfast.shm, shm_look.py.   Called by shm.py; shown by ui/shm.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from holdfast import _shm, shm
from holdfast.cli.errors import UsageError
from holdfast.cli.shm_look import SCHEMA_VERSION, open_target
from holdfast.errors import CorruptionError, HoldfastError

if TYPE_CHECKING:
    from holdfast.shm import Segment

__all__ = ["check", "collect", "dump", "load", "remove", "repair"]

Document = dict[str, Any]


def _document(what: str, **more: Any) -> Document:
    return {"schema": f"holdfast.shm.{what}", "schema_version": SCHEMA_VERSION, **more}


def _faults(found: Sequence[shm.Fault]) -> list[dict[str, str]]:
    return [{"structure": fault.structure, "fault": fault.sentence} for fault in found]


@contextlib.contextmanager
def _opened(target: str, presence: Any, any_owner: bool) -> Iterator[Segment]:
    segment = open_target(target, presence, any_owner=any_owner)
    try:
        yield segment
    finally:
        segment.close()


# --- health --------------------------------------------------------------------------------------


def check(target: str, structure: str, *, any_owner: bool) -> Document:
    """Verify a segment, or one structure of it; nothing is changed."""
    try:
        with _opened(target, "watcher", any_owner) as segment:
            info = segment.info()
            names = [entry.name for entry in segment.entries()]
            found = _faults(segment.check(structure))
            dead = info.participants_dead
    except CorruptionError as error:  # so far gone that it cannot be opened
        names, dead = [], 0
        found = [{"structure": "", "fault": str(error)}]
    return _document(
        "check",
        name=target,
        structures=[structure] if structure else names,
        faults=found,
        participants_dead=dead,
        wrong=bool(found),
    )


def repair(target: str, structure: str, *, any_owner: bool) -> Document:
    """Put right what can be."""
    with _opened(target, "watcher", any_owner) as segment:
        dead = segment.info().participants_dead
        before = _faults(segment.check(structure))
    with _opened(target, "guest", any_owner) as segment:
        recovered = segment.sweep()
        repaired = segment.repair(structure)
        after = _faults(segment.check(structure))
    return _document(
        "repair",
        name=target,
        repaired=repaired,
        participants_recovered=max(dead, recovered),
        faults_before=before,
        faults=after,
        wrong=bool(after),
    )


# --- the end of segments -------------------------------------------------------------------------


def remove(targets: Sequence[str], *, force: bool, any_owner: bool) -> Document:
    """Take names away; nothing is taken if one of them must not be."""
    sizes: dict[str, int] = {}
    for target in targets:
        try:
            with _opened(target, "watcher", any_owner) as segment:
                info = segment.info()
                sizes[target] = info.size
                if info.participants_live and not force:
                    pids = ", ".join(str(p.pid) for p in segment.participants() if p.life == "live")
                    raise UsageError(
                        f"segment {target} is in use (by process {pids}), which would go on with "
                        "memory that nobody else can open: end it first, or say --force"
                    )
        except (shm.LayoutError, CorruptionError) as error:
            sizes[target] = 0
            if not force:
                raise UsageError(f"{error}; --force removes it without looking") from None
    for target in sizes:
        if "/" in target:
            os.unlink(target)
        else:
            shm.remove(target)
    rows = [{"name": target, "size": size} for target, size in sizes.items()]
    return _document("rm", removed=rows, wrong=False)


def collect(targets: Sequence[str], *, dry_run: bool, any_owner: bool) -> Document:
    """Remove what only dead processes hold, and give back what they held of the rest."""
    removed: list[Document] = []
    recovered: list[Document] = []
    skipped: list[Document] = []
    for target in targets or sorted(name for name, _ in shm.names()):
        try:
            _collect_one(target, dry_run, any_owner, removed, recovered)
        except shm.NotFoundError:
            if targets:
                raise
        except (HoldfastError, OSError) as error:
            if targets:
                raise
            skipped.append({"name": target, "reason": str(error)})
    return _document(
        "gc", dry_run=dry_run, removed=removed, recovered=recovered, skipped=skipped, wrong=False
    )


def _collect_one(
    target: str, dry_run: bool, any_owner: bool, removed: list[Document], recovered: list[Document]
) -> None:
    with _opened(target, "watcher", any_owner) as segment:
        info = segment.info()
    lonely = info.participants_live == 0 and not info.persist
    if lonely and (dry_run or shm.collect([target])):
        removed.append({"name": target, "size": info.size})
    elif info.participants_dead:
        if not dry_run:
            with _opened(target, "guest", any_owner) as segment:
                segment.sweep()
        recovered.append({"name": target, "participants": info.participants_dead})


# --- copies --------------------------------------------------------------------------------------


def dump(target: str, path: str, *, force: bool, any_owner: bool) -> Document:
    """Write a whole segment to a file, which appears when it is complete."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"{path} is no regular file, and a dump would take its place")
    path = os.path.realpath(path)  # of a link, what it leads to
    draft = f"{path}.part-{os.getpid()}"
    with _opened(target, "guest", any_owner) as segment:
        users = {entry.name: entry.users for entry in segment.entries()}
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            about = segment.dump(file, while_live=force)
            os.fsync(file)
            os.replace(draft, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            if isinstance(error, BufferError) and not force:
                raise UsageError(
                    f"{error}; --force copies it nevertheless, perhaps half old and half new"
                ) from None
            raise
        finally:
            os.close(file)
    torn = [name for name, count in users.items() if count] if about["live"] else []
    return _document(
        "dump", file=path, **about, consistent=not about["live"], in_use=torn, wrong=False
    )


def load(
    path: str, name: str | None, file_path: str | None, *, force: bool, temporary: bool, access: int
) -> Document:
    """Make a segment of what was dumped; what was copied while it was used is repaired."""
    if file_path and "/" not in file_path:
        file_path = f"./{file_path}"  # as every other command wants it
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        segment, about = _loaded(file, name, file_path, force, temporary, access)
    finally:
        os.close(file)
    try:
        repaired = segment.repair() if about["live"] else 0
        faults = _faults(segment.check())
        made = file_path or segment.name
    finally:
        segment.close()
    about["name_dumped"] = about.pop("name")
    return _document(
        "load",
        file=path,
        name=made,
        **about,
        consistent=not about["live"],
        repaired=repaired,
        faults=faults,
        temporary=temporary,
        wrong=bool(faults),
    )


def _loaded(
    file: int, name: str | None, path: str | None, force: bool, temporary: bool, access: int
) -> tuple[Segment, Document]:
    def once() -> tuple[Segment, Document]:
        os.lseek(file, 0, os.SEEK_SET)
        return shm.Segment.load(
            file, name, path=path, access=access, persist=not temporary, presence="guest"
        )

    try:
        return once()
    except shm.ExistsError as error:
        if not force:
            raise UsageError(f"{error}; --force removes it") from None
    # Only now that the dump is known to be whole.
    os.lseek(file, 0, os.SEEK_SET)
    taken = path or name or _shm.segment_dump_look(file)["name"]
    remove([taken], force=True, any_owner=True)
    return once()
