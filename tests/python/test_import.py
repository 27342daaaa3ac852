"""Import: the package loads little, has every public name, and its functions stay its own.

Method: fresh interpreters; what is loaded is read from sys.modules.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import holdfast

FUNCTIONS = ("health", "owners", "rss", "scope", "stats")  # that are modules, too


def ask(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_import_loads_only_the_core_and_the_errors() -> None:
    loaded = ask("import sys, holdfast; print(*sorted(m for m in sys.modules if 'holdfast.' in m))")
    assert loaded == "holdfast._core holdfast.errors"


def test_every_public_name_is_found_without_importing_its_module() -> None:
    code = "import holdfast\nfor name in holdfast.__all__: getattr(holdfast, name)"
    assert ask(code + "\nprint(set(holdfast.__all__) - set(dir(holdfast)))") == "set()"


def test_public_name_comes_from_the_module_that_lists_it() -> None:
    for home, names in holdfast._HOMES.items():
        module = importlib.import_module(f"holdfast.{home}")
        for name in names:
            assert name in module.__all__
            assert getattr(holdfast, name) is getattr(module, name)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(holdfast.__file__).read_text())
    seen = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    at_home = {(f"holdfast.{home}", name) for name, home in holdfast._HOME_OF.items()}
    assert seen == at_home | {("holdfast", "mr"), ("holdfast", "numpy"), ("holdfast", "shm")}


def test_module_is_found_without_importing_it() -> None:
    names = sorted(set(holdfast._HOMES) - set(FUNCTIONS))
    kinds = ", ".join(f"type(holdfast.{name}).__name__" for name in names)
    assert ask(f"import holdfast; print({kinds})") == " ".join(["module"] * len(names))


def test_function_stays_when_a_module_of_its_name_is_imported() -> None:
    before = "; ".join(f"import holdfast.{name}" for name in FUNCTIONS)
    kinds = ", ".join(f"type(holdfast.{name}).__name__" for name in FUNCTIONS)
    assert ask(f"{before}; print({kinds})") == " ".join(["function"] * len(FUNCTIONS))


def test_unknown_name_raises_attribute_error() -> None:
    assert ask("import holdfast; print(hasattr(holdfast, 'nothing'))") == "False"
