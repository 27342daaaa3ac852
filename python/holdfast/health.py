"""health.py - is the heap well: pools by state, and a verdict with its reasons.

Talks to    stats.py.   Called by holdfast.health(), the report at exit.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.stats import Stats

__all__ = ["Health", "judge"]


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Pools of a heap by state, and what follows.

    Attributes
    ----------
    verdict : {"healthy", "strained", "damaged"}
        ``strained``: allocations failed or a limit was hit. ``damaged``: corruption was found; the
        heap goes on with what it took out of service left aside.
    reasons : tuple of str
        One sentence each; empty if healthy.
    slabs : dict of str to int
        Slabs by state: ``empty``, ``partial``, ``full``, ``quarantined``.
    middle_pools, middle_pools_quarantined : int
        Pools of the middle tier, and those out of service.
    bytes_quarantined : int
        Out of service, or delayed before reuse [bytes].
    """

    verdict: str
    reasons: tuple[str, ...]
    slabs: dict[str, int]
    middle_pools: int
    middle_pools_quarantined: int
    bytes_quarantined: int
    reports: int
    failures: int

    def __bool__(self) -> bool:
        return self.verdict == "healthy"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def judge(stats: Stats) -> Health:
    """Say how a heap is from its figures.

    Parameters
    ----------
    stats : Stats
        As of ``heap.stats()`` or ``holdfast.stats()``.

    Returns
    -------
    Health
        True in a boolean context if the heap is healthy.
    """
    damage: list[str] = []
    strain: list[str] = []
    if stats.reports:
        damage.append(f"{_counted(stats.reports, 'report')} of corruption")
    if stats.slabs_quarantined:
        damage.append(f"{_counted(stats.slabs_quarantined, 'slab')} out of service")
    if stats.middle_pools_quarantined:
        damage.append(f"{_counted(stats.middle_pools_quarantined, 'middle pool')} out of service")
    if stats.limit_hits:
        strain.append(f"{_counted(stats.limit_hits, 'allocation')} refused by a limit")
    if stats.failures:
        strain.append(f"{_counted(stats.failures, 'allocation')} failed")
    if stats.os_failures:
        strain.append(f"the system refused memory in {_counted(stats.os_failures, 'call')}")
    return Health(
        verdict="damaged" if damage else "strained" if strain else "healthy",
        reasons=(*damage, *strain),
        slabs={
            "empty": stats.slabs_empty,
            "partial": stats.slabs_partial,
            "full": stats.slabs_full,
            "quarantined": stats.slabs_quarantined,
        },
        middle_pools=stats.middle_pools,
        middle_pools_quarantined=stats.middle_pools_quarantined,
        bytes_quarantined=stats.bytes_quarantined,
        reports=stats.reports,
        failures=stats.failures,
    )
