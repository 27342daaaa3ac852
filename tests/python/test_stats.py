"""Figures: the names of stats.def, what each counts, and the account.

Method: a known program on a heap of its own, so that every figure it moves is known to the byte.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import holdfast
import pytest
from holdfast import Heap, _core

PROFILES = ("fast", "checked", "hardened", "debug")


def table() -> list[str]:
    text = (holdfast.prefix() / "include" / "holdfast" / "stats.def").read_text()
    return re.findall(r"^HF_STAT\((\w+),", text, re.MULTILINE)


def test_stats_has_one_field_per_row_of_the_table() -> None:
    names = [field.name for field in dataclasses.fields(holdfast.Stats)]  # type: ignore[arg-type]
    assert names == ["profile", *table()]
    assert all(sentence and unit in {"B", "1", "ns"} for _, unit, sentence in _core.stats_table())


def test_stats_are_frozen() -> None:
    stats = holdfast.stats()
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.allocs = 0  # type: ignore[misc]


@pytest.mark.parametrize("profile", PROFILES)
def test_figures_follow_the_program(profile: str) -> None:
    with Heap(profile=profile) as heap:
        before = heap.stats()
        assert before.profile == profile
        buffers = [heap.allocate(100) for _ in range(50)]
        buffers += [heap.allocate(100_000), heap.allocate(4 << 20)]
        after = heap.stats()
        assert after.allocs - before.allocs == 52
        assert after.blocks_in_use - before.blocks_in_use == 52
        asked = 50 * 100 + 100_000 + (4 << 20)
        if profile == "fast":
            assert after.bytes_in_use >= asked
        else:
            assert after.bytes_in_use - before.bytes_in_use == asked
        tiers = ("small_allocs", "middle_allocs", "large_allocs")
        moved = [getattr(after, name) - getattr(before, name) for name in tiers]
        assert moved == [50, 1, 1] or profile == "debug"
        assert sum(moved) == 52
        assert after.adds_up(), after
        for buffer in buffers:
            heap.free(buffer)
        final = heap.stats()
        assert final.frees - before.frees == 52
        assert final.blocks_in_use == before.blocks_in_use
        assert final.bytes_in_use == before.bytes_in_use
        assert final.adds_up(), final


@pytest.mark.parametrize("profile", PROFILES)
def test_account_adds_up_after_reclaim(profile: str) -> None:
    with Heap(profile=profile, decay_ms=0) as heap:
        buffers = [heap.allocate(size) for size in range(1, 100_000, 997)]
        del buffers[::2]
        heap.reclaim()
        stats = heap.stats()
        assert stats.adds_up(), stats
        assert stats.bytes_mapped_peak >= stats.bytes_mapped


def test_ratios_are_shares() -> None:
    with Heap() as heap:
        assert heap.stats().hit_rate == 1.0
        assert heap.stats().fragmentation_internal == 0.0
        buffers = [heap.allocate(33) for _ in range(1000)]
        stats = heap.stats()
        assert 0.5 < stats.hit_rate <= 1.0
        assert 0.0 < stats.fragmentation_internal < 0.7
        assert 0.0 <= stats.fragmentation_external <= 1.0
        del buffers


def test_json_carries_every_figure() -> None:
    with Heap() as heap:
        buffer = heap.allocate(77)
        stats = heap.stats()
        mine = json.loads(stats.json())
        theirs = json.loads(heap._core.stats_json())
        for name in table():
            assert mine[name] == theirs[name] == getattr(stats, name)
        assert mine["hit_rate"] == pytest.approx(stats.hit_rate)
        heap.free(buffer)


def test_classes_sum_to_the_small_tier() -> None:
    with Heap() as heap:
        buffers = [heap.allocate(size) for size in range(1, 3000, 7)]
        classes = heap.classes()
        assert len({(row.size, row.alignment) for row in classes}) == len(classes)
        assert all(row.size % row.alignment == 0 for row in classes)
        assert sum(row.allocs for row in classes) == heap.stats().small_allocs
        assert sum(row.blocks for row in classes) == len(buffers)
        del buffers


def test_process_document_names_totals_and_options() -> None:
    document = holdfast.process()
    assert document["stats"]["bytes_mapped"] >= 0
    assert set(holdfast.active_options()) <= set(document["options"])


def test_health_is_judged_from_the_figures() -> None:
    with Heap() as heap:
        health = heap.health()
        assert health
        assert health.verdict == "healthy"
        assert health.reasons == ()
        assert set(health.slabs) == {"empty", "partial", "full", "quarantined"}
        with pytest.raises(MemoryError):
            heap.allocate(1 << 60)
        strained = heap.health()
        assert strained.verdict == "strained"
        assert not strained
        assert "failed" in " ".join(strained.reasons)


def test_rss_breakdown_covers_the_process() -> None:
    parts = holdfast.rss()
    fields = {f.name: getattr(parts, f.name) for f in dataclasses.fields(parts)}
    assert sum(v for v in fields.values() if isinstance(v, int)) > 1 << 20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert pages > 0


def test_rss_is_a_function_again_and_again() -> None:
    for _ in range(2):
        assert holdfast.rss() is not None
        assert holdfast.stats() is not None
        assert holdfast.health() is not None
