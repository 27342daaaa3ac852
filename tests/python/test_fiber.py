"""Fiber and suspend: values, states and exceptions on each side of a switch, and threads.

Method: both sides write down what they get, and what they handle; the two are compared after every
kind of switch. What else a thread state keeps is looked at in test_fiber_frames.py.
"""

from __future__ import annotations

import functools
import sys
import threading
import traceback
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
