"""show.py - the commands that only show something: `report`, `explain`, `options`.

Talks to    ui, holdfast._core (options).   Called by main.py.
Fails with  UsageError: a file that is no report, a kind or option that does not exist.
"""

from __future__ import annotations

import json
import sys
import textwrap

from holdfast.cli import settings
from holdfast.cli.collect import SCHEMA, SCHEMA_VERSION
from holdfast.cli.errors import UsageError

__all__ = ["explain", "options", "report"]


def report(words: list[str]) -> int:
    """`holdfast report FILE`: show again what `run --json FILE` wrote."""
    if len(words) != 1:
        raise UsageError("usage: holdfast report FILE")
    try:
        with open(words[0], encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{words[0]} cannot be read: {reason}") from None
    except ValueError:
        raise UsageError(f"{words[0]} is not JSON") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise UsageError(f"{words[0]} is not a report of holdfast run --json")
    if found.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(
            f"{words[0]} has schema version {found.get('schema_version')}; "
            f"this holdfast reads {SCHEMA_VERSION}"
        )
    from holdfast import ui

    try:
        ui.show(found, sys.stdout)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UsageError(f"{words[0]} is a damaged report: parts of it are missing") from None
    return 0


def explain(words: list[str]) -> int:
    """`holdfast explain [KIND]`: what a kind of corruption means."""
    from holdfast.ui.explain import KINDS, MANUAL

    if not words:
        width = max(map(len, KINDS)) + 2
        for kind, words_of in KINDS.items():
            print(f"{kind:<{width}}{words_of.sentence}")
        return 0
    name = words[0].upper().replace("-", "_")
    if name not in KINDS:
        raise UsageError(f"there is no kind {words[0]}; holdfast explain lists them")
    found = KINDS[name]
    print(f"{name}: {found.sentence}\n")
    print(textwrap.fill(f"{found.meaning} {found.look}", 78))
    print(f"\nsee {MANUAL}#{found.anchor}")
    return 0


def options(words: list[str]) -> int:
    """`holdfast options`: every option of the library, with its choices and default."""
    if words:
        raise UsageError("usage: holdfast options")
    module = settings.core()
    if module is None:
        raise UsageError("the native module of holdfast cannot be loaded, so it cannot be asked")
    for name, kind, default, choices, low, high, sentence in module.options_table():
        if kind == "enum":
            values = "|".join(choices)
        elif high >= 2**64 - 1:
            values = "SIZE" if kind == "size" else "NUMBER"
        else:
            values = f"{low}..{high}"
        print(f"{name}={values}  [{default}]")
        print(textwrap.indent(textwrap.fill(sentence, 74), "    "))
    return 0
