"""simulation.py - moves the bodies: a step is one version of `bodies`, one element of `steps`.

Killed anywhere, its successor starts from the last whole version. Between a version and its
statistics there is one moment at which a version has none; the successor adds them first.
"""

from __future__ import annotations

import time

import physics
from pipeline import Pipeline


def publish(pipe: Pipeline, galaxies: physics.Galaxies) -> None:
    """Show everybody the state: version step + 1."""
    with pipe.bodies.writing() as bodies:
        bodies[0] = galaxies.position
        bodies[1] = galaxies.velocity
        del bodies  # it belongs to all from here on


def resume(pipe: Pipeline) -> physics.Galaxies:
    """Go on from the last whole version, or begin."""
    given = pipe.settings
    bodies, version = pipe.bodies.read()
    if version == 0:
        galaxies = physics.Galaxies(physics.start(given.particles, given.seed), 0)
        publish(pipe, galaxies)
    else:
        galaxies = physics.Galaxies(bodies, version - 1)
    if pipe.steps.total_written == galaxies.step:
        pipe.steps.push(galaxies.statistics())
    if pipe.steps.total_written != galaxies.step + 1:
        raise SystemExit(f"{pipe.steps.total_written} statistics of {galaxies.step + 1} states")
    return galaxies


def work(pipe: Pipeline) -> None:
    """Step until the last, or until told to stop."""
    given = pipe.settings
    galaxies = resume(pipe)
    due = time.monotonic()
    while not pipe.stop.is_set() and (given.steps == 0 or galaxies.step < given.steps):
        galaxies.advance()
        publish(pipe, galaxies)
        pipe.steps.push(galaxies.statistics())
        if given.rate > 0:
            due = max(due + 1 / given.rate, time.monotonic() - 0.1)  # who was late does not rush
            time.sleep(max(0.0, due - time.monotonic()))
    pipe.done.set()
