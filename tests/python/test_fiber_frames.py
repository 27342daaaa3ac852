"""What a thread state keeps for each side of a switch: context, frames, recursion, tracing.

Method: what belongs to one line of execution is made different inside and outside, and looked at
after every kind of switch; then everything else that has frames of its own crosses fibers.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import functools
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import holdfast
import pytest
from fiber_tools import needs_fibers
from holdfast import Fiber, suspend

pytestmark = needs_fibers


# ---- context, frames, recursion ----


def test_context_is_a_copy_and_isolated() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def body() -> list[str]:
        seen = [variable.get()]
        variable.set("inside")
        suspend()
        seen.append(variable.get())
        contextvars.copy_context().run(lambda: (variable.set("deeper"), suspend()))
        seen.append(variable.get())
        return seen

    variable.set("outside")
    fiber = Fiber(body)
    variable.set("changed later")
    fiber.resume()
    assert variable.get() == "changed later"
    fiber.resume()
    assert variable.get() == "changed later"
    assert fiber.resume() == ["outside", "inside", "inside"]

    own = contextvars.copy_context()
    own.run(variable.set, "own")
    assert Fiber(variable.get, context=own).resume() == "own"
    assert Fiber(functools.partial(variable.set, "written"), context=own).resume() is not None
    assert own[variable] == "written"


def test_frames_lead_to_the_resumer_while_running_only() -> None:
    frames: list[FrameType | None] = []

    def body() -> None:
        frame = sys._getframe()
        frames.append(frame)
        names.append([f.function for f in inspect.stack()[:2]])
        suspend()
        names.append([f.function for f in inspect.stack()[:2]])

    names: list[list[str]] = []
    fiber = Fiber(body)

    def first() -> None:
        fiber.resume()

    def second() -> None:
        fiber.resume()

    first()
    assert fiber.frame is frames[0]
    assert fiber.frame is not None
    assert fiber.frame.f_back is None
    assert "suspend()" in traceback.format_stack(fiber.frame)[-1]
    second()
    assert names == [["body", "first"], ["body", "second"]]
    assert fiber.frame is None


def test_warnings_point_at_the_resumer() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Fiber(lambda: warnings.warn("one", stacklevel=2)).resume()
        Fiber(warnings.warn).resume("two")
    assert [w.filename for w in seen] == [__file__, __file__]


def test_recursion_is_counted_apart() -> None:
    def down(n: int) -> int:
        if n == 0:
            suspend()
            return 0
        return down(n - 1) + 1

    def depth_left() -> int:
        try:
            return depth_left() + 1
        except RecursionError:
            return 0

    before = depth_left()
    fibers = [Fiber(functools.partial(down, 500)) for _ in range(20)]
    for fiber in fibers:
        fiber.resume()
    assert abs(depth_left() - before) <= 1
    inside = Fiber(depth_left).resume()
    assert inside >= sys.getrecursionlimit() - 50
    assert [fiber.resume() for fiber in fibers] == [500] * 20
    assert Fiber(down, stack_size="32 MiB").resume(20_000) is None
    with pytest.raises(RecursionError):
        Fiber(down, stack_size="1 MiB").resume(20_000)


def test_limit_changed_while_suspended_holds() -> None:
    def depth_left() -> int:
        try:
            return depth_left() + 1
        except RecursionError:
            return 0

    def body() -> int:
        suspend()
        return depth_left()

    before = sys.getrecursionlimit()
    fiber = Fiber(body)
    fiber.resume()
    try:
        sys.setrecursionlimit(before + 1000)
        assert fiber.resume() >= before + 900
    finally:
        sys.setrecursionlimit(before)


# ---- what else has frames ----


def test_generators_cross_fibers() -> None:
    def generate() -> Iterator[int]:
        for i in range(4):
            suspend(f"in {i}")
            yield i

    shared = generate()

    def body() -> list[int]:
        return [next(shared), next(shared)]

    one, two = Fiber(body), Fiber(body)
    assert one.resume() == "in 0"
    with pytest.raises(ValueError, match="already executing"):
        two.resume()
    assert one.resume() == "in 1"
    assert one.resume() == [0, 1]
    three = Fiber(body)
    assert three.resume() == "in 2"
    assert three.resume() == "in 3"
    assert three.resume() == [2, 3]


def test_suspending_inside_comprehensions_sorts_and_callbacks() -> None:
    def key(x: int) -> int:
        return suspend(x)

    def body() -> tuple[list[int], list[int], list[int]]:
        made = [suspend(("list", i)) for i in range(3)]
        ordered = sorted([3, 1, 2], key=key)
        values = (ctypes.c_int * 4)(4, 2, 3, 1)
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)
        )

        def compare(a: Any, b: Any) -> int:
            suspend(("qsort",))
            return a[0] - b[0]

        ctypes.CDLL(None).qsort(values, 4, ctypes.sizeof(ctypes.c_int), kind(compare))
        return made, ordered, list(values)

    fiber = Fiber(body, stack_size="1 MiB")
    value = fiber.resume()
    count = 0
    while fiber.state != "finished":
        value = fiber.resume(-value if isinstance(value, int) else value)
        count += 1
    assert value == ([("list", 0), ("list", 1), ("list", 2)], [3, 2, 1], [1, 2, 3, 4])
    assert count >= 9


def test_suspending_inside_dunder_methods_and_class_bodies() -> None:
    class Slow:
        def __eq__(self, other: object) -> bool:
            return bool(suspend("eq"))

        def __hash__(self) -> int:
            return suspend("hash")

        def __repr__(self) -> str:
            return suspend("repr")

        def __del__(self) -> None:
            suspend("del")

    def body() -> object:
        table = {Slow(): 1}
        text = repr(list(table))
        table.clear()

        class Inner:
            value = suspend("class")

        return text, Inner.value

    fiber = Fiber(body)
    assert fiber.resume() == "hash"
    assert fiber.resume(7) == "repr"
    assert fiber.resume("slow") == "del"
    assert fiber.resume() == "class"
    assert fiber.resume(5) == ("[slow]", 5)


def test_coroutines_suspend_inside_fibers() -> None:
    async def child(n: int) -> int:
        suspend(("child", n))
        await asyncio.sleep(0)
        return n * 2

    async def main() -> list[int]:
        return await asyncio.gather(child(1), child(2))

    fiber = Fiber(asyncio.run, stack_size="1 MiB")
    assert fiber.resume(main()) == ("child", 1)
    assert fiber.resume() == ("child", 2)
    assert fiber.resume() == [2, 4]


def test_fibers_run_inside_coroutines() -> None:
    async def main() -> list[int]:
        fiber = Fiber(lambda: [suspend(i) for i in range(3)])
        values = []
        while True:
            value = fiber.resume()
            await asyncio.sleep(0)
            if fiber.state == "finished":
                return values
            values.append(value)

    assert asyncio.run(main()) == [0, 1, 2]


def test_run_on_stack_suspends_with_the_fiber_around_it() -> None:
    def body() -> object:
        return holdfast.run_on_stack(lambda: (suspend("deep"), 1), stack_size="8 MiB")

    fiber = Fiber(body)
    assert fiber.resume() == "deep"
    assert holdfast.run_on_stack(fiber.resume, "x") == ("x", 1)


def test_fibers_suspended_in_calls_on_stacks_are_beside_each_other() -> None:
    def body() -> object:
        return holdfast.run_on_stack(suspend, stack_size="128 KiB")

    fibers = [Fiber(body, stack_size="128 KiB") for _ in range(sys.getrecursionlimit() + 10)]
    for fiber in fibers:
        fiber.resume()
    assert [fiber.resume(i) for i, fiber in enumerate(fibers)] == list(range(len(fibers)))


# ---- tracing ----


def _lines(function: Callable[[], object], install: Callable[[Any], None]) -> list[tuple[str, str]]:
    events: list[tuple[str, str]] = []

    def hook(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename == __file__:
            events.append((event, frame.f_code.co_name))
        return hook

    install(hook)
    try:
        function()
    finally:
        install(None)
    return events


def test_settrace_and_setprofile_see_both_sides() -> None:
    def traced_body() -> None:
        suspend()
        len(())

    def work() -> None:
        fiber = Fiber(traced_body)
        fiber.resume()
        fiber.resume()

    for install, event in ((sys.settrace, "line"), (sys.setprofile, "return")):
        events = _lines(work, install)
        names = [name for kind, name in events if kind == event]
        assert "traced_body" in names
        assert "work" in names
        assert ("call", "traced_body") in events
        assert names.index("traced_body") < len(names) - 1 - names[::-1].index("work")


def test_tracing_switched_on_while_suspended_reaches_the_fiber() -> None:
    def callee() -> None:
        pass

    def traced_body() -> None:
        suspend()
        callee()

    fiber = Fiber(traced_body)
    fiber.resume()
    assert ("call", "callee") in _lines(fiber.resume, sys.settrace)
    after = Fiber(traced_body)
    assert _lines(after.resume, sys.settrace) != []
    after.resume()
    assert sys.gettrace() is None


def test_suspending_inside_a_trace_function_leaves_tracing_on_outside() -> None:
    events: list[str] = []

    def hook(frame: FrameType, event: str, arg: object) -> Any:
        events.append(frame.f_code.co_name)
        if frame.f_code.co_name == "inner_traced" and Fiber.current() is not None:
            suspend("in trace")
        return None

    def inner_traced() -> str:
        return "done"

    def outer_traced() -> None:
        pass

    fiber = Fiber(inner_traced)
    sys.settrace(hook)
    try:
        assert fiber.resume() == "in trace"
        outer_traced()
        assert fiber.resume() == "done"
        outer_traced()
    finally:
        sys.settrace(None)
    assert events.count("outer_traced") == 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
def test_monitoring_sees_fibers() -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined]
    seen: list[str] = []

    def watched() -> None:
        suspend()

    fiber = Fiber(watched)
    monitoring.use_tool_id(3, "test")
    try:
        monitoring.register_callback(
            3, monitoring.events.PY_START, lambda c, o: seen.append(c.co_name)
        )
        monitoring.register_callback(
            3, monitoring.events.PY_RETURN, lambda c, o, v: seen.append("-" + c.co_name)
        )
        monitoring.set_events(3, monitoring.events.PY_START | monitoring.events.PY_RETURN)
        fiber.resume()
        fiber.resume()
    finally:
        monitoring.set_events(3, 0)
        monitoring.free_tool_id(3)
    assert [name for name in seen if "watched" in name] == ["watched", "-watched"]
