"""main.py - the command `holdfast` and `python -m holdfast`: one word chooses what to do.

Contract    main() returns an exit status; a UsageError is one line on stderr.
Talks to    run.py and the other commands, each imported when it is asked for.
"""

from __future__ import annotations

import os
import sys

from holdfast.cli.errors import USAGE, UsageError, complain

__all__ = ["main"]

HELP = """\
usage: holdfast <command> [...]

  run [options] script.py | -m module | -- command    run a program on the heap
  report FILE      show again what `run --json FILE` wrote
  explain [KIND]   what a kind of corruption means, and what to do about it
  shm <command>    shared memory: ls, inspect, check, repair, rm, gc, dump, load
  options          every option, its choices and its default
  --version        the version

`holdfast run --help` says more about running programs, `holdfast shm --help`
about shared memory.
"""


def main(argv: list[str] | None = None) -> int:
    """Do what the words of the command line ask for; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(words)
    except UsageError as error:
        complain(str(error))
        return error.status
    except BrokenPipeError:  # `holdfast options | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130


def _dispatch(words: list[str]) -> int:
    command = words[0] if words else ""
    if command == "run":
        from holdfast.cli import run

        return run.main(words[1:])
    if command == "shm":
        from holdfast.cli import shm

        return shm.main(words[1:])
    if command in ("report", "explain", "options"):
        from holdfast.cli import show

        return {"report": show.report, "explain": show.explain, "options": show.options}[command](
            words[1:]
        )
    if command in ("--version", "-V"):
        import holdfast

        print(f"holdfast {getattr(holdfast, '__version__', 'unknown')}")
        return 0
    if command in ("--help", "-h", "help"):
        print(HELP, end="")
        return 0
    if not command:
        complain(f"a command is missing\n\n{HELP}")
        return USAGE
    raise UsageError(f"unknown command {command}; try holdfast --help")


if __name__ == "__main__":
    sys.exit(main())
