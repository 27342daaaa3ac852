"""analytics.py - reads the statistics of every step and keeps named results.

How far it has come and what it has added up are one value of the map, ``account``, replaced in one
step: killed anywhere, its successor reads on from there, and nothing is counted twice. What was
overwritten while nobody listened is counted as lost:

    received + lost = position,  at every moment
"""

from __future__ import annotations

from typing import Any

import numpy as np
from holdfast import shm
from physics import SPEED_BINS, SPEED_MAX
from pipeline import Pipeline

FRESH: dict[str, Any] = {
    "position": 0,
    "received": 0,
    "lost": 0,
    "energy_first": None,
    "energy": 0.0,
    "drift": 0.0,
    "drift_max": 0.0,
    "closest": None,
    "closest_step": 0,
    "alarm": False,
    "speeds": [0] * SPEED_BINS,
}


def add_up(account: dict[str, Any], rows: np.ndarray, limit: float) -> dict[int, str]:
    """Take new statistics into the account; returns alerts by step."""
    alerts = {}
    energy = rows["kinetic"] + rows["potential"]
    if account["energy_first"] is None:
        account["energy_first"] = float(energy[0])
    drift = (energy - account["energy_first"]) / abs(account["energy_first"])
    for step, value in zip(rows["step"].tolist(), drift.tolist(), strict=True):
        bound = limit / 2 if account["alarm"] else limit  # it has to be well back to be back
        if (abs(value) > bound) != account["alarm"]:
            account["alarm"] = not account["alarm"]
            what = "beyond" if account["alarm"] else "back within"
            alerts[step] = f"step {step}: energy {what} {bound:g} of its start ({value:+.1e})"
    account["energy"] = float(energy[-1])
    account["drift"] = float(drift[-1])
    account["drift_max"] = max(account["drift_max"], float(np.abs(drift).max()))
    nearest = int(rows["separation"].argmin())
    if account["closest"] is None or rows["separation"][nearest] < account["closest"]:
        account["closest"] = float(rows["separation"][nearest])
        account["closest_step"] = int(rows["step"][nearest])
    account["speeds"] = (
        np.array(account["speeds"]) + rows["speeds"].sum(axis=0, dtype=int)
    ).tolist()
    return alerts


def tell(pipe: Pipeline, account: dict[str, Any], alerts: dict[int, str]) -> None:
    """Write the results: alerts first, so that none is missing where the account has gone past."""
    for step, sentence in alerts.items():
        if len(pipe.results) < 200:  # the first ones are kept
            pipe.say(f"alert/{step:09d}", sentence)
    pipe.say("account", account)
    if alerts:
        pipe.alert.set()
    pipe.say("energy", {"now": account["energy"], "drift": account["drift"]})
    pipe.say("closest", {"distance": account["closest"], "step": account["closest_step"]})
    total = max(1, sum(account["speeds"]))
    shares = [round(count / total, 4) for count in account["speeds"]]
    pipe.say("speeds", {"from": 0, "to": SPEED_MAX, "share": shares})


def work(pipe: Pipeline) -> None:
    """Read until no further step will come."""
    account = pipe.result("account", dict(FRESH))
    lost_before = account["lost"]
    with pipe.steps.reader(account["position"]) as reader:
        while True:
            done = pipe.done.is_set()  # before the look: afterwards there is nothing behind it
            try:
                rows = reader.pop(256, timeout=0.0 if done else 0.2)
            except shm.EmptyError:
                if done:
                    return
                continue
            alerts = add_up(account, rows, pipe.settings.drift)
            newly = lost_before + reader.lost - account["lost"]
            if newly:
                first = int(rows["step"][0])
                alerts[first] = f"step {first}: {newly} statistics were lost, nobody was listening"
            account["received"] += len(rows)
            account["lost"] += newly
            account["position"] = reader.position
            tell(pipe, account, alerts)
