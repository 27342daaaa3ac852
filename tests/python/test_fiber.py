"""Fiber and suspend: values, exceptions, and all a thread state keeps, on each side of a switch.

Method: what belongs to one line of execution (handled exceptions, context, frames, levels of
recursion, tracing) is made different inside and outside, and looked at after every kind of switch.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import functools
import inspect
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import holdfast
import pytest
from fiber_tools import needs_fibers
from holdfast import Fiber, InvalidArgumentError, suspend

pytestmark = needs_fibers


# ---- values ----


def test_values_go_both_ways() -> None:
    def body(first: int, *, second: int) -> str:
        assert suspend(first + second) == "one"
        assert suspend() is None
        return "end"

    fiber = Fiber(body)
    assert fiber.state == "new"
    assert fiber.resume(1, second=2) == 3
    assert fiber.state == "suspended"
    assert fiber.resume("one") is None
    assert fiber.resume() == "end"
    assert fiber.state == "finished"


def test_iteration_gives_what_is_suspended_with() -> None:
    def count() -> str:
        for i in range(5):
            assert suspend(i) is None
        return "result"

    assert list(Fiber(count)) == [0, 1, 2, 3, 4]
    fiber = Fiber(count)
    for expected in range(5):
        assert next(fiber) == expected
    with pytest.raises(StopIteration) as stop:
        next(fiber)
    assert stop.value.value == "result"
    with pytest.raises(StopIteration):
        next(fiber)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 5000])
def test_any_number_of_arguments_survives_the_resumer(count: int) -> None:
    def body(*args: object, **kwargs: object) -> object:
        suspend()
        return args, kwargs

    fiber = Fiber(body)
    fiber.resume(*[str(i) for i in range(count)], **{f"k{i}": str(i) for i in range(count % 40)})
    clutter = [str(i) for i in range(1000)]
    expected = tuple(str(i) for i in range(count)), {f"k{i}": str(i) for i in range(count % 40)}
    assert fiber.resume() == expected
    assert len(clutter) == 1000


def test_functions_of_c_and_types_run_in_fibers() -> None:
    assert Fiber(len).resume("abc") == 3
    assert Fiber(dict).resume(a=1) == {"a": 1}
    assert Fiber(functools.partial(divmod, 7)).resume(2) == (3, 1)
    here = 21
    assert Fiber(eval).resume("here * 2", {"here": here}) == 42
    assert Fiber(suspend).resume("straight") == "straight"
    assert isinstance(Fiber(globals).resume(), dict)
    assert Fiber(__import__).resume("json") is sys.modules["json"]


def test_names_states_and_figures_are_told() -> None:
    fiber = Fiber(suspend, name="parser-17", stack_size="1 MiB")
    assert (fiber.name, fiber.stack_size, fiber.high_water) == ("parser-17", 1 << 20, 0)
    assert repr(fiber) == "<holdfast.Fiber 'parser-17' new>"
    fiber.resume()
    assert 0 < fiber.high_water <= 1 << 20
    assert repr(fiber) == "<holdfast.Fiber 'parser-17' suspended>"
    fiber.close()
    assert fiber.high_water == 0
    assert Fiber(len).name == ""
    assert "finished" in repr(fiber)


def test_misuse_is_refused_with_a_reason() -> None:
    fiber = Fiber(suspend, name="mine")
    with pytest.raises(TypeError):
        fiber.resume(1, 2)
    fiber = Fiber(suspend, name="mine")
    fiber.resume(1)
    with pytest.raises(TypeError, match="at most one value"):
        fiber.resume(1, 2)
    with pytest.raises(TypeError, match="at most one value"):
        fiber.resume(x=1)
    fiber.resume(1)
    with pytest.raises(InvalidArgumentError, match="'mine' is finished"):
        fiber.resume()
    with pytest.raises(InvalidArgumentError, match="'mine' is finished"):
        fiber.throw(ValueError)
    assert fiber.close() is None
    with pytest.raises(InvalidArgumentError, match="outside of any fiber"):
        suspend()
    for bad in ({"function": 3}, {"function": len, "name": 3}, {"function": len, "context": {}}):
        with pytest.raises(TypeError):
            Fiber(**bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Fiber()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Fiber(len, len)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Fiber(len, size=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgumentError, match="128 KiB"):
        Fiber(len, stack_size="4 KiB")
    with holdfast.StackPool("4 KiB") as pool, pytest.raises(InvalidArgumentError, match="128 KiB"):
        Fiber(len, pool=pool)
    with pytest.raises(TypeError):
        object.__new__(Fiber)


def test_current_and_states_while_nested() -> None:
    seen: list[object] = []

    def inner() -> None:
        seen.append((Fiber.current() is second, first.state, second.state))
        with pytest.raises(InvalidArgumentError, match="is waiting"):
            first.resume()
        with pytest.raises(InvalidArgumentError, match="is running"):
            second.resume()
        with pytest.raises(InvalidArgumentError, match="is waiting"):
            first.close()
        suspend("from inner")

    def outer() -> object:
        got = second.resume()
        seen.append((Fiber.current() is first, second.state))
        suspend(got)
        second.resume()
        return None

    first, second = Fiber(outer), Fiber(inner)
    assert Fiber.current() is None
    assert first.resume() == "from inner"
    assert Fiber.current() is None
    first.resume()
    assert seen == [(True, "waiting", "running"), (True, "suspended")]
    assert (first.state, second.state) == ("finished", "finished")


def test_fibers_resume_fibers_in_any_order() -> None:
    log: list[str] = []

    def worker(name: str) -> None:
        for i in range(3):
            log.append(f"{name}{i}")
            suspend()

    fibers = [Fiber(functools.partial(worker, name)) for name in "abc"]
    for _ in range(4):
        for fiber in fibers:
            fiber.resume()
    assert log == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]
    assert all(fiber.state == "finished" for fiber in fibers)


def test_endless_nesting_is_a_recursion_error() -> None:
    def nest() -> object:
        return Fiber(nest).resume()

    with pytest.raises(RecursionError):
        nest()
    assert Fiber(len).resume("ok") == 2


# ---- exceptions ----


def test_exceptions_go_both_ways_with_tracebacks() -> None:
    def body() -> None:
        try:
            suspend()
        except LookupError as error:
            suspend(error)
        raise ValueError("out")

    fiber = Fiber(body)
    fiber.resume()
    thrown = LookupError("in")
    assert fiber.throw(thrown) is thrown
    assert thrown.__traceback__ is not None
    with pytest.raises(ValueError, match="out") as caught:
        fiber.resume()
    assert [f.name for f in traceback.extract_tb(caught.tb)][-1] == "body"
    assert fiber.state == "finished"


def test_throw_takes_classes_and_finishes_what_is_new() -> None:
    fiber = Fiber(len)
    with pytest.raises(KeyError):
        fiber.throw(KeyError)
    assert fiber.state == "finished"
    started = Fiber(suspend)
    started.resume()
    with pytest.raises(TypeError, match="neither"):
        started.throw(3)  # type: ignore[arg-type]
    assert started.state == "suspended"
    with pytest.raises(KeyboardInterrupt):
        started.throw(KeyboardInterrupt())


def test_handled_exceptions_are_each_side_s_own() -> None:
    inside, outside = ValueError("inside"), KeyError("outside")

    def body() -> object:
        assert sys.exc_info()[1] is None
        try:
            raise inside
        except ValueError:
            suspend()
            assert sys.exc_info()[1] is inside
            suspend()
            try:
                suspend()
            except LookupError as error:
                return error.__context__
        return None

    fiber = Fiber(body)
    try:
        raise outside
    except KeyError:
        fiber.resume()
        assert sys.exc_info()[1] is outside
        fiber.resume()
    assert sys.exc_info()[1] is None
    fiber.resume()
    assert fiber.throw(LookupError()) is inside
    assert sys.exc_info()[1] is None


def test_close_unwinds_and_returns_the_result() -> None:
    log: list[str] = []

    def body() -> str:
        try:
            suspend()
        except GeneratorExit:
            log.append("exit")
        finally:
            log.append("finally")
        return "closed"

    fiber = Fiber(body)
    fiber.resume()
    assert fiber.close() == "closed"
    assert log == ["exit", "finally"]
    assert fiber.close() is None
    plain = Fiber(suspend)
    plain.resume()
    assert plain.close() is None
    assert plain.state == "finished"
    assert Fiber(len).close() is None


def test_close_of_one_that_suspends_again_is_an_error() -> None:
    def stubborn() -> None:
        try:
            suspend()
        except GeneratorExit:
            suspend("no")

    fiber = Fiber(stubborn, name="stubborn")
    fiber.resume()
    with pytest.raises(RuntimeError, match="'stubborn' ignored GeneratorExit"):
        fiber.close()
    assert fiber.state == "suspended"
    fiber.resume()
    assert fiber.state == "finished"

    def raises() -> None:
        try:
            suspend()
        finally:
            raise LookupError("instead")

    other = Fiber(raises)
    other.resume()
    with pytest.raises(LookupError, match="instead"):
        other.close()


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


# ---- threads ----


def test_another_thread_is_refused() -> None:
    fiber = Fiber(suspend, name="mine")
    fiber.resume()
    errors: list[str] = []

    def other() -> None:
        for use in (fiber.resume, fiber.close, lambda: fiber.throw(ValueError)):
            try:
                use()
            except InvalidArgumentError as error:
                errors.append(str(error))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(errors) == 3
    assert all("'mine' belongs to thread" in error for error in errors)
    assert fiber.resume(3) == 3


def test_fiber_made_here_runs_where_it_is_started() -> None:
    fiber = Fiber(lambda: (threading.get_ident(), suspend(), threading.get_ident()))
    got: list[Any] = []

    def other() -> None:
        fiber.resume()
        got.append((threading.get_ident(), fiber.resume()))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    ident, (before, _, after) = got[0]
    assert before == after == ident


def test_greenlets_live_inside_a_fiber_and_around_it() -> None:
    greenlet = pytest.importorskip("greenlet")

    def in_greenlet() -> str:
        other = greenlet.getcurrent().parent
        assert other.switch("first") == "again"
        return "last"

    def body() -> list[object]:
        inner = greenlet.greenlet(in_greenlet)
        return [inner.switch(), suspend("out"), inner.switch("again")]

    # The first greenlet of a thread is the one that is running: made known outside of fibers.
    greenlet.getcurrent()
    fiber = Fiber(body, stack_size="1 MiB")
    assert fiber.resume() == "out"
    assert fiber.resume("in") == ["first", "in", "last"]
    assert holdfast.run_on_stack(greenlet.greenlet(len).switch, "abc") == 3

    def resumes() -> object:
        inner = Fiber(lambda: (suspend(1), 2)[1])
        values = [inner.resume()]
        greenlet.getcurrent().parent.switch("pause")
        return [*values, inner.resume()]

    outer = greenlet.greenlet(resumes)
    assert outer.switch() == "pause"
    assert outer.switch() == [1, 2]
