"""fiber.py - functions that stop in the middle, at any depth, and go on later.

    resumer:  fiber.resume(value) ──────┐          ┌──► what the fiber suspends with
    fiber:                              └► ... suspend(value) ...

Invariants  the type is that of holdfast._fiber: nothing stands between a switch and its caller.
Talks to    holdfast._fiber.   Called by holdfast.Fiber, holdfast.suspend.
Threads     a fiber runs on the thread that started it; others are refused.
"""

from __future__ import annotations

from holdfast._fiber import Fiber, suspend, unsupported

__all__ = ["Fiber", "suspend", "unsupported"]
