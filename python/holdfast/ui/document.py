"""document.py - from the figures of a run to the sections of its report.

Contract    sections() takes the document of docs/report-json.md and always succeeds: a figure that
            is missing leaves its line out, never a zero in its place.
Talks to    model, units, explain, findings.   Called by ui.show.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.ui import findings, units
from holdfast.ui.model import Bar, Bars, Facts, Grid, Item, Section, Text, Tone

__all__ = ["sections"]

TOP_CLASSES = 8
TOP_CHILDREN = 12
Row = tuple[str, str, Tone]


def sections(found: Mapping[str, Any]) -> list[Section]:
    """Make the report of a run, in reading order; what is wrong comes last, next to the prompt."""
    main = found["process"]
    made = [_summary(found)]
    if main["rss"] is not None:
        made.append(_composition(main))
    heap = main["heap"] or {}
    stats = heap.get("stats")
    if stats:
        made.append(_traffic(stats, main, heap))
        classes = _classes(heap.get("classes") or [])
        if classes:
            made.append(classes)
    if found["children"]:
        made.append(_children(found["children"]))
    made.append(findings.section(found))
    if found["notes"]:
        made.append(Section("Notes", [Text(note, "warn") for note in found["notes"]]))
    return made


def _summary(found: Mapping[str, Any]) -> Section:
    main, time = found["process"], found["time"]
    rows: list[Row] = [("command", _shown(found["command"]), "normal"), _exit(found["exit"])]
    cpu = f"{units.seconds(time['user_s'])} user, {units.seconds(time['system_s'])} system"
    children = ", children included" if found["children"] else ""
    rows.append(("time", f"{units.seconds(time['wall_s'])} wall, {cpu}{children}", "normal"))
    memory = f"{units.size(main['peak_rss'])} resident at peak"
    if main["rss"] is not None:
        memory += f", {units.size(main['rss']['total'])} at exit"
    rows.append(("memory", memory, "normal"))
    options = (main["heap"] or {}).get("options") or {}
    chosen = {**{k: str(v) for k, v in options.items()}, **found["options"]}
    profile = chosen.get("profile")
    if profile:
        served = _python_served(main["python"])
        rows.append(("heap", f"profile {profile}{served}", "normal"))
    return Section(f"holdfast {found['holdfast']}".strip(), [Facts(rows)], found["name"])


def _python_served(python: Mapping[str, Any] | None) -> str:
    mode = (python or {}).get("mode")
    if (python or {}).get("free_threaded"):
        mode = "none"  # whatever was asked for: its objects are mimalloc's
    words = {
        "arenas": ", Python's objects in our arenas",
        "heap": ", every Python object on the heap",
        "none": ", Python's objects left to Python",
    }
    return words.get(str(mode), "")


def _exit(ending: Mapping[str, Any]) -> Row:
    if ending["signal"] is not None:
        try:
            name = signal.Signals(ending["signal"]).name
        except ValueError:
            name = f"signal {ending['signal']}"
        core = ", core dumped" if ending["core_dumped"] else ""
        return ("exit", f"killed by {name}{core}", "bad")
    code = ending["code"]
    return ("exit", f"status {code}", "good" if code == 0 else "warn")


def _shown(command: Sequence[str]) -> str:
    words = list(command)
    if len(words) > 1 and os.path.basename(words[0]).startswith("python"):
        words[0] = os.path.basename(words[0])
    return shlex.join(words)


def _composition(main: Mapping[str, Any]) -> Section:
    rss = main["rss"]
    groups: list[tuple[str, list[tuple[str, str, Tone]]]] = [
        (
            "on the heap",
            [
                ("live", "live blocks", "good"),
                ("slack", "slack in live blocks", "quiet"),
                ("cached", "cached for reuse", "warn"),
                ("free", "free, not yet given back", "warn"),
                ("quarantined", "quarantined", "bad"),
                ("meta", "bookkeeping", "quiet"),
            ],
        ),
        (
            "Python's small objects",
            [
                ("python_used", "pools in use", "good"),
                ("python_free", "pools without an object", "warn"),
            ],
        ),
        (
            "not the heap's",
            [
                ("other", "private mappings of others", "normal"),
                ("stacks", "thread stacks", "normal"),
                ("code", "programs and libraries", "quiet"),
                ("files", "mapped files", "quiet"),
                ("shared", "shared memory", "normal"),
                ("kernel", "kernel pages", "quiet"),
            ],
        ),
    ]
    rows: list[Bar] = []
    for title, members in groups:
        shown = [(label, rss.get(name, 0), tone) for name, label, tone in members]
        total = sum(part for _, part, _ in shown)
        if total == 0:
            continue
        rows.append(Bar(title, total, 0))
        rows += [Bar(label, part, 1, tone) for label, part, tone in shown if part]
    return Section("Resident memory at exit", [Bars(rss["total"], rows)], "what it is made of")


def _traffic(stats: Mapping[str, Any], main: Mapping[str, Any], heap: Mapping[str, Any]) -> Section:
    get = stats.get
    allocs, frees = get("allocs", 0), get("frees", 0)
    rows: list[Row] = []
    rate = f"  ({units.rate(allocs / main['wall_s'])})" if main["wall_s"] else ""
    rows.append(("allocations", units.count(allocs) + rate, "normal"))
    rows.append(
        (
            "frees",
            f"{units.count(frees)}, {units.count(get('blocks_in_use', 0))} blocks live",
            "normal",
        )
    )
    small, middle, large = (get(f"{tier}_allocs", 0) for tier in ("small", "middle", "large"))
    if small:
        hits = small - min(small, get("cache_misses", 0))
        rows.append(
            ("hit rate", f"{units.percent(hits, small)} served by the thread's own cache", "normal")
        )
    tiers = small + middle + large
    if tiers:
        text = ", ".join(
            f"{name} {units.percent(part, tiers)}"
            for name, part in (("small", small), ("middle", middle), ("large", large))
            if part
        )
        if large:
            text += f" ({units.percent(get('large_cache_hits', 0), large)} from cache)"
        rows.append(("tiers", text, "normal"))
    moved, kept = get("reallocs_moved", 0), get("reallocs_in_place", 0)
    if moved + kept:
        rows.append(
            ("reallocs", f"{units.count(kept)} in place, {units.count(moved)} moved", "normal")
        )
    rows += _condition(stats) + _python(main["python"])
    return Section("Heap", [Facts(rows)], _peak(stats))


def _python(python: Mapping[str, Any] | None) -> list[Row]:
    arenas, pools = (python or {}).get("arenas") or {}, (python or {}).get("pools") or {}
    if not arenas.get("used_peak"):
        return []
    held = f"{units.count(arenas['used'])} arenas (most: {units.count(arenas['used_peak'])})"
    text = f"{units.count(pools.get('blocks', 0))} small objects in {held}"
    given = arenas.get("bytes_returned", 0) + pools.get("bytes_returned", 0)
    if given:
        text += f", {units.size(given)} returned"
    return [("Python", text, "normal")]


def _peak(stats: Mapping[str, Any]) -> str:
    peak = stats.get("bytes_mapped_peak", 0)
    return f"{units.size(peak)} mapped at peak" if peak else ""


def _condition(stats: Mapping[str, Any]) -> list[Row]:
    get = stats.get
    rows: list[Row] = []
    live, slack = get("bytes_in_use", 0), get("bytes_slack", 0)
    idle, mapped = get("bytes_free", 0) + get("bytes_cached", 0), get("bytes_mapped", 0)
    if mapped:
        rows.append(
            (
                "fragmentation",
                f"{units.percent(slack, live + slack)} inside live blocks, "
                f"{units.percent(idle, mapped)} of what is mapped is free",
                "normal",
            )
        )
    waits = get("lock_waits", 0)
    waited = f"{units.count(waits)} lock waits, {units.seconds(get('lock_wait_ns', 0) / 1e9)}"
    rows.append(("contention", f"{waited} in all" if waits else "none", "normal"))
    returned = f"{units.size(get('bytes_returned', 0))} in {units.count(get('purges', 0))} purges"
    reclaim = units.seconds(get("reclaim_ns", 0) / 1e9)
    passes = f"{units.count(get('reclaims', 0))} reclaim passes took {reclaim}"
    rows.append(("returned", f"{returned}; {passes}", "normal"))
    failures, limits = get("failures", 0), get("limit_hits", 0)
    if failures or limits or get("os_failures", 0):
        what = "allocation" if failures == 1 else "allocations"
        text = f"{units.count(failures)} {what} failed, {units.count(limits)} for a limit"
        if get("os_failures", 0):
            text += f"; the system refused {units.count(get('os_failures', 0))} times"
        rows.append(("failures", text, "warn"))
    bad = get("slabs_quarantined", 0) + get("middle_pools_quarantined", 0)
    if bad:
        what = "slab or pool" if bad == 1 else "slabs and pools"
        rows.append(("quarantined", f"{units.count(bad)} {what} out of service", "bad"))
    return rows


def _classes(classes: Sequence[Mapping[str, int]]) -> Section | None:
    top = sorted(classes, key=lambda c: -c.get("allocs", 0))[:TOP_CLASSES]
    rows = [
        [
            units.block(c["size"]),
            units.count(c.get("allocs", 0)),
            units.percent(c.get("misses", 0), c.get("allocs", 0)),
            units.count(c.get("blocks", 0)),
            units.size(c.get("blocks", 0) * c["size"]),
            units.size((c.get("cached", 0) + c.get("free", 0)) * c["size"]),
        ]
        for c in top
        if c.get("allocs", 0)
    ]
    if not rows:
        return None
    columns = ["block", "allocations", "missed", "live", "live bytes", "idle bytes"]
    return Section("Busiest size classes", [Grid(columns, rows)])


def _children(children: Sequence[Mapping[str, Any]]) -> Section:
    ranked = sorted(children, key=lambda c: -(c["peak_rss"] or 0))
    rows = []
    for child in ranked[:TOP_CHILDREN]:
        stats = (child["heap"] or {}).get("stats") or {}
        command = _shown(child["argv"] or ["?"])
        rows.append(
            [
                str(child["pid"]),
                command if len(command) <= 30 else command[:29] + "…",
                units.size(child["peak_rss"]) if child["peak_rss"] else "?",
                units.size(child["rss"]["total"]) if child["rss"] else "?",
                units.count(stats["allocs"]) if "allocs" in stats else "?",
                str(len(child["reports"])),
            ]
        )
    items: list[Item] = [Grid(["pid", "command<", "peak", "at exit", "allocations", "bad"], rows)]
    if len(ranked) > TOP_CHILDREN:
        items.append(Text(f"and {len(ranked) - TOP_CHILDREN} more; --json lists all", "quiet"))
    total = len(children)
    return Section("Children", items, f"{total} process{'es' if total != 1 else ''}")
