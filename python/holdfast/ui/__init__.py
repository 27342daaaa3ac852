"""What people read: one document, two ways to print it.

collect.document() --> document.sections() --> terminal.py (rich, colours)   stderr is a terminal
                                           --> plain.py    (text)            anything else
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

__all__ = ["show"]


def show(found: Mapping[str, Any], file: TextIO) -> None:
    """Print the report of a run on `file`, in the way that suits it."""
    from holdfast.ui import document

    sections = document.sections(found)
    if file.isatty():
        try:
            from holdfast.ui import terminal
        except ImportError:  # rich is not installed: the text says the same
            pass
        else:
            terminal.render(sections, file)
            return
    from holdfast.ui import plain

    plain.render(sections, file)
