"""Programs on arenas against a model: allocate, fill, scope, leave, reset, borrow, let die.

Method: hypothesis draws programs; the model knows which arrays are alive, in which scope they were
made and what they hold. After each step every living array still holds its own pattern, counts and
refusals are the model's. Orders of closing: owners, blocks, views and contexts die in any order and
no view ever shows another's bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from holdfast import Arena, BusyError, Heap, InvalidArgumentError, OutOfMemoryError, mr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

np = pytest.importorskip("numpy")
hnp = pytest.importorskip("holdfast.numpy")

LIMIT = 4 << 20
SIZES = st.sampled_from([0, 1, 7, 100, 1000, 1050, 8000, 100_000])


def refused(call: Callable[[], None]) -> int:
    """Count of the BusyError, whose traceback must not keep the arrays alive."""
    try:
        call()
    except BusyError as error:
        return error.count
    raise AssertionError("nobody refused")


@dataclass
class Held:
    """One array of the model."""

    array: Any
    mark: int


@dataclass
class Level:
    """One open scope of the model."""

    scope: Any
    arrays: list[Held] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)


class Programs(RuleBasedStateMachine):
    """The arena, the model, and what both say."""

    def __init__(self) -> None:
        super().__init__()
        self.arena = Arena("64K", LIMIT, name="model")
        self.levels = [Level(None)]
        self.marks = 0

    def _hold(self, array: Any) -> None:
        self.marks = self.marks % 250 + 1
        array[...] = self.marks
        self.levels[-1].arrays.append(Held(array, self.marks))

    def _live(self) -> int:
        return sum(len(level.arrays) for level in self.levels)

    @rule(size=SIZES, align=st.sampled_from([64, 256, 4096]))
    def make(self, size: int, align: int) -> None:
        # A freed block that is reused belongs to its own scope: only make where none is free.
        try:
            array = self.arena.array(size, "u1", align=align)
        except OutOfMemoryError:
            return
        assert array.ctypes.data % align == 0
        self._hold(array)

    @rule(size=SIZES)
    def make_inside_numpy(self, size: int) -> None:
        with hnp.allocator(self.arena):
            try:
                array = np.zeros(size, "u1")
            except MemoryError:
                return
        assert not array.any()
        self._hold(array)

    @rule(size=st.sampled_from([1, 100, 5000]))
    def make_buffer(self, size: int) -> None:
        try:
            self.levels[-1].buffers.append(self.arena.allocate(size))
        except OutOfMemoryError:
            return

    @precondition(lambda self: self.levels[-1].arrays)
    @rule(data=st.data())
    def let_die(self, data: st.DataObject) -> None:
        arrays = self.levels[-1].arrays
        arrays.pop(data.draw(st.integers(0, len(arrays) - 1)))

    @precondition(lambda self: self.levels[-1].arrays)
    @rule(data=st.data(), size=SIZES)
    def resize(self, data: st.DataObject, size: int) -> None:
        arrays = self.levels[-1].arrays
        held = arrays.pop(data.draw(st.integers(0, len(arrays) - 1)))
        if len(self.levels) > 1:
            return  # it may come to live in another scope: it dies instead
        before = held.array.size
        try:
            held.array.resize(size, refcheck=False)
        except MemoryError:
            arrays.append(held)
            return
        assert (held.array[: min(before, size)] == held.mark).all()
        assert not held.array[before:].any()
        held.array[...] = held.mark
        arrays.append(held)

    @precondition(lambda self: len(self.levels) < 5)
    @rule()
    def enter(self) -> None:
        # Free blocks below the mark would serve arrays that then live in a scope further down.
        self.levels.append(Level(self.arena.scope().__enter__()))

    @precondition(lambda self: len(self.levels) > 1)
    @rule()
    def leave_empty(self) -> None:
        level = self.levels.pop()
        level.arrays.clear()
        level.scope.__exit__(None, None, None)
        for buffer in level.buffers:
            with pytest.raises(InvalidArgumentError):
                memoryview(buffer)

    @precondition(lambda self: len(self.levels) > 1)
    @rule()
    def leave(self) -> None:
        level = self.levels.pop()
        inside = level.scope.live
        assert inside <= len(level.arrays)
        if inside:
            assert refused(lambda: level.scope.__exit__(None, None, None)) == inside
            self.levels[-1].buffers += level.buffers
        else:
            level.scope.__exit__(None, None, None)
        self.levels[-1].arrays += level.arrays

    @precondition(lambda self: len(self.levels) == 1)
    @rule(release=st.booleans(), drop=st.booleans())
    def reset(self, release: bool, drop: bool) -> None:
        if drop:
            self.levels[0].arrays.clear()
        live = self._live()
        if live:
            assert refused(lambda: self.arena.reset(release)) == live
            return
        self.arena.reset(release)
        for buffer in self.levels[0].buffers:
            assert buffer.released
        self.levels[0].buffers.clear()

    @rule()
    def close_refuses(self) -> None:
        if self._live():
            assert refused(self.arena.close) == self._live()

    @invariant()
    def everybody_holds_what_he_wrote(self) -> None:
        assert self.arena.borrows == self._live()
        for level in self.levels:
            for held in level.arrays:
                assert (held.array == held.mark).all()
            for buffer in level.buffers:
                with memoryview(buffer):
                    pass
        assert self.arena.stats().adds_up()
        assert self.arena.figures().bytes_in_use <= LIMIT

    def teardown(self) -> None:
        while len(self.levels) > 1:
            self.leave_empty()
        self.levels.clear()
        self.arena.close()


Programs.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestPrograms = Programs.TestCase


class TestProgramsNightly(Programs.TestCase):  # type: ignore[name-defined,misc]
    """The same, much longer."""

    pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]
    settings = settings(max_examples=1500, stateful_step_count=80, deadline=None)


@settings(max_examples=80, deadline=None)
@given(
    owner=st.sampled_from(["arena", "heap", "resource", "scope"]),
    order=st.permutations(["owner", "block", "array", "view", "memory", "handler"]),
)
def test_orders_of_dying_never_dangle(owner: str, order: list[str]) -> None:
    made: Any = {
        "arena": lambda: Arena("1M"),
        "scope": lambda: Arena("1M"),
        "heap": Heap,
        "resource": lambda: mr.Statistics(mr.Arena("1M")),
    }[owner]()
    alive: dict[str, Any] = {"owner": made, "handler": hnp.allocator(made)}
    scope = made.scope().__enter__() if owner == "scope" else None
    with alive["handler"]:
        array = np.arange(3000)
    alive |= {"block": scope, "array": array, "view": array[10:], "memory": memoryview(array)}
    del made, array, scope
    others = []
    for name in order:
        if name == "block" and alive["block"] is not None:
            held = [n for n in ("array", "view", "memory") if n in alive]
            if held:
                assert refused(lambda: alive["block"].__exit__(None, None, None)) == 1
            else:
                alive["block"].__exit__(None, None, None)
        del alive[name]
        # Whatever is free now would be taken by these.
        others.append(np.full(3000, -1))
        if "owner" in alive and "handler" in alive:
            with alive["handler"]:
                np.full(3000, -1)
        if "array" in alive:
            assert alive["array"][2999] == 2999
            assert alive["array"].sum() == 3000 * 2999 // 2
        if "view" in alive:
            assert alive["view"][-1] == 2999
        if "memory" in alive:
            assert alive["memory"][1234] == 1234
