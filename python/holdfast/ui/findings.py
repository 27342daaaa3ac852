"""findings.py - corruption reports as findings: alike ones counted together, explained once.

Contract    takes the "reports" of every process of a run (hf_report_json); keys may be missing.
Talks to    model, explain.   Called by document.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.ui.explain import MANUAL, explain
from holdfast.ui.model import Finding, Item, Section, Text

__all__ = ["section"]

SHOWN = 6
FAMILIES = {
    "libc": "malloc",
    "py_raw": "PyMem_RawMalloc",
    "py_mem": "PyMem_Malloc",
    "py_obj": "PyObject_Malloc",
}  # fmt: skip
Report = Mapping[str, Any]


def section(found: Mapping[str, Any]) -> Section:
    """Show what was found in the program and its children."""
    reports = [(report, "") for report in found["process"]["reports"]]
    for child in found["children"]:
        reports += [(report, f"child {child['pid']}") for report in child["reports"]]
    if not reports:
        return Section("Corruption", [Text(*_none(found))])
    alike: dict[tuple[Any, ...], list[tuple[Report, str]]] = {}
    for report, where in reports:
        alike.setdefault(_likeness(report), []).append((report, where))
    items: list[Item] = [
        _finding(group[0][0], group[0][1], len(group)) for group in list(alike.values())[:SHOWN]
    ]
    if len(alike) > SHOWN:
        items.append(Text(f"and {len(alike) - SHOWN} more; --json lists all", "warn"))
    note = f"{len(reports)} report{'s' if len(reports) != 1 else ''}"
    return Section("Corruption", items, note, "bad")


def _none(found: Mapping[str, Any]) -> tuple[str, Any]:
    heap = found["process"]["heap"]
    if heap is None:
        return "none reported while the program ran; there was no final check", "warn"
    if (heap.get("options") or {}).get("profile") == "fast":
        return "none found; profile fast hardly looks", "quiet"
    return "none found", "good"


def _likeness(report: Report) -> tuple[Any, ...]:
    keys = ("kind", "site_noticed", "site_allocated", "site_freed", "block_size", "given_size")
    return tuple(report.get(key) for key in keys)


def _finding(report: Report, where: str, times: int) -> Finding:
    kind = str(report.get("kind", "?"))
    words = explain(kind)
    facts: list[tuple[str, list[str]]] = []
    block = _block(report)
    if block:
        facts.append(("block", [block]))
    given = report.get("address")
    if given and given != report.get("block"):
        facts.append(("pointer", [str(given)]))
    facts += [(label, lines) for label, lines in (("damage", _damage(report)),) if lines]
    if kind == "SIZE_MISMATCH":
        given, size = report.get("given_size"), report.get("block_size")
        text = f"the caller said {given} B, the block has {size} B"
        facts.append(("sizes", [text]))
    if kind == "DOMAIN_MISMATCH":
        made, freed = _family(report.get("domain")), _family(report.get("freed_as"))
        text = f"allocated by {made}, freed as {freed}"
        facts.append(("families", [text]))
    noticed = f"in {report.get('found_by') or '?'}, thread {report.get('thread_id', '?')}"
    facts.append(
        ("noticed", [f"{noticed}, {where}" if where else noticed, *_stack(report, "noticed")])
    )
    for name in ("allocated", "freed"):
        stack = _stack(report, name)
        if stack:
            facts.append((name, stack))
    advice = [words.meaning, words.look] if words.look else [words.meaning]
    if not _stack(report, "allocated") and report.get("block"):
        advice.append(
            "The line that allocated this block was not sampled: --sites=all remembers every one."
        )
    anchor = report.get("anchor") or words.anchor
    return Finding(
        kind=kind,
        sentence=str(report.get("sentence") or words.sentence),
        times=times,
        facts=facts,
        explanation=[" ".join(advice)],
        link=f"{MANUAL}#{anchor}" if anchor else MANUAL,
    )


def _block(report: Report) -> str:
    if not report.get("block"):
        return ""
    parts = []
    if report.get("block_size"):
        parts.append(f"{report['block_size']} B")
    parts.append(f"at {report['block']}")
    text = " ".join(parts)
    if report.get("class_size"):
        text += f", class {report['class_size']} B"
    if report.get("owner"):
        text += f", heap {report['owner']}"
    if report.get("domain"):
        text += f", by {_family(report['domain'])}"
    return text


def _family(domain: Any) -> str:
    name = str(domain)
    return FAMILIES.get(name.lower(), name)


def _damage(report: Report) -> list[str]:
    length = report.get("damage_length") or 0
    if not length:
        return []
    offset, size = report.get("damage_offset", 0), report.get("block_size") or 0
    if offset < 0:
        where = f"{-offset} B before its start"
    elif size and offset >= size:
        past = offset - size
        where = f"{past} B past its end" if past else "right past its end"
    else:
        where = f"{offset} B into it"
    lines = [f"{length} B written {where}"]
    quoted = _bytes(report.get("bytes"))
    if quoted:
        lines.append(quoted)
    return lines


def _bytes(text: Any) -> str:
    """Show the bytes that were written, in hexadecimal and as characters, at most 16."""
    try:
        data = bytes.fromhex(str(text or ""))
    except ValueError:
        return str(text)
    if not data:
        return ""
    head = data[:16]
    readable = "".join(chr(b) if 32 <= b < 127 else "." for b in head)
    return f"{head.hex(' ')}{' …' if len(data) > 16 else ''}  |{readable}|"


def _stack(report: Report, name: str) -> list[str]:
    text = str(report.get(f"site_{name}") or "")
    return [line.strip() for line in text.splitlines() if line.strip()]
