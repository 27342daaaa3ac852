"""The report as people read it, from hand-made files with known sums.

Method: collect.document() over the sample, then both renderers; checked is what a reader relies on:
every line there, the sums, the width, no markup interpreted, no line for what is not known.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import cli_samples as samples
import pytest
from holdfast.cli import collect
from holdfast.ui import document, plain, units
from holdfast.ui.explain import KINDS
from holdfast.ui.model import Bars

ROOT = Path(__file__).resolve().parents[2]


def collected(folder: Path, **changes: Any) -> dict[str, Any]:
    return collect.document(
        str(folder),
        samples.ending(**changes),
        ["/usr/bin/python3", "app.py"],
        "app.py",
        {},
        "0.1.0",
    )


def printed(folder: Path, **changes: Any) -> str:
    return plain.text(document.sections(collected(folder, **changes)))


def in_colour(folder: Path, width: int = 80) -> str:
    pytest.importorskip("rich")
    from holdfast.ui import terminal
    from rich import console

    file = io.StringIO()
    drawn = console.Console(file=file, width=width, force_terminal=True, color_system="truecolor")
    terminal.draw(document.sections(collected(folder)), drawn)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    samples.write(tmp_path)
    return tmp_path


def test_composition_adds_up_to_resident_set(folder: Path) -> None:
    rss = collected(folder)["process"]["rss"]
    assert rss["total"] == sum(row[4] for row in samples.SMAPS_ROWS) * samples.KIB
    assert sum(value for name, value in rss.items() if name != "total") == rss["total"]
    bars = [
        item
        for section in document.sections(collected(folder))
        for item in section.items
        if isinstance(item, Bars)
    ]
    assert len(bars) == 1
    assert sum(row.part for row in bars[0].rows if row.depth == 0) == bars[0].whole
    assert sum(row.part for row in bars[0].rows if row.depth == 1) == bars[0].whole


def test_sections_come_in_reading_order_with_corruption_last(folder: Path) -> None:
    titles = [section.title for section in document.sections(collected(folder))]
    assert titles == [
        "holdfast 0.1.0",
        "Resident memory at exit",
        "Heap",
        "Busiest size classes",
        "Children",
        "Corruption",
    ]


def test_figures_of_the_run_are_in_the_text(folder: Path) -> None:
    text = printed(folder)
    for words in (
        "status 0",
        "2.00 s wall, 1.50 s user, 250 ms system, children included",
        "118 MiB resident at peak, 48.7 MiB at exit",
        "1,234,567  (617 k/s)",
        "99.0 % served by the thread's own cache",
        "80.0 % from cache",
        "17 lock waits, 250 µs in all",
        "56.0 MiB in 44 purges",
        "3 allocations failed, 2 for a limit",
    ):
        assert words in text


@pytest.mark.parametrize("mode", ["arenas", "heap", "none"])
def test_free_threaded_objects_are_left_to_python(mode: str) -> None:
    assert "left to Python" in document._python_served({"mode": mode, "free_threaded": True})
    said = document._python_served({"mode": mode, "free_threaded": False})
    assert ("left to Python" in said) is (mode == "none")


def test_classes_are_ranked_and_unused_ones_left_out(folder: Path) -> None:
    text = printed(folder)
    rows = re.findall(r"^ +(\d+) (B|KiB) +[\d,]+ ", text, re.MULTILINE)
    assert rows == [("32", "B"), ("64", "B"), ("1", "KiB"), ("8", "KiB")]


def test_reports_alike_are_shown_once_with_their_number(folder: Path) -> None:
    text = printed(folder)
    assert text.count("OVERFLOW (2 times)") == 1
    assert text.count("DOUBLE_FREE: the block was freed twice") == 1
    assert "4 B written right past its end" in text
    assert "|ABCD|" in text
    assert "docs/failure-modes.md#overflow" in text
    assert text.index("app.py:3 in <module>") < text.index("app.py:5 in")


def test_advice_on_sites_only_where_the_line_is_missing(folder: Path) -> None:
    overflow, double = re.split(r"DOUBLE_FREE", printed(folder))
    assert "--sites=all" not in overflow
    assert "--sites=all" in double


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_its_own_section_in_the_manual(kind: str) -> None:
    table = (ROOT / "include/holdfast/report.def").read_text()
    row = re.search(rf'HF_REPORT\({kind},\s*"\w+",\s*"([\w-]+)",\s*"([^"]+)"\)', table)
    assert row is not None
    assert (KINDS[kind].anchor, KINDS[kind].sentence) == row.groups()


def test_every_kind_of_the_table_is_explained() -> None:
    table = (ROOT / "include/holdfast/report.def").read_text()
    assert set(re.findall(r"^HF_REPORT\((\w+)", table, re.MULTILINE)) - {"NONE"} == set(KINDS)


def test_every_kind_can_be_printed(tmp_path: Path) -> None:
    samples.write(tmp_path, corruption=False)
    for kind in [*KINDS, "SOMETHING_NEW"]:
        report = {**samples.OVERFLOW, "kind": kind, "sentence": None, "given_size": 8}
        (tmp_path / f"{samples.PID}.reports").write_text(json.dumps(report))
        assert kind in printed(tmp_path)
        assert kind in in_colour(tmp_path)


def test_a_clean_run_says_so(tmp_path: Path) -> None:
    samples.write(tmp_path, corruption=False, child=False)
    text = printed(tmp_path)
    assert "none found" in text
    assert "Children" not in text


def test_killed_program_says_that_there_is_no_final_report(tmp_path: Path) -> None:
    (tmp_path / f"{samples.PID}.reports").write_text(
        json.dumps(samples.OVERFLOW) + '\n{"kind": "OV'
    )
    text = printed(tmp_path, code=None, signal=11, core_dumped=True)
    assert "killed by SIGSEGV, core dumped" in text
    assert "before it could write its final report" in text
    assert "OVERFLOW: bytes after the end" in text
    assert "was cut short" in text
    assert "120 MiB resident at peak" in text
    assert "Resident memory at exit" not in text
    assert "allocations" not in text


def test_damaged_final_report_is_a_note_not_a_failure(folder: Path) -> None:
    (folder / f"{samples.PID}.json").write_text('{"pid": 42')
    text = printed(folder)
    assert "4242.json was cut short" in text
    assert "left no final report" in text


@pytest.mark.parametrize("missing", ["smaps", "segments", "reports"])
def test_a_missing_file_leaves_out_only_its_part(folder: Path, missing: str) -> None:
    (folder / f"{samples.PID}.{missing}").unlink()
    text = printed(folder)
    assert ("Resident memory at exit" in text) == (missing != "smaps")
    assert ("OVERFLOW" in text) == (missing != "reports")
    assert "1,234,567" in text


def test_reports_of_children_name_the_child(folder: Path) -> None:
    (folder / f"{samples.PID}.reports").unlink()
    (folder / f"{samples.CHILD}.reports").write_text(json.dumps(samples.DOUBLE) + "\n")
    assert f"child {samples.CHILD}" in printed(folder)


def test_text_fits_in_80_columns(folder: Path) -> None:
    assert max(len(line) for line in printed(folder).splitlines()) <= 80


@pytest.mark.parametrize("width", [60, 80, 120])
def test_colour_fits_the_terminal_and_interprets_no_markup(folder: Path, width: int) -> None:
    drawn = in_colour(folder, width)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    assert max(len(line) for line in bare.splitlines()) <= width
    assert "[bold]make[/bold]" in bare
    assert "\x1b[" in drawn


def test_both_renderers_give_the_same_figures(folder: Path) -> None:
    bare = re.sub(r"\x1b\[[0-9;]*m", "", in_colour(folder, 100))
    for words in ("36.0 MiB", "48.7 MiB", "1,234,567", "99.0 %", "killed"):
        assert (words in bare) == (words in printed(folder))


def test_plain_text_survives_an_ascii_stream(folder: Path) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    plain.render(document.sections(collected(folder)), file)
    assert b"wall" in file.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1_048_575, "1.00 MiB"),
     (64_175_000, "61.2 MiB"), (10_485_760, "10.0 MiB"), (1048051712, "1000 MiB")],
)  # fmt: skip
def test_size_has_three_digits(value: int, text: str) -> None:
    assert units.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 ns"), (2.5e-7, "250 ns"), (0.25, "250 ms"), (0.9999, "1.00 s"), (59.94, "59.9 s"),
     (119.9, "120 s"), (200, "3 min 20 s"), (7260, "2 h 1 min")],
)  # fmt: skip
def test_seconds_choose_their_unit(value: float, text: str) -> None:
    assert units.seconds(value) == text


def test_percent_never_rounds_something_to_nothing_or_to_all() -> None:
    assert units.percent(1, 10_000_000) == "<0.1 %"
    assert units.percent(9_999_999, 10_000_000) == ">99.9 %"
    assert units.percent(0, 5) == units.percent(1, 0) == "0 %"
    assert units.percent(5, 5) == "100 %"
