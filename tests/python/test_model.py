"""Programs of allocate, resize, free and check, against a model, for every profile.

Method: hypothesis writes the program. After each step each living block is compared with a model:
inside what the heap manages, disjoint from all others, aligned, its content intact. At the end
the account adds up and nothing lives.
"""

from __future__ import annotations

import gc
import itertools
from dataclasses import dataclass

import holdfast
import pytest
from holdfast import _core
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

SIZES = st.one_of(
    st.integers(0, 64),
    st.integers(65, 2048),
    st.integers(2049, 40_000),
    st.sampled_from([32_768, 65_536, 500_000, 1 << 20, 3 << 20]),
)
ALIGNS = st.sampled_from([1, 8, 16, 32, 64, 256, 4096])


@dataclass
class Held:
    buffer: holdfast.Buffer
    content: bytes
    align: int


class Program(RuleBasedStateMachine):
    profile = "checked"
    extra: dict[str, str | int | bool] = {}

    def __init__(self) -> None:
        super().__init__()
        self.heap = holdfast.Heap(profile=self.profile, **self.extra)
        self.held: list[Held] = []
        self.salt = 0

    def pattern(self, size: int) -> bytes:
        self.salt = (self.salt + 1) % 251
        return bytes([self.salt]) * size

    @rule(size=SIZES, align=ALIGNS)
    def allocate(self, size: int, align: int) -> None:
        buffer = self.heap.allocate(size, align)
        content = self.pattern(size)
        memoryview(buffer)[:] = content
        self.held.append(Held(buffer, content, align))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 1 << 16), size=SIZES)
    def resize(self, which: int, size: int) -> None:
        held = self.held[which % len(self.held)]
        self.heap.resize(held.buffer, size)
        kept = min(size, len(held.content))
        assert bytes(memoryview(held.buffer)[:kept]) == held.content[:kept]
        held.content = self.pattern(size)
        memoryview(held.buffer)[:] = held.content

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 1 << 16))
    def free(self, which: int) -> None:
        held = self.held.pop(which % len(self.held))
        assert bytes(memoryview(held.buffer)) == held.content
        self.heap.free(held.buffer)

    @rule()
    def check(self) -> None:
        assert self.heap.check() == 0

    @rule()
    def reclaim(self) -> None:
        assert self.heap.reclaim() >= 0

    @invariant()
    def blocks_are_inside_disjoint_and_aligned(self) -> None:
        spans = sorted((h.buffer.address, h.buffer.size) for h in self.held)
        for (start, size), (following, _) in itertools.pairwise(spans):
            assert start + max(size, 1) <= following
        for held in self.held:
            assert _core.owns(held.buffer.address)
            assert held.buffer.address % max(held.align, 16) == 0

    def teardown(self) -> None:
        assert all(bytes(memoryview(held.buffer)) == held.content for held in self.held)
        stats = self.heap.stats()
        assert stats.blocks_in_use == len(self.held)
        if self.profile != "fast":
            assert stats.bytes_in_use == sum(len(h.content) for h in self.held)
        assert stats.adds_up(), stats
        assert stats.reports == 0
        self.held.clear()
        gc.collect()
        assert self.heap.check() == 0
        assert self.heap.stats().blocks_in_use == 0
        self.heap.close()


VARIANTS: list[tuple[str, dict[str, str | int | bool]]] = [
    ("fast", {}),
    ("checked", {}),
    ("hardened", {}),
    ("debug", {"guard_every": 3}),
    ("checked", {"zero_on_free": True, "fit": "best", "cache_bytes": 0}),
    ("checked", {"reclaim": "serial", "reclaim_every": 1, "decay_ms": 0, "fit": "next"}),
]


@pytest.mark.parametrize(("profile", "extra"), VARIANTS, ids=str)
def test_programs_agree_with_the_model(profile: str, extra: dict[str, str | int | bool]) -> None:
    machine = type(f"Program_{profile}", (Program,), {"profile": profile, "extra": extra})
    case = machine.TestCase
    case.settings = settings(
        max_examples=60,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    case().runTest()
