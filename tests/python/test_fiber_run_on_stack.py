"""run_on_stack: the same call as without, only deeper.

Method: whatever a caller could notice (results, exceptions, tracebacks, frames, context, limits) is
compared with a plain call. What recurses in C runs in child processes whose main thread has a small
stack: once plainly, where it must die or give up, and once on a stack of its own.
"""

from __future__ import annotations

import contextvars
import json
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import holdfast
import pytest
from fiber_tools import ARENAS, HEAP, PLAIN, child, needs_fibers, ok
from holdfast import InvalidArgumentError, OutOfMemoryError, UnsupportedError, run_on_stack

pytestmark = needs_fibers

LEVELS = (64 << 20) // 1024  # that the default stack carries


def test_arguments_and_result_pass_through() -> None:
    def function(*args: object, **kwargs: object) -> object:
        return args, kwargs

    assert run_on_stack(function) == ((), {})
    assert run_on_stack(function, 1, 2, x=3, stack_size="1 MiB") == ((1, 2), {"x": 3})
    assert run_on_stack(divmod, 7, 2, stack_size=1 << 20) == (3, 1)
    many = list(range(10_000))
    assert run_on_stack(function, *many, stack_size=128 << 10) == (tuple(many), {})


def test_exception_keeps_its_traceback_and_the_frames_of_the_caller() -> None:
    def raises() -> None:
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside") as caught:
        run_on_stack(raises)
    names = [frame.name for frame in traceback.extract_tb(caught.tb)]
    here = "test_exception_keeps_its_traceback_and_the_frames_of_the_caller"
    assert names == [here, "run_on_stack", "raises"]


def test_frames_context_and_handled_exception_are_those_of_the_caller() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def look() -> tuple[object, ...]:
        variable.set(2)
        frame = sys._getframe(2)
        return variable.get(), sys.exc_info()[1], frame.f_code.co_name

    variable.set(1)
    problem = ValueError("handled outside")
    try:
        raise problem
    except ValueError:
        seen = run_on_stack(look)
    name = "test_frames_context_and_handled_exception_are_those_of_the_caller"
    assert seen == (2, problem, name)
    assert variable.get() == 2


def test_functions_of_c_see_the_frame_of_the_caller() -> None:
    local = 21
    assert run_on_stack(eval, "local * 2", {"local": local}) == 42
    assert run_on_stack(globals) is not None
    with pytest.raises(SyntaxError):
        run_on_stack(compile, "(", "<test>", "eval")


def test_generators_cross_stacks_both_ways() -> None:
    def generate() -> Iterator[int]:
        for i in range(3):
            yield run_on_stack(lambda i=i: i * 10)

    inside = generate()
    assert run_on_stack(next, inside) == 0
    assert next(inside) == 10
    assert run_on_stack(list, inside) == [20]
    with pytest.raises(StopIteration):
        run_on_stack(next, inside)


def test_calls_nest_and_restore_the_levels_of_recursion() -> None:
    def depth_left() -> int:
        try:
            return depth_left() + 1
        except RecursionError:
            return 0

    before = depth_left()
    assert run_on_stack(lambda: run_on_stack(lambda: run_on_stack(len, "abc"))) == 3
    inside = run_on_stack(lambda: run_on_stack(depth_left, stack_size="4 MiB"))
    assert inside >= 4096 - 64
    assert abs(depth_left() - before) <= 1


def test_limit_set_inside_holds_inside_and_outside() -> None:
    before = sys.getrecursionlimit()

    def deep(n: int) -> int:
        return deep(n - 1) + 1 if n else 0

    def raise_limit() -> int:
        sys.setrecursionlimit(LEVELS * 2)
        return deep(LEVELS + LEVELS // 2)

    try:
        assert run_on_stack(raise_limit, stack_size="256 MiB") == LEVELS + LEVELS // 2
        sys.setrecursionlimit(before)
        with pytest.raises(RecursionError):
            deep(before + 10)
        assert deep(before // 2) == before // 2
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("limit", [1 << 20, 100_000_000, (1 << 31) - 1])
def test_limit_set_before_the_first_call_is_no_obstacle(limit: int) -> None:
    code = """
        import sys
        sys.setrecursionlimit(int(sys.argv[1]))
        import holdfast
        deep = lambda n: deep(n - 1) + 1 if n else 0
        print(holdfast.run_on_stack(deep, 3000), holdfast.Fiber(deep).resume(100))
    """
    assert ok(code, str(limit)) == "3000 100\n"


def test_endless_recursion_is_a_recursion_error() -> None:
    def endless() -> object:
        return endless()

    def endless_through_c(_: object = None) -> object:
        return list(map(endless_through_c, [None]))

    def endless_stacks() -> object:
        return run_on_stack(endless_stacks, stack_size="128 KiB")

    for function in (endless, endless_through_c):
        with pytest.raises(RecursionError):
            run_on_stack(function, stack_size="8 MiB")
    with pytest.raises(RecursionError):
        endless_stacks()
    assert run_on_stack(len, "after") == 5


def test_threads_call_on_stacks_at_the_same_time() -> None:
    nested: list[Any] = []
    for _ in range(3000):
        nested = [nested]
    text = json.dumps(run_on_stack(json.loads, run_on_stack(json.dumps, nested)) and 1)
    assert text == "1"
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                assert len(run_on_stack(json.dumps, nested, stack_size="16 MiB")) == 6002
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    run_on_stack(nested.clear)


def test_sizes_that_are_none_are_refused() -> None:
    for size in ("64 KiB", 1, 1 << 60, "soft", -1):
        with pytest.raises((InvalidArgumentError, OverflowError)):
            run_on_stack(len, "abc", stack_size=size)
    with pytest.raises(TypeError):
        run_on_stack(len, "abc", stack_size=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        run_on_stack(len)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        run_on_stack(3)  # type: ignore[arg-type]


def test_pool_without_a_stack_left_is_out_of_memory() -> None:
    with holdfast.StackPool("128 KiB", count_max=1) as pool:
        taken = pool.take("mine")
        with pytest.raises(OutOfMemoryError):
            run_on_stack(len, "abc", stack_size=pool)  # type: ignore[arg-type]
        pool.give(taken)
        assert run_on_stack(len, "abc", stack_size=pool) == 3  # type: ignore[arg-type]


def test_warnings_point_at_the_line_that_calls() -> None:
    def warn() -> None:
        warnings.warn("deep", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run_on_stack(warn)
    assert [str(w.message) for w in seen] == ["deep"]
    assert seen[0].filename == __file__


def test_unknown_interpreter_is_refused_with_the_reason() -> None:
    code = """
        import holdfast
        from holdfast import _fiber
        _fiber._refuse("CPython 9.9.9 is not known to this build")
        for use in (lambda: holdfast.run_on_stack(len, ""), lambda: holdfast.Fiber(len)):
            try:
                use()
            except holdfast.UnsupportedError as error:
                assert isinstance(error, NotImplementedError)
                print(error)
        assert holdfast.fiber.unsupported() == "CPython 9.9.9 is not known to this build"
    """
    lines = ok(code).splitlines()
    assert len(lines) == 2
    assert all("CPython 9.9.9" in line for line in lines)
    assert issubclass(UnsupportedError, NotImplementedError)


def test_module_may_be_imported_again() -> None:
    code = """
        import sys, holdfast
        fiber = holdfast.Fiber(holdfast.suspend)
        fiber.resume()
        for name in [n for n in sys.modules if n in ("holdfast._fiber", "holdfast.fiber")]:
            del sys.modules[name]
        import holdfast.fiber
        assert holdfast.fiber.Fiber is type(fiber)
        assert fiber.resume(3) == 3
        print("good")
    """
    assert ok(code) == "good\n"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="sub-interpreters cannot import holdfast")
def test_sub_interpreter_imports_and_is_refused() -> None:
    code = """
        import holdfast, _xxsubinterpreters as subinterpreters, sys
        inner = subinterpreters.create()
        program = f"import sys; sys.path[:] = {sys.path!r}\\n" + '''
        import holdfast
        try: holdfast.Fiber(len)
        except holdfast.UnsupportedError as error: print(error)
        try: holdfast.run_on_stack(len, "")
        except holdfast.UnsupportedError as error: print(error)
        '''.replace("        ", "")
        subinterpreters.run_string(inner, program)  # before the main one has fibers, and after
        assert holdfast.Fiber(len).resume("abc") == 3
        subinterpreters.run_string(inner, program)
        assert holdfast.Fiber(len).resume("abc") == 3
    """
    assert ok(code).count("not the main interpreter") == 4


# ---- what kills a small stack ----

NEST = """
import sys
sys.setrecursionlimit({limit})
def nest(depth, wrap):
    x = wrap(())
    for _ in range(depth): x = wrap((x,))
    return x
"""
DEEP = {
    "json_dumps": "import json; x = nest(20000, list)\ndef f(): return len(json.dumps(x)) == 40002",
    "json_loads": "import json; t = '[' * 20000 + ']' * 20000\n"
    "def f(): return json.loads(t) is not None",
    "pickle": "import pickle; x = nest(20000, list)\n"
    "def f(): return pickle.loads(pickle.dumps(x)) is not None",
    "deepcopy": "import copy; x = nest(20000, list)\ndef f(): return copy.deepcopy(x) is not x",
    "repr": "x = nest(20000, list)\ndef f(): return len(repr(x)) == 40002",
    "compare": "x = nest(20000, list); y = nest(20000, list)\ndef f(): return x == y",
    "hash": "x = nest(20000, tuple)\ndef f(): return hash(x) != 0",
    "compile": "t = '+'.join(['a'] * 20000)\ndef f(): return compile(t, '<t>', 'eval') is not None",
    "ast": "import ast; t = '+'.join(['a'] * 20000)\n"
    "def f(): return isinstance(ast.parse(t, mode='eval').body, ast.BinOp)",
    "re": "import re; t = '(?:a' * 800 + ')' * 800\n"
    "def f(): return re.compile(t).match('a' * 800).end() == 800",
    "callbacks": "def down(n): return max(map(down, [n - 1])) + 1 if n else 0\n"
    "def f(): return down(5000) == 5000",
}


def deep(name: str, call: str, limit: int, through: tuple[str, ...]) -> Any:
    code = f"{NEST.format(limit=limit)}\nimport holdfast\n{DEEP[name]}\n"
    code += f"try: good = {call}\nexcept RecursionError: sys.exit(77)\n"
    code += "print('good' if good else 'bad', flush=True)\nimport os; os._exit(0)"
    return child(code, main_stack=1 << 20, through=through)


@pytest.mark.parametrize("name", DEEP)
def test_deep_recursion_in_c_works_on_a_stack_of_its_own(name: str) -> None:
    # These recurse in Python, where only the limit stops them; the others die with any limit.
    plain = deep(name, "f()", 1000 if name in ("deepcopy", "re") else 1_000_000, PLAIN)
    assert plain.returncode in (-signal.SIGSEGV, 77), plain.stderr
    result = deep(name, "holdfast.run_on_stack(f, stack_size='512 MiB')", 1000, PLAIN)
    assert result.stdout == "good\n", (result.returncode, result.stderr[-2000:])


@pytest.mark.parametrize("through", [ARENAS, HEAP], ids=["arenas", "heap"])
@pytest.mark.parametrize("name", ["json_dumps", "hash", "compile"])
def test_deep_recursion_works_under_holdfast_run(name: str, through: tuple[str, ...]) -> None:
    result = deep(name, "holdfast.run_on_stack(f, stack_size='512 MiB')", 1000, through)
    assert result.stdout == "good\n", (result.returncode, result.stderr[-2000:])
