"""errors.py - what the command line refuses, as one sentence and an exit status.

Contract    a UsageError's text is one sentence without "holdfast:" in front; main() prints it on
            stderr and leaves with `status`: 2 for what the user asked, 127 and 126 as a shell
            for a command that is not there or cannot be executed.
"""

from __future__ import annotations

import sys

__all__ = ["CANNOT_EXECUTE", "NOT_FOUND", "USAGE", "UsageError", "complain"]

USAGE = 2
CANNOT_EXECUTE = 126
NOT_FOUND = 127


class UsageError(Exception):
    """The command line asks for something that cannot be done."""

    def __init__(self, sentence: str, status: int = USAGE) -> None:
        super().__init__(sentence)
        self.status = status


def complain(sentence: str) -> None:
    """Say it on stderr, or nowhere if that is closed; never on the program's stdout."""
    if sys.stderr is not None:
        print(f"holdfast: {sentence}", file=sys.stderr, flush=True)
