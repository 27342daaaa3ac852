"""settings.py - the command line of `holdfast run`, and the environment it stands for.

    --profile fast  -->  HOLDFAST_PROFILE=fast          one row of FLAGS per switch
    --option NAME=VALUE                                  any row of options.def

Contract    parse() reads switches up to the first word that is none; what follows belongs to the
            program and is never looked at. Values are checked by the core where it can be loaded.
Talks to    holdfast._core (lazily).   Called by run.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from holdfast.cli.errors import UsageError

__all__ = ["FLAGS", "Request", "check", "help_text", "parse"]


class Flag(NamedTuple):
    """A switch: its value's name ("" for none), the option it sets ("" for the front's own)."""

    name: str
    value: str
    option: str
    help: str


FLAGS = (
    Flag("--profile", "fast|checked|hardened|debug", "profile",
         "what is paid for defence [checked]"),
    Flag("--on-corruption", "report|abort|raise", "on_corruption",
         "after a report: go on, abort, or raise in Python [report]"),
    Flag("--limit", "SIZE", "limit",
         "hard limit on the heap's memory: 512M, 2G; beyond it allocations fail"),
    Flag("--sites", "off|sampled|all", "sites",
         "which blocks remember the line that allocated them [sampled]; all: "
         "each of Python's objects is one, unless --python-allocator says else"),
    Flag("--python-allocator", "arenas|heap|none", "python_allocator",
         "Python's objects: pymalloc on our arenas, each on the heap, neither [arenas]"),
    Flag("--reclaim", "background|serial|off", "reclaim",
         "who gives freed memory back to the system [background]"),
    Flag("--decay-ms", "MS", "decay_ms",
         "how long freed memory is kept before it goes back [500]"),
    Flag("--option", "NAME=VALUE", "",
         "any option; `holdfast options` lists them; may be repeated"),
    Flag("--json", "FILE", "", "write everything as JSON (docs/report-json.md)"),
    Flag("--quiet", "", "", "no report at the end; -qq: no lines about corruption either"),
    Flag("--no-children", "", "", "programs started by the program run on their usual heap"),
    Flag("--help", "", "", "this text"),
)  # fmt: skip

SHORT = {"-h": "--help", "-q": "--quiet"}
KINDS = {"-m": "module", "-c": "code", "--": "command"}

USAGE = """\
usage: holdfast run [options] script.py [args...]
       holdfast run [options] -m module [args...]
       holdfast run [options] -c code   [args...]
       holdfast run [options] -- command [args...]

Runs a program, unmodified, on the holdfast heap: signals, exit status, stdin,
stdout and working directory are the program's own. At its end a report on
stderr says what its memory did.
"""


class Request:
    """What the command line asked for."""

    def __init__(self) -> None:
        self.kind = ""
        self.words: list[str] = []
        self.options: dict[str, str] = {}
        self.json_file = ""
        self.quiet = 0
        self.children = True
        self.help = False


def parse(argv: list[str]) -> Request:
    """Read the words behind `holdfast run`.

    Raises
    ------
    UsageError
        A switch is unknown or lacks its value, or there is nothing to run.
    """
    request = Request()
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word in KINDS:
            request.kind, request.words = KINDS[word], argv[at:]
            break
        if not word.startswith("-") or word == "-":
            request.kind, request.words = "script", argv[at - 1 :]
            break
        name, equals, value = word.partition("=")
        name = SHORT.get(name, name)
        if word == "-qq":
            request.quiet = 2
            continue
        flag = _flag(name)
        if not flag.value and equals:
            raise UsageError(f"{name} takes no value")
        if flag.value and not equals:
            if at == len(argv):
                raise UsageError(f"{name} needs a value: {name} {flag.value}")
            value = argv[at]
            at += 1
        _apply(request, flag, value)
    if not request.words and not request.help:
        what = {"module": "a module behind -m", "code": "code behind -c"}
        raise UsageError(f"{what.get(request.kind, 'a program to run')} is missing; try --help")
    if request.kind == "script" and request.words[0] == "-":
        raise UsageError("a script from standard input is not supported; write: -- python -")
    return request


def _flag(name: str) -> Flag:
    for flag in FLAGS:
        if flag.name == name:
            return flag
    import difflib

    near = difflib.get_close_matches(name, [flag.name for flag in FLAGS], 1)
    raise UsageError(
        f"unknown option {name}" + (f"; did you mean {near[0]}?" if near else "; try --help")
    )


def _apply(request: Request, flag: Flag, value: str) -> None:
    if flag.option:
        request.options[flag.option] = value
    elif flag.name == "--option":
        name, equals, text = value.partition("=")
        name = name.strip().lower().replace("-", "_")
        if not equals or not name:
            raise UsageError(f"--option needs NAME=VALUE, not {value!r}")
        request.options[name] = text
    elif flag.name == "--json":
        if value in ("", "-"):
            raise UsageError("--json needs a file: standard output belongs to the program")
        request.json_file = value
    elif flag.name == "--quiet":
        request.quiet += 1
    elif flag.name == "--no-children":
        request.children = False
    else:
        request.help = True


def core() -> Any | None:
    """Load the native module; None where it cannot be loaded."""
    try:
        from holdfast import _core
    except ImportError:
        return None
    return _core


def check(options: dict[str, str]) -> None:
    """Let the core judge the options; without it the library judges them at its start.

    Raises
    ------
    UsageError
        A name or value the core does not know, or two that contradict each other.
    """
    module = core() if options else None
    if module is None:
        return
    judge = module.Options()
    try:
        for name, value in options.items():
            judge.set(name, value)
        judge.check()
    except ValueError as error:
        raise UsageError(str(error)) from None


def help_text() -> str:
    """Write usage and the table of switches, at most 80 columns wide."""
    import textwrap

    lines = [USAGE, "options:"]
    for flag in FLAGS:
        head = f"  {flag.name} {flag.value}".rstrip()
        short = next((s for s, long in SHORT.items() if long == flag.name), "")
        if short:
            head += f", {short}"
        body = textwrap.wrap(flag.help, 46)
        if len(head) > 30:
            lines.append(head)
            head = ""
        for text in body:
            lines.append(f"{head:<32}{text}")
            head = ""
    lines += [
        "",
        "Each option is also an environment variable: HOLDFAST_PROFILE=hardened.",
        "Exit status: the program's own; 2 for a wrong command line, 127 and 126 as in",
        "a shell. A program killed by a signal makes holdfast die of the same signal.",
    ]
    return "\n".join(lines)
