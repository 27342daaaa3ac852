"""Checks that every test a manual page names as proof exists.

Run from anywhere; prints one line per offence, `file:line: what`, and exits 1 if there is any. A
name is `tests/FILE`, `tests/FILE::NAME`, or LABEL/NAME of a CTest entry (`fault/bitflip-checked`).
Talks to   docs/, tests/.   Called by `make lint`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("docs/threat-model.md", "docs/failure-modes.md")
QUOTED = re.compile(r"`([^`\s]+)`")
FILE = re.compile(r"^tests/[\w./-]+\.(?:py|c|cpp|sh)(?:::(\w+))?$")
ENTRY = re.compile(r"^(c|cpp|conformance|property|fault|stress|fuzz)/([\w-]+)$")
# A table row of threats that names no test shows nothing.
ROW = re.compile(r"^\| \d+ \|")


def defined(path: Path, name: str) -> bool:
    """True if the file defines a test of this name, not only mentions it."""
    text = path.read_text(encoding="utf-8")
    forms = (rf"def {name}\(", rf"TEST\({name}\)", rf"void {name}\(")
    return any(re.search(form, text) for form in forms)


def entry_exists(label: str, name: str) -> bool:
    """True if the program of a CTest entry stands where its label says, whatever the profile."""
    program = name.split("-")[0]
    places = [
        f"tests/{label}/{prefix}{program}{suffix}"
        for prefix in ("", "test_", f"{label}_")
        for suffix in (".c", ".cpp")
    ]
    return any((ROOT / place).is_file() for place in places)


def check_name(name: str) -> str | None:
    """What is wrong with a quoted name; None if nothing is, or it names no test."""
    if match := FILE.match(name):
        path = ROOT / name.split("::")[0]
        if not path.is_file():
            return f"there is no {name.split('::')[0]}"
        if match[1] and not defined(path, match[1]):
            return f"{path.relative_to(ROOT)} defines no {match[1]}"
    elif match := ENTRY.match(name):
        if not entry_exists(match[1], match[2]):
            return f"there is no CTest entry {name}"
    elif name.startswith("tests/"):
        return f"{name} is not written as tests/FILE or tests/FILE::NAME"
    return None


def main() -> int:
    """Print what is wrong; 0 if nothing is."""
    offences, names = [], 0
    for page in PAGES:
        for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
            found = [
                name
                for name in QUOTED.findall(line)
                if FILE.match(name) or "tests/" in name or ENTRY.match(name)
            ]
            names += len(found)
            if ROW.match(line) and not found:
                offences.append(f"{page}:{number}: a threat without a test")
            offences += [
                f"{page}:{number}: {wrong}" for name in found if (wrong := check_name(name))
            ]
    for offence in offences:
        print(offence)
    print(f"named tests: {names} in {len(PAGES)} pages, {len(offences)} missing")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
