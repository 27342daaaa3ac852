"""shm.py - `holdfast shm`: what is in shared memory, what is wrong with it, what can go.

    ls · inspect · check · repair · rm · gc · dump · load      each a document, shown or as --json

Contract    exit status 0: fine; 1: something is wrong with a segment; 2: it cannot be done, and a
            sentence says why and what to do.
Talks to    shm_look.py, shm_act.py (documents), ui/shm.py (shown).   Called by main.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

from holdfast.cli.errors import UsageError

__all__ = ["main"]

SUMMARY = """\
usage: holdfast shm <command> [...]

  ls [NAME...]             segments of this machine: size, who lives in them
  inspect NAME [STRUCTURE] participants, structures, how full they are; or what
                           is in one of them, piece by piece;
                           --watch[=SECONDS] looks again, with rates
  check NAME [STRUCTURE]   verifies everything; changes nothing
  repair NAME [STRUCTURE]  puts right what can be
  rm NAME...               takes segments away; --force: although they are used
  gc [NAME...]             gives back what only dead processes hold; --dry-run
  dump NAME FILE           writes a whole segment to a file; --force: although
                           it is used
  load FILE [--name NAME]  makes a segment of it again

NAME with a / in it is the file of a persistent segment. Every command knows
--json, --any-owner (trust segments of other users) and --help.
Exit status: 0 fine, 1 something is wrong with a segment, 2 it cannot be done.
"""

Document = dict[str, Any]


class Parser(argparse.ArgumentParser):
    """argparse, whose refusals are sentences of ours."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise UsageError(
            f"{self.prog.removeprefix('holdfast ')}: {message}; try {self.prog} --help"
        )


def main(words: list[str]) -> int:
    """`holdfast shm words...`; returns the exit status."""
    if not words or words[0] in ("--help", "-h", "help"):
        print(SUMMARY, end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(words[0], COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else "try holdfast shm --help"
        raise UsageError(f"unknown command shm {words[0]}; {hint}")
    asked = _parse(words)
    from holdfast.errors import HoldfastError

    try:
        return COMMANDS[words[0]](asked)
    except HoldfastError as error:
        raise UsageError(_printable(str(error))) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"{_printable(error.filename)}: " if error.filename else ""
        raise UsageError(f"{what}{(error.strerror or str(error)).lower()}") from None


def _printable(sentence: str) -> str:
    from holdfast.ui import units

    return units.printable(sentence)


def _parse(words: list[str]) -> argparse.Namespace:
    name = words[0]
    parser = Parser(prog=f"holdfast shm {name}", allow_abbrev=False, description=HELP[name])
    add = parser.add_argument
    if name in ("ls", "gc"):
        add("names", metavar="NAME", nargs="*", help="these only")
    elif name == "rm":
        add("names", metavar="NAME", nargs="+", help="segment, or its file")
    elif name != "load":
        add("name", metavar="NAME", help="segment, or its file if there is a / in it")
    if name in ("inspect", "check", "repair"):
        add("structure", metavar="STRUCTURE", nargs="?", default="", help=STRUCTURE[name])
    if name in ("dump", "load"):
        add("file", metavar="FILE", help="the dump")
    if name == "inspect":
        watch = "look again every second, or so often: --watch=0.2"
        add("--watch", metavar="SECONDS", type=_seconds, help=watch)
        add("--times", metavar="N", type=_times, help="with --watch: look N times")
        add("--limit", metavar="N", type=_count, default=40, help="items of STRUCTURE, 40; 0: all")
        add("--free", action="store_true", help="of STRUCTURE, what is free, too")
    if name == "gc":
        add("--dry-run", action="store_true", help="say what would be done")
    if name in ("rm", "dump", "load"):
        add("--force", action="store_true", help=FORCE[name])
    if name == "load":
        to = parser.add_mutually_exclusive_group()
        to.add_argument("--name", help="of the new segment; the dumped one's if not given")
        to.add_argument("--path", help="its file, for a segment that persists on one")
        add("--mode", type=_mode, default=0o600, help="file mode of the new segment, 600")
        add("--temporary", action="store_true", help="its last user removes it")
    else:
        add("--any-owner", action="store_true", help="trust the segment's owner, whoever it is")
    add("--json", action="store_true", help="a JSON document on stdout")
    # A word of its own behind --watch is the name.
    rest = ["--watch=1" if word == "--watch" else word for word in words[1:]]
    return parser.parse_args(rest)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.01 <= float(text) <= 86400:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 86400")


def _times(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no number of 1 or more")


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) >= 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no number of 0 or more")


def _mode(text: str) -> int:
    with contextlib.suppress(ValueError):
        value = int(text, 8)
        if value & ~0o777 == 0 and value & 0o600 == 0o600:
            return value
    raise argparse.ArgumentTypeError(f"{text} is no mode in which the owner reads and writes")


def _say(document: Document, as_json: bool, file: TextIO | None = None) -> int:
    out = file or sys.stdout
    if as_json:
        json.dump(document, out)
        out.write("\n")
        out.flush()
    else:
        from holdfast.ui import shm

        shm.show(document, out)
    return 1 if document.get("wrong") else 0


# --- commands ------------------------------------------------------------------------------------


def _ls(asked: argparse.Namespace) -> int:
    from holdfast.cli import shm_look

    return _say(shm_look.listing(asked.names, any_owner=asked.any_owner), asked.json)


def _inspect(asked: argparse.Namespace) -> int:
    from holdfast.cli import shm_look

    segment = shm_look.open_target(asked.name, "watcher", any_owner=asked.any_owner)
    with segment:
        if asked.watch is None:
            return _say(_look(asked, segment), asked.json)
        with contextlib.suppress(KeyboardInterrupt):  # its end as any other, whatever it is at
            looks = _looks(asked, segment)
            if not asked.json and sys.stdout.isatty():
                _live(looks)
            else:
                for found in looks:
                    _say(found, asked.json)
    return 0


def _look(asked: argparse.Namespace, segment: Any) -> Document:
    from holdfast.cli import shm_look

    if not asked.structure:
        return shm_look.inspection(asked.name, segment)
    return shm_look.contents(
        asked.name, segment, asked.structure, limit=asked.limit, free=asked.free
    )


def _looks(asked: argparse.Namespace, segment: Any) -> Iterator[Document]:
    """One document after the other, until the segment is gone or the times are over."""
    from holdfast.cli import shm_look

    before: Document | None = None
    number = 0
    while True:
        found = _look(asked, segment)
        if before is not None:
            shm_look.rates(before, found)
        yield found
        before = found
        number += 1
        if found["segment"]["gone"] or number == asked.times:
            return
        time.sleep(asked.watch)


def _live(looks: Iterator[Document]) -> None:
    from holdfast.ui import shm

    try:
        from rich.console import Console
        from rich.live import Live

        from holdfast.ui import terminal
    except ImportError:  # rich is not installed: one text below the other
        for found in looks:
            shm.show(found, sys.stdout)
        return
    console = Console(file=sys.stdout)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for found in looks:
            width = max(40, console.width)
            live.update(terminal.renderable(shm.sections(found), width), refresh=True)


def _check(asked: argparse.Namespace) -> int:
    from holdfast.cli import shm_act

    found = shm_act.check(asked.name, asked.structure, any_owner=asked.any_owner)
    return _say(found, asked.json)


def _repair(asked: argparse.Namespace) -> int:
    from holdfast.cli import shm_act

    found = shm_act.repair(asked.name, asked.structure, any_owner=asked.any_owner)
    return _say(found, asked.json)


def _rm(asked: argparse.Namespace) -> int:
    from holdfast.cli import shm_act

    found = shm_act.remove(asked.names, force=asked.force, any_owner=asked.any_owner)
    return _say(found, asked.json)


def _gc(asked: argparse.Namespace) -> int:
    from holdfast.cli import shm_act

    found = shm_act.collect(asked.names, dry_run=asked.dry_run, any_owner=asked.any_owner)
    return _say(found, asked.json)


def _dump(asked: argparse.Namespace) -> int:
    from holdfast.cli import shm_act

    found = shm_act.dump(asked.name, asked.file, force=asked.force, any_owner=asked.any_owner)
    return _say(found, asked.json)


def _load(asked: argparse.Namespace) -> int:
    from holdfast.cli import shm_act

    found = shm_act.load(
        asked.file,
        asked.name,
        asked.path,
        force=asked.force,
        temporary=asked.temporary,
        access=asked.mode,
    )
    return _say(found, asked.json)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "ls": _ls,
    "inspect": _inspect,
    "check": _check,
    "repair": _repair,
    "rm": _rm,
    "gc": _gc,
    "dump": _dump,
    "load": _load,
}
HELP = {
    "ls": "Segments of this machine, also those that cannot be opened, with the reason.",
    "inspect": "One segment: its participants, its structures, how full they are; or what is in "
    "one of them.",
    "check": "Verifies table and structures. Nothing is changed; it may be in use.",
    "repair": "Recovers killed participants, rebuilds what can be, drops what cannot.",
    "rm": "Takes segments away: all of them, or none.",
    "gc": "Removes segments in which nobody lives, gives back what killed participants held.",
    "dump": "Writes a whole segment to a file, which appears when it is complete.",
    "load": "Makes a segment of a dump. It stays until it is removed.",
}
STRUCTURE = {
    "inspect": "what is in this one: slots, objects, records, readers, and who has them",
    "check": "this one only",
    "repair": "this one only",
}
FORCE = {
    "rm": "although processes use it; they go on",
    "dump": "although processes use it; what they change meanwhile may be half copied",
    "load": "instead of the segment of that name, if there is one",
}
