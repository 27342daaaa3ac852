"""Random programs over many fibers, compared with a model that knows no stacks.

Method: each fiber obeys commands (go deeper through C, return, handle an exception, set a context
variable, be thrown into, resume another fiber from inside) and tells after each what it sees of
itself. The model keeps the same for each fiber in a plain list. A failing seed is printed.
"""

from __future__ import annotations

import contextvars
import functools
import gc
import random
import sys
from dataclasses import dataclass, field

import pytest
from fiber_tools import needs_fibers
from holdfast import Fiber, StackPool, suspend

pytestmark = needs_fibers

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


class Thrown(Exception):
    """What is thrown in."""


class Handled(Exception):
    """What is being handled."""


def obey(depth: int, seen: tuple[object, ...] = ()) -> tuple[str, object]:
    """Follow commands at this depth until told to return."""
    handled = sys.exc_info()[1]
    while True:
        at = handled.args[0] if isinstance(handled, Handled) else None
        try:
            command, value = suspend((depth, VARIABLE.get(), at, seen))
        except Thrown as thrown:
            seen = ("thrown", thrown.args[0])
            continue
        seen = ()
        if command == "deeper":
            seen = next(map(obey, (depth + 1,)))
        elif command == "handle":
            try:
                raise Handled(value)
            except Handled:
                seen = sorted([1], key=lambda _: obey(depth + 1)) and ("handled", value)
        elif command == "set":
            VARIABLE.set(value)
        elif command == "other":
            seen = ("other", value.fiber.resume(("set", value.number)))
            value = None  # or this frame keeps the other fiber alive
        elif command == "return":
            return ("returned", value)


@dataclass
class Model:
    """What one fiber should say of itself."""

    number: int
    fiber: Fiber
    variable: int = 0
    levels: list[tuple[int | None, object]] = field(default_factory=lambda: [(None, ())])

    def says(self, seen: object = ()) -> tuple[object, ...]:
        return (len(self.levels), self.variable, self.levels[-1][0], seen)


def step(rng: random.Random, model: Model, models: list[Model]) -> None:
    """One command to one fiber, and what it must say."""
    value = rng.randrange(1000)
    kind = rng.choice(["deeper", "handle", "set", "throw", "other", "return", "return"])
    if kind == "throw":
        assert model.fiber.throw(Thrown(value)) == model.says(("thrown", value))
    elif kind == "other":
        other = rng.choice(models)
        if other is model:
            return
        other.variable = other.number
        got = model.fiber.resume(("other", other))
        assert got == model.says(("other", other.says()))
    elif kind == "return":
        if len(model.levels) == 1:
            return
        was = model.levels.pop()[1]
        assert model.fiber.resume(("return", value)) == model.says(
            was if was else ("returned", value)
        )
    else:
        if len(model.levels) > 60 and kind != "set":
            return
        if kind == "set":
            model.variable = value
        elif kind == "deeper":
            model.levels.append((model.levels[-1][0], ()))
        else:
            model.levels.append((value, ("handled", value)))
        assert model.fiber.resume((kind, value)) == model.says()


def play(seed: int, count: int) -> None:
    """A program of so many commands."""
    rng = random.Random(seed)
    with StackPool("256 KiB", name="model") as pool:
        models: list[Model] = []
        for _ in range(count):
            if len(models) < 5 or rng.random() < 0.05:
                fiber = Fiber(functools.partial(obey, 1), pool=pool)
                models.append(Model(len(models), fiber, VARIABLE.get()))
                assert fiber.resume() == models[-1].says()
            elif rng.random() < 0.03:
                gone = models.pop(rng.randrange(len(models)))
                if rng.random() < 0.5:
                    assert gone.fiber.close() is None
                del gone
            else:
                step(rng, rng.choice(models), models)
            if rng.random() < 0.01:
                gc.collect()
            assert VARIABLE.get() == 0
            assert sys.exc_info()[1] is None
        fiber = models[-1].fiber
        gc.collect()
        assert pool.in_use == len(models)
        models.clear()
        del fiber
        gc.collect()
        assert pool.in_use == 0


@pytest.mark.parametrize("seed", range(4))
def test_random_programs_agree_with_the_model(seed: int) -> None:
    play(seed, 1500)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 1040))
def test_many_random_programs_agree_with_the_model(seed: int) -> None:
    play(seed, 20_000)
