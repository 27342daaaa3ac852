"""shm.py - the documents of `holdfast shm` as sections to read.

Contract    sections() takes a document of shm_look.py or shm_act.py, by its schema.
Talks to    model, units.   Called by cli/shm.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from holdfast.ui import units
from holdfast.ui.model import Facts, Grid, Item, Section, Text, Tone

__all__ = ["sections", "show"]

Found = Mapping[str, Any]
Row = tuple[str, str, Tone]
BAR = 10
FILLED = ("queue", "ring", "pool", "map", "semaphore", "barrier")


def show(found: Found, file: TextIO) -> None:
    """Print a document in the way that suits the file."""
    made = sections(found)
    if file.isatty():
        try:
            from holdfast.ui import terminal
        except ImportError:
            pass
        else:
            terminal.render(made, file)
            return
    from holdfast.ui import plain

    plain.render(made, file)


def sections(found: Found) -> list[Section]:
    """Make what is read of a document; what is wrong comes last."""
    return _MAKERS[found["schema"]](_printable(found))


def _printable(value: Any) -> Any:
    """Names are what any process made them."""
    if isinstance(value, str):
        return units.printable(value)
    if isinstance(value, Mapping):
        return {key: _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, list) else value


def _age(moment_ns: int, now_ns: int) -> str:
    seconds = max(0.0, (now_ns - moment_ns) / 1e9)
    if seconds >= 172800:
        return f"{seconds / 86400:.0f} days"
    return units.seconds(seconds) if seconds >= 1 else "now"


def _many(count: int, word: str) -> str:
    return f"{units.count(count)} {word}" + ("" if count == 1 else "s")


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


# --- ls ------------------------------------------------------------------------------------------


def _listing(found: Found) -> list[Section]:
    rows = found["segments"]
    seen = [row for row in rows if row["reason"] is None]
    hidden = [row for row in rows if row["reason"] is not None]
    total = sum(row["size"] for row in rows)
    note = f"{len(rows)}, {units.size(total)}" if rows else "none on this machine"
    items: list[Item] = []
    if seen:
        items.append(
            Grid(
                ["name<", "size", "used", "live", "dead", "structures", "age", "user<", "mode"],
                [_listed(row, found["time_ns"]) for row in seen],
            )
        )
    made = [Section("Shared memory", items, note)]
    if hidden:
        lines = [
            Text(f"{row['name']} ({units.size(row['size'])}, of {row['user']}): {row['reason']}")
            for row in hidden
        ]
        made.append(Section("Not opened", list(lines)))
    dead = [row for row in seen if row["participants_dead"] or _is_lonely(row)]
    if dead:
        names = ", ".join(row["name"] for row in dead)
        made.append(
            Section(
                "Left behind", [Text(f"{names}: holdfast shm gc gives back what the dead hold")]
            )
        )
    return made


def _is_lonely(row: Found) -> bool:
    return row["participants_live"] == 0 and not row["persist"]


def _listed(row: Found, now_ns: int) -> list[str]:
    return [
        row["name"],
        units.size(row["size"]),
        units.size(row["bytes_used"]),
        str(row["participants_live"]),
        str(row["participants_dead"]),
        str(row["structures"]),
        _age(row["created_ns"], now_ns),
        row["user"],
        f"{row['access']:o}",
    ]


# --- inspect -------------------------------------------------------------------------------------


def _inspection(found: Found) -> list[Section]:
    if "items" in found:
        return _contents(found)
    now = found["time_ns"]
    made = [_about(found["segment"], now)]
    people = found["participants"]
    if people:
        rows = [
            [
                str(one["index"]),
                str(one["pid"]),
                one["command"] or "",
                one["role"],
                "killed" if one["life"] == "dead" else "lives",
                _age(one["joined_ns"], now),
            ]
            for one in people
        ]
        columns = ["no.", "pid", "command<", "role<", "state<", "for"]
        made.append(Section("Participants", [Grid(columns, rows)]))
    structures = found["structures"]
    if structures:
        made.append(Section("Structures", [_structures(structures)], str(len(structures))))
        moving = [s for s in structures if _moves(s)]
        if moving:
            made.append(Section("Traffic", [_traffic(moving)]))
    return made


def _about(about: Found, now_ns: int) -> Section:
    used = about["bytes_used"]
    data = used + about["bytes_free"]
    dead = about["participants_dead"]
    rows: list[Row] = [
        ("size", _sizes(about), "normal"),
        ("used", f"{units.size(used)} of {units.size(data)} for structures "
                 f"({units.percent(used, data)}), "
                 f"{units.size(about['largest_free'])} free in a row",
         "normal"),
        ("participants", f"{about['participants_live']} live, {dead} killed and not recovered, "
                         f"at most {about['participants_max']}", "warn" if dead else "normal"),
        ("structures", f"{about['entries']}, at most {about['entries_max']}", "normal"),
        ("owner", f"{about['user']}, mode {about['access']:o}", "normal"),
        ("made", f"{_age(about['created_ns'], now_ns)} ago"
         if now_ns - about["created_ns"] >= 10**9 else "now", "normal"),
        ("id", about["id"], "quiet"),
    ]  # fmt: skip
    if about["recoveries"]:
        rows.append(("recovered", _many(about["recoveries"], "killed participant"), "normal"))
    stays = "on a file" if about["on_file"] else "stays without participants"
    if about["persist"]:
        rows.append(("persists", stays, "normal"))
    if about["gone"]:
        rows.append(("name", "taken away: nobody can open it any more", "warn"))
    return Section("Segment", [Facts(rows)], about["name"])


def _sizes(about: Found) -> str:
    made = units.size(about["size"])
    if about["size_max"] > about["size"]:
        made += f", grows to {units.size(about['size_max'])}"
    return f"{made}, {units.size(about['bytes_meta'])} of it table and participants"


def _structures(rows: list[Found]) -> Grid:
    return Grid(
        ["name<", "kind<", "elements<", "size", "filled", "<", "users"],
        [
            [
                _shortened(row["name"], 32),
                row["kind"] or f"unknown ({row['layout']})",
                _elements(row),
                units.size(row["size"]),
                *_fill(row),
                str(row["users"]),
            ]
            for row in rows
        ],
    )


def _elements(row: Found) -> str:
    if row["kind"] == "span":
        return ""
    shape = "x".join(map(str, row["shape"])) or str(row["element_count"])
    what = row["format"].strip(":") or f"{row['element_size']} B"
    return f"{shape} of {_shortened(what, 24)}"


def _fill(row: Found) -> tuple[str, str]:
    figures = row["figures"]
    if not figures or not figures["capacity"] or row["kind"] not in FILLED:
        return "", ""
    count, capacity = figures["count"], figures["capacity"]
    full = min(BAR, -(-BAR * count // capacity))
    return f"{count}/{capacity}", "#" * full + "." * (BAR - full)


def _moves(row: Found) -> bool:
    figures = row["figures"]
    keys = ("written", "read", "lost", "waits", "recovered", "readers", "writers")
    return figures is not None and any(figures[key] for key in keys)


def _traffic(rows: list[Found]) -> Grid:
    timed = any(row.get("rates") for row in rows)
    columns = ["name<", "written", "read", "lost", "waits", "repairs", "readers", "writers"]
    if timed:
        columns[1:5] = ["in", "out", "lost", "waits", "written", "read"]
    lines = []
    for row in rows:
        f, r = row["figures"], row.get("rates")
        line = [_shortened(row["name"], 32)]
        if timed:
            keys = ("written", "read", "lost", "waits")
            line += [units.rate(r[key]) if r else "" for key in keys]
            line += [units.count(f["written"]), units.count(f["read"])]
        else:
            line += [units.count(f[key]) for key in ("written", "read", "lost", "waits")]
        lines.append([*line, str(f["recovered"]), str(f["readers"]), str(f["writers"])])
    return Grid(columns, lines)


def _contents(found: Found) -> list[Section]:
    """One structure, and what is in it."""
    structures = found["structures"]
    made = [Section("Structure", [_structures(structures)], found["segment"]["name"])]
    if any(_moves(row) for row in structures):
        made.append(Section("Traffic", [_traffic(structures)]))
    counts = ", ".join(f"{units.count(count)} {state}" for state, count in found["states"].items())
    items: list[Item] = []
    if found["items"]:
        roles = {one["index"]: one["role"] for one in found["participants"]}
        items.append(
            Grid(
                ["piece<", "no.", "state<", "number", "value", "pid", "role<", "", "at", "size"],
                [_item(row, roles) for row in found["items"]],
            )
        )
    if found["items_left_out"]:
        items.append(Text(f"and {units.count(found['items_left_out'])} more (--limit)"))
    return [*made, Section("Contents", items, counts)]


def _item(row: Found, roles: Mapping[int, str]) -> list[str]:
    return [
        row["piece"],
        str(row["index"]),
        row["state"],
        str(row["number"]),
        str(row["value"]),
        "" if row["pid"] is None else str(row["pid"]),
        roles.get(row["participant"], ""),
        "killed" if row["dead"] else "",
        f"0x{row['offset']:x}",
        units.size(row["size"]),
    ]


# --- what was done -------------------------------------------------------------------------------


def _fault_items(rows: list[Found]) -> list[Item]:
    return [
        Text(f"{row['structure'] or 'table'}: {row['fault']}".rstrip("."), "bad") for row in rows
    ]


def _check(found: Found) -> list[Section]:
    items = _fault_items(found["faults"])
    if not items:
        names = found["structures"]
        items = [Text(f"nothing is wrong with the table and {_many(len(names), 'structure')}",
                      "good")]  # fmt: skip
    else:
        items.append(Text(f"holdfast shm repair {found['name']} puts right what can be"))
    dead = found["participants_dead"]
    if dead:
        items.append(
            Text(f"{_many(dead, 'participant')} killed; what it held comes back when "
                 "somebody waits for it, or by holdfast shm gc", "warn")
        )  # fmt: skip
    return [Section("Check", items, found["name"])]


def _repair(found: Found) -> list[Section]:
    items: list[Item] = [
        Text(f"{_many(found['repaired'], 'thing')} put right, "
             f"{_many(found['participants_recovered'], 'killed participant')} recovered")
    ]  # fmt: skip
    after = _fault_items(found["faults"])
    items += after or [Text("nothing is wrong any more" if found["faults_before"]
                            else "nothing is wrong", "good")]  # fmt: skip
    return [Section("Repair", items, found["name"])]


def _removed(found: Found) -> list[Section]:
    lines: list[Item] = [
        Text(f"removed {row['name']} ({units.size(row['size'])})") for row in found["removed"]
    ]
    return [Section("Removed", lines, str(len(lines)))]


def _collected(found: Found) -> list[Section]:
    would = "would be " if found["dry_run"] else ""
    lines: list[Item] = [
        Text(f"{row['name']} ({units.size(row['size'])}) {would}removed: nobody lives in it")
        for row in found["removed"]
    ]
    lines += [
        Text(f"{row['name']}: what {_many(row['participants'], 'killed participant')} held "
             f"{would or 'was '}given back")
        for row in found["recovered"]
    ]  # fmt: skip
    if not lines:
        lines = [Text("nothing is held by dead processes", "good")]
    lines += [Text(f"{row['name']}: {row['reason']}", "quiet") for row in found["skipped"]]
    bytes_free = sum(row["size"] for row in found["removed"])
    return [Section("Collected", lines, units.size(bytes_free))]


def _dumped(found: Found) -> list[Section]:
    items: list[Item] = [
        Text(f"{_many(found['entries'], 'structure')}, {units.size(found['bytes_stored'])} of "
             f"{units.size(found['size'])} (the rest is zero) in {found['file']}", "good")
    ]  # fmt: skip
    if not found["consistent"]:
        used = ", ".join(found["in_use"]) or "none"
        items.append(
            Text(f"{_many(found['live'], 'participant')} lived while it was copied: what they "
                 f"changed meanwhile may be half old and half new. In use: {used}. Loading it "
                 "repairs and checks, and says what is not as it should be", "warn")
        )  # fmt: skip
    return [Section("Dumped", items, found["name"])]


def _loaded(found: Found) -> list[Section]:
    age = _age(found["dumped_ns"], time.time_ns())
    items: list[Item] = [
        Text(f"{_many(found['entries'], 'structure')}, {units.size(found['size'])}, as "
             f"{'they were' if found['consistent'] else 'copied in use'} "
             f"{age + ' ago' if age != 'now' else 'just now'}", "good")
    ]  # fmt: skip
    if not found["consistent"]:
        items.append(Text(f"it was copied while {_many(found['live'], 'participant')} used it; "
                          f"{_many(found['repaired'], 'thing')} put right", "warn"))  # fmt: skip
    items += _fault_items(found["faults"])
    stays = (
        "the last process that uses it removes it"
        if found["temporary"]
        else f"it stays until holdfast shm rm {found['name']}"
    )
    return [Section("Loaded", [*items, Text(stays)], found["name"])]


_MAKERS: dict[str, Callable[[Found], list[Section]]] = {
    "holdfast.shm.ls": _listing,
    "holdfast.shm.inspect": _inspection,
    "holdfast.shm.check": _check,
    "holdfast.shm.repair": _repair,
    "holdfast.shm.rm": _removed,
    "holdfast.shm.gc": _collected,
    "holdfast.shm.dump": _dumped,
    "holdfast.shm.load": _loaded,
}
