"""run.py - `holdfast run`: one program on the heap, from its command line to its report.

    parse -> resolve target -> environment -> launch and wait -> collect -> JSON, report -> same end

Invariants  nothing is written to stdout; the program's stdin, arguments and working directory are
            untouched; rich and json are imported after the program has ended.
Talks to    settings, target, launch, collect, ui.   Called by main.py.
Fails with  UsageError before the program starts; afterwards only the report can fail.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from holdfast.cli import launch, settings, target
from holdfast.cli.errors import CANNOT_EXECUTE, NOT_FOUND, UsageError, complain

__all__ = ["environment", "library_path", "main"]

LIBRARY = "libholdfast_malloc.so"


def main(argv: list[str]) -> int:
    """Run what `argv`, the words behind "run", asks for; returns the exit status.

    Does not return when the program was killed by a signal: the same signal ends this process.
    """
    request = settings.parse(argv)
    if request.help:
        print(settings.help_text())
        return 0
    library = library_path()
    what = target.resolve(request.kind, request.words, library)
    settings.check(request.options)
    _check_json_file(request.json_file)
    directory = _make_directory()
    try:
        variables = environment(os.environ, request, library, directory)
        try:
            ending = launch.run(what.executable, what.argv, variables)
        except OSError as error:
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
            reason = (error.strerror or str(error)).lower()
            raise UsageError(f"{what.argv[0]} cannot be executed: {reason}", status) from None
        _tell(request, what, ending, directory)
    finally:
        _remove(directory)
    if ending.signal is not None:
        launch.die_of(ending.signal)
        return 128 + ending.signal  # the signal is one this process cannot die of
    return ending.code or 0


def library_path() -> str:
    """Find the library to preload: the package's, or HOLDFAST_LIBRARY where that is set.

    Raises
    ------
    UsageError
        It is missing, or the loader could not find it by such a name.
    """
    named = os.environ.get("HOLDFAST_LIBRARY")
    if named:
        candidates = [os.path.abspath(named)]
    else:
        import holdfast

        folders = [*holdfast.__path__]
        core = getattr(sys.modules.get("holdfast._core"), "__file__", None)
        if core:  # an editable installation keeps what was built apart from the sources
            folders.append(os.path.dirname(core))
        candidates = [os.path.join(folder, "lib", LIBRARY) for folder in folders]
    for path in candidates:
        if os.path.isfile(path):
            if set(path) & set(" :\n"):
                raise UsageError(
                    f"the loader cannot preload {path}: its name has a space or colon in it; "
                    "install holdfast elsewhere"
                )
            return path
    raise UsageError(f"{candidates[0]} is missing; install holdfast again")


def environment(
    inherited: Mapping[str, str], request: settings.Request, library: str, directory: str
) -> dict[str, str]:
    """Make the program's environment: what was there, the library in front, the options.

    Raises
    ------
    UsageError
        Another library in LD_PRELOAD replaces malloc too.
    """
    variables = dict(inherited)
    preloads = inherited.get("LD_PRELOAD", "").replace(":", " ").split()
    others = [path for path in preloads if os.path.basename(path) != LIBRARY]
    target.check_preloads(others)
    variables["LD_PRELOAD"] = ":".join([library, *others])
    variables["HOLDFAST_REPORT_DIR"] = directory
    for name in ("HOLDFAST_QUIET", "HOLDFAST_NO_CHILDREN"):
        variables.pop(name, None)
    for name, value in request.options.items():
        variables[f"HOLDFAST_{name.upper()}"] = value
    if variables.get("HOLDFAST_SITES") == "all":
        # What lies in pymalloc's pools is no block of ours, and remembers nothing.
        variables.setdefault("HOLDFAST_PYTHON_ALLOCATOR", "heap")
    if request.quiet > 1:
        variables["HOLDFAST_QUIET"] = "1"
    if not request.children:
        variables["HOLDFAST_NO_CHILDREN"] = "1"
    return variables


def _tell(
    request: settings.Request, what: target.Target, ending: launch.Ending, directory: str
) -> None:
    """Write what was asked for. The program has ended: nothing here may change its outcome."""
    speak = not request.quiet and sys.stderr is not None  # None: it was closed by the caller
    if not speak and not request.json_file:
        return
    from holdfast.cli import collect

    try:
        found = collect.document(
            directory, ending, what.argv, what.name, request.options, _version()
        )
        if request.json_file:
            _write_json(request.json_file, found)
        if speak:
            from holdfast import ui

            ui.show(found, sys.stderr)
    except Exception as error:
        complain(f"the report could not be written: {error}")


def _write_json(path: str, found: dict[str, Any]) -> None:
    import json

    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=2)
        file.write("\n")


def _check_json_file(path: str) -> None:
    if not path:
        return
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise UsageError(f"--json {path} is a directory")
    if not os.path.isdir(folder):
        raise UsageError(f"--json {path}: there is no directory {folder}")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise UsageError(f"--json {path} cannot be written")


def _make_directory() -> str:
    base = os.environ.get("TMPDIR") or "/tmp"
    path = os.path.join(os.path.abspath(base), f"holdfast-{os.getpid()}-{os.urandom(6).hex()}")
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"no directory for reports could be made in {base}: {reason}") from None
    return path


def _remove(directory: str) -> None:
    try:
        for entry in os.scandir(directory):
            os.unlink(entry.path)
        os.rmdir(directory)
    except OSError:
        pass  # a process that outlives the program is writing there: /tmp keeps it


def _version() -> str:
    import holdfast

    return str(getattr(holdfast, "__version__", ""))
