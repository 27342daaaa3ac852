"""target.py - what is to be run, and whether the loader would preload anything into it.

    script.py args -> python script.py args        -m module -> python -m module args
    -c code        -> python -c code args          -- command args -> looked up in PATH, as is

Contract    resolve() returns the argument vector and the file to execute, or raises UsageError with
            one sentence that says what is wrong and, where there is one, the way out.
Talks to    elf.py.   Called by run.py.
Source      execve(2), ld.so(8) "secure-execution mode".
"""

from __future__ import annotations

import os
import stat
import sys
from typing import NamedTuple

from holdfast.cli import elf
from holdfast.cli.errors import CANNOT_EXECUTE, NOT_FOUND, UsageError

__all__ = ["Target", "check_preloads", "resolve"]

SHEBANG_DEPTH = 4
ALLOCATORS = ("jemalloc", "mimalloc", "tcmalloc", "snmalloc", "rpmalloc", "hoard", "scudo",
              "hardened_malloc", "libasan", "libtsan", "liblsan", "libhwasan")  # fmt: skip


class Target(NamedTuple):
    """`executable` is run with `argv`; `name` is for the report."""

    executable: str
    argv: list[str]
    name: str


def resolve(kind: str, words: list[str], library: str) -> Target:
    """Turn the words behind the options into something that can be executed.

    Parameters
    ----------
    kind : {"script", "module", "code", "command"}
        How the words were introduced.
    words : list of str
        The script, module, code or command, and its arguments. Not empty.
    library : str
        The library that will be preloaded; its architecture is the one that must match.

    Raises
    ------
    UsageError
        The target is missing, or the loader would ignore the library.
    """
    if kind == "command":
        executable = _find(words[0])
        check_executable(executable, library)
        return Target(executable, words, os.path.basename(words[0]))
    python = sys.executable
    if not python:
        raise UsageError("this Python does not know where its own interpreter is; use -- python …")
    check_executable(python, library)
    if kind == "script":
        _check_script(words[0])
        return Target(python, [python, *words], os.path.basename(words[0]))
    flag, name = ("-m", f"-m {words[0]}") if kind == "module" else ("-c", "-c …")
    return Target(python, [python, flag, *words], name)


def _check_script(path: str) -> None:
    if os.path.isdir(path):
        if not os.path.exists(os.path.join(path, "__main__.py")):
            raise UsageError(f"{path} is a directory without a __main__.py")
        return
    if not os.path.exists(path):
        way_out = f"; to run the command, write: holdfast run -- {path}" if which(path) else ""
        raise UsageError(f"{path}: no such file{way_out}")
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {_reason(error)}") from None
    if head == b"\x7fELF":
        raise UsageError(f"{path} is a program, not a Python script; write: holdfast run -- {path}")


def which(name: str) -> str | None:
    """Find what a shell would run for `name`; shutil's drags in the compression modules."""
    for folder in os.get_exec_path():
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _find(name: str) -> str:
    if "/" in name:
        if not os.path.exists(name):
            raise UsageError(f"{name}: no such file", NOT_FOUND)
        if os.path.isdir(name):
            raise UsageError(f"{name} is a directory", CANNOT_EXECUTE)
        if not os.access(name, os.X_OK):
            raise UsageError(f"{name} is not executable", CANNOT_EXECUTE)
        return name
    found = which(name) if name else None
    if found is None:
        raise UsageError(f"{name}: command not found", NOT_FOUND)
    return found


def check_executable(path: str, library: str, depth: int = 0) -> None:
    """Refuse a file the loader would not preload `library` into.

    Raises
    ------
    UsageError
        Static, of another architecture, privileged, or a script whose interpreter is missing.
    """
    _check_privileges(path)
    try:
        program = elf.read(path)
        with open(path, "rb") as file:
            first = file.readline(4096)
    except OSError as error:  # executable but not readable: nothing can be said in advance
        if isinstance(error, PermissionError):
            return
        raise UsageError(f"{path} cannot be read: {_reason(error)}", CANNOT_EXECUTE) from None
    if program is not None:
        _check_elf(path, program, library)
    elif not first.startswith(b"#!"):
        raise UsageError(f"{path} is neither a program nor a script with a #! line", CANNOT_EXECUTE)
    elif depth < SHEBANG_DEPTH:
        check_executable(_interpreter(path, first), library, depth + 1)


def _interpreter(path: str, first: bytes) -> str:
    words = os.fsdecode(first[2:].strip()).split()
    if not words or not os.path.exists(words[0]):
        named = words[0] if words else "(none)"
        raise UsageError(
            f"{path} asks for the interpreter {named}, which does not exist", CANNOT_EXECUTE
        )
    if os.path.basename(words[0]) == "env":
        wanted = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        if wanted:
            found = which(wanted[0])
            if found is None:
                raise UsageError(
                    f"{path} asks env for {wanted[0]}, which is not in PATH", NOT_FOUND
                )
            return found
    return words[0]


def _check_elf(path: str, program: elf.Elf, library: str) -> None:
    ours = elf.read(library)
    if ours is not None and (program.bits, program.machine) != (ours.bits, ours.machine):
        raise UsageError(
            f"{path} is a {program.bits}-bit program for {elf.machine_name(program.machine)}; "
            f"holdfast is built for {elf.machine_name(ours.machine)}"
        )
    if not program.interpreter:
        raise UsageError(
            f"{path} is statically linked: no loader runs in it, so its malloc cannot be replaced"
        )
    if "ld-musl" in program.interpreter:
        raise UsageError(f"{path} is linked against musl; holdfast needs a program that uses glibc")


def _check_privileges(path: str) -> None:
    try:
        info = os.stat(path)
    except OSError:
        return
    gains = "the loader ignores preloaded libraries in programs that gain privileges"
    if info.st_mode & stat.S_ISUID and info.st_uid != os.getuid():
        raise UsageError(f"{path} is set-user-ID: {gains}")
    if info.st_mode & stat.S_ISGID and info.st_mode & stat.S_IXGRP and info.st_gid != os.getgid():
        raise UsageError(f"{path} is set-group-ID: {gains}")
    try:
        capable = os.getuid() != 0 and os.getxattr(path, "security.capability")
    except OSError:
        capable = b""
    if capable:
        raise UsageError(f"{path} has file capabilities: {gains}")


def check_preloads(preloads: list[str]) -> None:
    """Refuse to stand beside another library that replaces malloc.

    Raises
    ------
    UsageError
        LD_PRELOAD already holds one, recognised by its name or by the symbols it exports.
    """
    for preload in preloads:
        name = os.path.basename(preload)
        other = any(word in name for word in ALLOCATORS)
        if not other and os.path.isfile(preload):
            try:
                other = elf.exports(preload, "malloc")
            except OSError:
                other = False
        if other:
            raise UsageError(
                f"LD_PRELOAD already holds {preload}, which replaces malloc as well; "
                "take it out for this run"
            )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
