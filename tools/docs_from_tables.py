#!/usr/bin/env python3
"""Expands what the manual must not say twice: tables of include/holdfast/*.def, and examples.

    <!-- table: options -->  ...generated...  <!-- end table -->
    <!-- file: examples/c_heap/main.c -->  ...the file as a code block...  <!-- end file -->

Usage: docs_from_tables.py [--check]. With --check nothing is written. The exit code is 1 if a page
differs from its sources, a table is on no page, a report's anchor has no section, a link between
pages leads nowhere, or a test that a page names (`tests/a/b.c::name`) does not exist.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "include" / "holdfast"
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end table -->)", re.DOTALL)
FILE = re.compile(r"(<!-- file: (\S+) -->\n).*?(<!-- end file -->)", re.DOTALL)
TEST = re.compile(r"`(tests/[\w./-]+)(?:::(\w+))?`")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
LANGUAGES = {".c": "c", ".cpp": "cpp", ".py": "python", ".txt": "cmake", ".sh": "sh"}


def rows(table: str) -> Iterator[tuple[str, list[str]]]:
    """Every line `HF_KIND(a, b, "c")` of a .def file, as (KIND, [a, b, c])."""
    for line in (TABLES / f"{table}.def").read_text().splitlines():
        if match := re.fullmatch(r"HF_(\w+)\((.*)\)", line.strip()):
            yield match[1], next(csv.reader([match[2]], skipinitialspace=True))


def markdown(head: list[str], body: list[list[str]]) -> str:
    """A pipe table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *body]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def size_text(value: int) -> str:
    """A number of bytes as the option parser takes it."""
    for suffix, shift in (("G", 30), ("M", 20), ("K", 10)):
        if value and value % (1 << shift) == 0:
            return f"{value >> shift}{suffix}"
    return str(value)


def options() -> str:
    body = []
    for kind, cells in rows("options"):
        name, default = cells[0], cells[1]
        if kind == "OPTION_ENUM":
            choices = cells[2].split("|")
            default, values = choices[int(default)], ", ".join(f"`{c}`" for c in choices)
        elif kind == "OPTION_SIZE":
            default, values = size_text(int(default)), "bytes; K, M, G"
        else:
            values = f"{cells[2]} to {cells[3]}"
        body.append([f"`HOLDFAST_{name.upper()}`", f"`{default}`", values, cells[-1]])
    return markdown(["variable", "default", "values", "meaning"], body)


def stats() -> str:
    units = {"B": "bytes", "1": "count", "ns": "ns"}
    body = [[f"`{name}`", units[unit], text] for _, (name, unit, text) in rows("stats")]
    return markdown(["figure", "unit", "meaning"], body)


def reports() -> str:
    body = [
        [f"[{name}](failure-modes.md#{anchor})", f"`{python}`", text]
        for _, (name, python, anchor, text) in rows("report")
        if name != "NONE"
    ]
    return markdown(["kind", "Python exception", "meaning"], body)


CPP_CLASS = {  # include/holdfast/error.hpp, hf::raise
    "E_NO_MEMORY": "OutOfMemory",
    "E_LIMIT": "OutOfMemory",
    "E_INVALID": "InvalidArgument",
    "E_CLOSED": "InvalidArgument",
    "E_CONFLICT": "InvalidArgument",
    "E_UNSUPPORTED": "Unsupported",
    "E_BUSY": "Busy",
    "E_CORRUPT": "Corruption",
    "E_SYSTEM": "SystemFailure",
    "E_TIMEOUT": "Timeout",
    "E_CANCELLED": "Cancelled",
    "E_NOT_FOUND": "NotFound",
    "E_EXISTS": "Exists",
    "E_PERMISSION": "Permission",
    "E_NO_SPACE": "OutOfMemory",
    "E_LAYOUT": "Mismatch",
    "E_MISMATCH": "Mismatch",
    "E_OWNER_DIED": "OwnerDied",
    "E_FULL": "Full",
    "E_EMPTY": "Empty",
    "E_STALE": "Stale",
}


def statuses() -> str:
    body = []
    for _, (name, value, python, text) in rows("status"):
        cpp = f"`hf::{CPP_CLASS[name]}`" if name != "OK" else ""
        body.append([f"`HF_{name}`", value, cpp, f"`{python}`" if python else "", text])
    return markdown(["status", "value", "C++", "Python", "meaning"], body)


def pieces() -> str:
    body = [
        [f"`{cells[1]}`", *cells[2:]] for kind, cells in rows("shm_view") if kind == "SHM_PIECE"
    ]
    return markdown(["piece", "of", "number", "value"], body)


def states() -> str:
    body = [[f"`{cells[1]}`", cells[2]] for kind, cells in rows("shm_view") if kind == "SHM_STATE"]
    return markdown(["state", "meaning"], body)


EXPANDERS: dict[str, Callable[[], str]] = {
    "options": options,
    "stats": stats,
    "reports": reports,
    "statuses": statuses,
    "pieces": pieces,
    "states": states,
}


def slug(heading: str) -> str:
    """The anchor that both GitHub and MkDocs give a heading."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower()))


def anchors(page: Path) -> set[str]:
    return {slug(match[1]) for match in re.finditer(r"^#+ (.*)$", page.read_text(), re.MULTILINE)}


def wrong_anchors() -> list[str]:
    have = anchors(DOCS / "failure-modes.md")
    need = [cells[2] for _, cells in rows("report") if cells[0] != "NONE"]
    return [f"docs/failure-modes.md has no section #{one}" for one in need if one not in have]


def wrong_references(page: Path) -> list[str]:
    """Tests and pages that `page` names and that are not there."""
    wrong, text, name = [], page.read_text(), page.relative_to(ROOT)
    for path, test in TEST.findall(text):
        if not (ROOT / path).exists():
            wrong.append(f"{name} names {path}, which does not exist")
        elif test and not re.search(rf"\b{test}\b", (ROOT / path).read_text()):
            wrong.append(f"{name} names {path}::{test}, which is not in it")
    for path, anchor in LINK.findall(text):
        target = page.parent / path if path else page
        if not target.exists():
            wrong.append(f"{name} links to {path}, which does not exist")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            wrong.append(f"{name} links to {path}#{anchor}, a section that does not exist")
    return wrong


def code_block(match: re.Match[str]) -> str:
    source = ROOT / match[2]
    language = LANGUAGES.get(source.suffix, "text")
    return f"{match[1]}```{language}\n{source.read_text().rstrip()}\n```\n{match[3]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    check = parser.parse_args().check
    wrong = wrong_anchors()
    seen: set[str] = set()

    def table(match: re.Match[str]) -> str:
        seen.add(match[2])
        return f"{match[1]}{EXPANDERS[match[2]]()}{match[3]}"

    for page in PAGES:
        before = page.read_text()
        after = FILE.sub(code_block, TABLE.sub(table, before))
        if after != before and check:
            wrong.append(f"{page.relative_to(ROOT)} differs from its sources: run `make docs`")
        elif after != before:
            page.write_text(after)
            print(page.relative_to(ROOT))
        wrong += wrong_references(page)
    wrong += [f"table {name} is on no page" for name in EXPANDERS if name not in seen]
    for line in wrong:
        print(f"docs_from_tables: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
