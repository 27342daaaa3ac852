"""explain.py - each kind of corruption in words: what happened, and where to look first.

The kinds are those of include/holdfast/report.def, the anchors those of docs/failure-modes.md.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["KINDS", "Explanation", "explain"]

MANUAL = "docs/failure-modes.md"


class Explanation(NamedTuple):
    """`sentence` says what was found, `meaning` what usually causes it, `look` where to begin."""

    anchor: str
    sentence: str
    meaning: str
    look: str


KINDS = {
    "OVERFLOW": Explanation(
        "overflow",
        "bytes after the end of the block were overwritten",
        "Code that fills this block wrote past its end: a loop that runs one too far, a missing "
        "terminator, a size computed too small.",
        "Start at the line that allocated the block: who asks for that size, and who fills it?",
    ),
    "UNDERFLOW": Explanation(
        "underflow",
        "bytes before the start of the block were overwritten",
        "Code wrote below the block it holds: a negative index, or a pointer moved back too far.",
        "Look at the code that works on this block, or on the one before it in memory.",
    ),
    "DOUBLE_FREE": Explanation(
        "double-free",
        "the block was freed twice",
        "Two owners think the block is theirs, or an error path frees what the normal path frees "
        "as well.",
        "Compare the two places that freed it; one of them must let go without freeing.",
    ),
    "INVALID_FREE": Explanation(
        "invalid-free",
        "the pointer does not belong to any block of this heap",
        "The pointer was never allocated: it is uninitialised, was overwritten, or points to the "
        "stack or to static data.",
        "Look at where the code that frees got its pointer from.",
    ),
    "INTERIOR_FREE": Explanation(
        "interior-free",
        "the pointer is inside a block, not at its start",
        "The pointer was moved after it was allocated and then freed where it had come to.",
        "Keep the pointer that was returned; free that one.",
    ),
    "FOREIGN_FREE": Explanation(
        "foreign-free",
        "the pointer belongs to another heap or allocator",
        "A library frees what another one allocated with an allocator of its own.",
        "Free it with the function that belongs to the one that allocated it.",
    ),
    "SIZE_MISMATCH": Explanation(
        "size-mismatch",
        "the size given to free is not the size that was allocated",
        "A sized delete names another type than the one that was made, or a base class without "
        "a virtual destructor.",
        "Compare the types at the allocation and at the free.",
    ),
    "DOMAIN_MISMATCH": Explanation(
        "domain-mismatch",
        "the block was allocated by one family of functions and freed by another",
        "malloc goes with free, PyMem_Malloc with PyMem_Free, PyObject_Malloc with PyObject_Free; "
        "mixing them works by luck and only in some builds of Python.",
        "Change the free to the family that allocated the block.",
    ),
    "USE_AFTER_FREE": Explanation(
        "use-after-free",
        "the block was written to after it was freed",
        "Somebody kept a pointer to the block and wrote through it after another owner freed it.",
        "Find who still holds the pointer: the line that freed it is where its life should end.",
    ),
    "METADATA": Explanation(
        "metadata",
        "the allocator's own bookkeeping was overwritten",
        "A wild write hit the heap's own records. Neither block nor line can be told from it.",
        "Run again with --profile=debug: guard pages stop such a write where it happens.",
    ),
    "STACK_OVERFLOW": Explanation(
        "stack-overflow",
        "a stack ran into the guard below it",
        "The recursion on this stack was deeper, or a local array larger, than the stack is.",
        "Look at the innermost frames: which function repeats? Else give the stack more room.",
    ),
    "STACK_GUARD": Explanation(
        "stack-guard",
        "the guard of a stack was accessed by code that does not run on that stack",
        "A pointer to a local variable of a fiber was moved too far, or is stale; or a frame "
        "larger than the guard jumped over it.",
        "Look at the code that faulted: where did it get its pointer from?",
    ),
}

UNKNOWN = Explanation("", "memory was overwritten", "This kind is newer than this report.", "")


def explain(kind: str) -> Explanation:
    """Explain a kind of report; in general words for a kind that is not known here."""
    return KINDS.get(kind, UNKNOWN)
