"""An ordinary program: an index of every class, function and call of Python's standard library.

Several threads parse the modules into syntax trees, one writes the symbols into an SQLite database
in memory, and at the end a few questions are answered. Nothing here knows of holdfast.

    python index_stdlib.py [--threads N] [--limit MODULES]
"""

from __future__ import annotations

import argparse
import ast
import queue
import sqlite3
import sysconfig
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

TOP = Path(sysconfig.get_path("stdlib"))
SCHEMA = """
CREATE TABLE module (id INTEGER PRIMARY KEY, name TEXT, lines INTEGER, nodes INTEGER);
CREATE TABLE symbol (module INTEGER, kind TEXT, name TEXT, line INTEGER, arguments INTEGER,
                     documented INTEGER);
CREATE TABLE call (module INTEGER, name TEXT, line INTEGER);
"""
INDEXES = """
CREATE INDEX symbol_name ON symbol (name);
CREATE INDEX call_name ON call (name);
"""
QUESTIONS = (
    (
        "modules with most code",
        "SELECT name, lines || ' lines' FROM module ORDER BY lines DESC, name LIMIT 3",
    ),
    (
        "names defined most often",
        "SELECT name, count(*) || ' times' FROM symbol WHERE name NOT LIKE '\\_\\_%' ESCAPE '\\' "
        "GROUP BY name ORDER BY count(*) DESC, name LIMIT 3",
    ),
    (
        "functions with most parameters",
        "SELECT DISTINCT module.name || '.' || symbol.name, arguments FROM symbol "
        "JOIN module ON module.id = symbol.module ORDER BY arguments DESC, 1 LIMIT 3",
    ),
    (
        "functions called most often",
        "SELECT name, count(*) || ' calls' FROM call GROUP BY name "
        "ORDER BY count(*) DESC, name LIMIT 3",
    ),
    (
        "called and defined in the library, never documented",
        "SELECT symbol.name, count(DISTINCT call.rowid) || ' calls' FROM symbol "
        "JOIN call ON call.name = symbol.name WHERE symbol.kind = 'function' "
        "AND symbol.name NOT LIKE '\\_%' ESCAPE '\\' GROUP BY symbol.name "
        "HAVING max(symbol.documented) = 0 ORDER BY count(DISTINCT call.rowid) DESC, 1 LIMIT 3",
    ),
)
Row = tuple[object, ...]


class Parsed:
    """What one module holds."""

    def __init__(self, name: str, source: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in old modules
            tree = ast.parse(source, name)
        self.name = name
        self.lines = source.count(b"\n")
        self.nodes = 0
        self.symbols: list[Row] = []
        self.calls: list[Row] = []
        for node in ast.walk(tree):
            self.nodes += 1
            self.look(node)

    def look(self, node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = node.args
            count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
            documented = ast.get_docstring(node, clean=False) is not None
            self.symbols.append(("function", node.name, node.lineno, count, documented))
        elif isinstance(node, ast.ClassDef):
            documented = ast.get_docstring(node, clean=False) is not None
            self.symbols.append(("class", node.name, node.lineno, 0, documented))
        elif isinstance(node, ast.Call):
            called = node.func
            name = getattr(called, "attr", None) or getattr(called, "id", None)
            if name is not None:
                self.calls.append((name, node.lineno))


def module_name(path: Path) -> str:
    """The name to import it by."""
    parts = path.relative_to(TOP).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def modules() -> Iterator[Path]:
    """Source files of the standard library, without its tests and what pip installed."""
    left_out = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3"}
    for path in sorted(TOP.rglob("*.py")):
        if not left_out.intersection(path.relative_to(TOP).parts):
            yield path


def parse_all(paths: queue.SimpleQueue[Path | None], done: queue.Queue[Parsed | None]) -> None:
    """One worker: parse what comes until there is no more, then say so."""
    while (path := paths.get()) is not None:
        try:
            done.put(Parsed(module_name(path), path.read_bytes()))
        except (SyntaxError, ValueError):
            continue  # a template, or written for another Python
    done.put(None)


def store(database: sqlite3.Connection, number: int, parsed: Parsed) -> None:
    database.execute(
        "INSERT INTO module VALUES (?, ?, ?, ?)", (number, parsed.name, parsed.lines, parsed.nodes)
    )
    database.executemany(f"INSERT INTO symbol VALUES ({number}, ?, ?, ?, ?, ?)", parsed.symbols)
    database.executemany(f"INSERT INTO call VALUES ({number}, ?, ?)", parsed.calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--limit", type=int, help="stop after this many modules")
    chosen = parser.parse_args()

    paths: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
    for path in list(modules())[: chosen.limit]:
        paths.put(path)
    done: queue.Queue[Parsed | None] = queue.Queue(maxsize=32)
    workers = [
        threading.Thread(target=parse_all, args=(paths, done)) for _ in range(chosen.threads)
    ]
    for worker in workers:
        paths.put(None)
        worker.start()

    database = sqlite3.connect(":memory:")
    database.executescript(SCHEMA)
    running, number = len(workers), 0
    while running:
        parsed = done.get()
        if parsed is None:
            running -= 1
            continue
        number += 1
        store(database, number, parsed)
    for worker in workers:
        worker.join()
    database.executescript(INDEXES)

    counts = database.execute(
        "SELECT count(*), sum(lines), sum(nodes), (SELECT count(*) FROM symbol), "
        "(SELECT count(*) FROM call) FROM module"
    ).fetchone()
    names = ("modules", "lines", "syntax nodes", "symbols", "calls")
    print(", ".join(f"{n or 0:,} {name}" for n, name in zip(counts, names, strict=True)))
    for question, query in QUESTIONS:
        answers = [f"{name} ({value})" for name, value in database.execute(query)]
        print(f"{question}: {', '.join(answers)}")


if __name__ == "__main__":
    main()
