"""Checks the ladder: every #include against layers.toml.

Run from anywhere; prints one line per offence, `file:line: what, why`, and exits 1 if there is any.
Talks to   layers.toml.   Called by `make lint`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
PUBLIC = ("holdfast/*.h", "holdfast/*.def")
SUFFIXES = {".c", ".h", ".cpp", ".hpp", ".def"}


def includes(path: Path) -> list[tuple[int, str, str]]:
    """Line number, bracket and name of every include of a file."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if match := INCLUDE.match(line):
            found.append((number, match[1], match[2]))
    return found


def resolve(path: Path, name: str, top: str) -> str:
    """Name of an include from its project root: `slab.h` in src/blocks is blocks/slab.h."""
    beside = path.parent / name
    if beside.is_file():
        return beside.resolve().relative_to((ROOT / top).resolve()).as_posix()
    return name


def check_src(path: Path, rules: dict[str, Any]) -> list[str]:
    """Offences of one file below src/."""
    folder = path.relative_to(ROOT / "src").parts[0]
    shown = path.relative_to(ROOT).as_posix()
    ladder: dict[str, list[str]] = rules["src"]
    if folder not in ladder:
        return [f"{shown}:1: folder src/{folder} has no row in layers.toml"]
    offences = []
    for number, bracket, name in includes(path):
        if bracket == "<" and not name.startswith("holdfast/"):
            continue
        if any(fnmatch(name, pattern) for pattern in PUBLIC):
            continue
        target = resolve(path, name, "src")
        if target.endswith(".c"):
            offences.append(f"{shown}:{number}: a .c file is included: {name}")
            continue
        owner = target.split("/")[0]
        if owner == folder or owner in ladder[folder]:
            continue
        if any(
            fnmatch(shown, a["file"]) and a["include"] == target for a in rules.get("allow", [])
        ):
            continue
        offences.append(f"{shown}:{number}: src/{folder} may not include {target}")
    return offences


def check_door(path: Path, patterns: list[str]) -> list[str]:
    """Offences of one public header or binding."""
    shown = path.relative_to(ROOT).as_posix()
    top = shown.split("/")[0]
    offences = []
    for number, bracket, name in includes(path):
        target = name
        if bracket == '"':
            target = resolve(path, name, top)
            if top == "bindings":
                target = f"bindings/{target}"
        elif "/" not in name or name.split("/")[0] not in {"holdfast", "nanobind", *LADDER}:
            continue
        if not any(fnmatch(target, pattern) for pattern in patterns):
            offences.append(f"{shown}:{number}: may not include {name}")
    return offences


def stale_exceptions(rules: dict[str, Any]) -> list[str]:
    """Exceptions that nothing needs any more."""
    stale = []
    for allow in rules.get("allow", []):
        users = [
            path
            for path in ROOT.glob(allow["file"])
            if any(resolve(path, name, "src") == allow["include"] for _, _, name in includes(path))
        ]
        if not users:
            stale.append(f"layers.toml: exception {allow['file']} -> {allow['include']} is unused")
    return stale


RULES = tomllib.loads((ROOT / "layers.toml").read_text(encoding="utf-8"))
LADDER = set(RULES["src"])


def main() -> int:
    """Checks everything; returns the exit code."""
    offences = stale_exceptions(RULES)
    checked = 0
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix in SUFFIXES:
            checked += 1
            offences += check_src(path, RULES)
    for glob, patterns in RULES["doors"].items():
        for path in sorted(ROOT.glob(glob)):
            if path.suffix in SUFFIXES:
                checked += 1
                offences += check_door(path, patterns)
    for offence in offences:
        print(offence)
    print(f"layers: {checked} files, {len(offences)} offences")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
