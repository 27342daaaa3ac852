"""collect.py - the files a run left behind, as one document.

    DIR/<pid>.json      final figures of one process      DIR/<pid>.smaps     its mappings
    DIR/<pid>.reports   corruption, a JSON object a line  DIR/<pid>.segments  its heap's addresses

Contract    document() always succeeds: a file that is missing or damaged becomes a sentence under
            "notes", and the figures that were in it are null. Shape: docs/report-json.md.
Talks to    rss.py.   Called by run.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from holdfast.cli.launch import Ending
from holdfast.rss import classify, parse_segments, parse_smaps

__all__ = ["SCHEMA", "SCHEMA_VERSION", "document", "process"]

SCHEMA = "holdfast.run"
SCHEMA_VERSION = 1
REPORT_FILE = re.compile(r"([1-9][0-9]*)\.(?:json|reports)$")


def process(directory: str, pid: int, notes: list[str]) -> dict[str, Any]:
    """Gather what one process left in `directory`; figures it did not leave are None."""
    final = _json(os.path.join(directory, f"{pid}.json"), notes)
    heap = final.get("process") if isinstance(final.get("process"), dict) else None
    python = final.get("python") if isinstance(final.get("python"), dict) else None
    smaps = _text(os.path.join(directory, f"{pid}.smaps"))
    mappings = parse_smaps(smaps)
    composition: dict[str, int] | None = None
    if mappings:
        ranges = parse_segments(_text(os.path.join(directory, f"{pid}.segments")))
        composition = classify(mappings, ranges, account(heap), python).as_dict()
    reports = _reports(os.path.join(directory, f"{pid}.reports"), notes)
    if not reports and heap is not None:
        reports = [dict(r) for r in heap.get("reports") or [] if isinstance(r, dict)]
    peak = final.get("maxrss_kb")
    return {
        "pid": pid,
        "ppid": final.get("ppid"),
        "argv": final.get("argv"),
        "ended": final.get("exit"),
        "wall_s": _seconds(final.get("wall_ns")),
        "user_s": _seconds(final.get("user_ns")),
        "system_s": _seconds(final.get("sys_ns")),
        "minor_faults": final.get("minflt"),
        "major_faults": final.get("majflt"),
        "peak_rss": peak * 1024 if isinstance(peak, int) else None,
        "rss": composition,
        "heap": heap,
        "python": python,
        "reports": reports,
    }


def account(heap: Mapping[str, Any] | None) -> Mapping[str, int] | None:
    """Pick the figures of stats.def out of what the core writes about a process."""
    stats = (heap or {}).get("stats")
    return stats if isinstance(stats, Mapping) else None


def document(
    directory: str,
    ending: Ending,
    command: list[str],
    name: str,
    options: Mapping[str, str],
    version: str,
) -> dict[str, Any]:
    """Put together everything about a run, in the shape of docs/report-json.md."""
    notes: list[str] = []
    main = process(directory, ending.pid, notes)
    children = [process(directory, pid, notes) for pid in _others(directory, ending.pid)]
    if main["heap"] is None:
        notes.insert(0, _why_no_report(ending))
    elif main["ended"] == "exec":
        notes.append(
            "the program replaced itself by one that holdfast could not serve; "
            "the figures are those of the moment before"
        )
    if main["peak_rss"] is None:
        main["peak_rss"] = ending.peak_rss
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "holdfast": version,
        "command": command,
        "name": name,
        "options": dict(options),
        "exit": {"code": ending.code, "signal": ending.signal, "core_dumped": ending.core_dumped},
        "time": {"wall_s": ending.wall, "user_s": ending.user, "system_s": ending.system},
        "process": main,
        "children": children,
        "notes": notes,
    }


def _why_no_report(ending: Ending) -> str:
    if ending.signal is not None:
        return (
            "the program was killed by a signal before it could write its final report; "
            "what the heap held then is not known"
        )
    return (
        "the program left no final report: the loader did not load the library, or the "
        "program ended by a raw system call"
    )


def _others(directory: str, main: int) -> list[int]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = {int(match[1]) for match in map(REPORT_FILE.fullmatch, names) if match}
    return sorted(found - {main})


def _json(path: str, notes: list[str]) -> dict[str, Any]:
    text = _text(path)
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        notes.append(f"{os.path.basename(path)} was cut short and is left out")
        return {}
    return value if isinstance(value, dict) else {}


def _reports(path: str, notes: list[str]) -> list[dict[str, Any]]:
    found = []
    for line in _text(path).splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            notes.append(f"a line of {os.path.basename(path)} was cut short and is left out")
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _seconds(nanoseconds: Any) -> float | None:
    return nanoseconds / 1e9 if isinstance(nanoseconds, (int, float)) else None
