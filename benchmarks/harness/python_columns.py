"""Columns of the Python suites: stock, every way holdfast serves CPython, preloaded peers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.allocators import BASELINE, Allocator

STOCK = "stock"
_PROFILES = ("checked", "fast")


def columns(chosen: Sequence[Allocator], with_malloc: bool = True) -> list[Allocator]:
    """Stock Python, holdfast in arenas and heap mode, peers plain and with PYTHONMALLOC=malloc.

    A peer's plain preload leaves Python's objects to pymalloc; with PYTHONMALLOC=malloc it serves
    them, as holdfast's heap mode does.
    """
    result = [Allocator(STOCK)]
    for allocator in chosen:
        if allocator.holdfast:
            profile = allocator.environment.get("HOLDFAST_PROFILE", "checked")
            if profile not in _PROFILES:
                continue
            for mode in ("arenas", "heap"):
                setting = {**allocator.environment, "HOLDFAST_PYTHON_ALLOCATOR": mode}
                name = f"{allocator.name} {mode}"
                result.append(replace(allocator, name=name, environment=setting))
        elif allocator.name == BASELINE:
            if with_malloc:
                result.append(Allocator("stock+malloc", None, {"PYTHONMALLOC": "malloc"}))
        else:
            result.append(allocator)
            if with_malloc:
                setting = {**allocator.environment, "PYTHONMALLOC": "malloc"}
                result.append(
                    replace(allocator, name=f"{allocator.name}+malloc", environment=setting)
                )
    return result
