"""Particles in a box: a simulation whose temporaries live in an arena and die with each step.

    python main.py [--particles N] [--steps N]

Positions and velocities live as long as the program; everything a step computes on the way lives in
one scope of an arena, so its memory is taken again by the next step and no page is ever faulted in
twice. `holdfast.scope` counts what the simulation uses and bounds it.
"""

from __future__ import annotations

import argparse
import resource

import holdfast
import holdfast.numpy
import numpy as np

BOX = 100.0
GRAVITY = np.array([0.0, -9.81, 0.0])


def forces(position: np.ndarray, velocity: np.ndarray, wind: np.ndarray) -> np.ndarray:
    """Gravity, drag against the wind, and a spring towards the middle of the box."""
    relative = wind - velocity
    drag = 0.1 * relative * np.linalg.norm(relative, axis=1, keepdims=True)
    spring = 0.5 * (BOX / 2 - position)
    return GRAVITY + drag + spring


def step(position: np.ndarray, velocity: np.ndarray, wind: np.ndarray, dt: float) -> float:
    """One step in place; returns the kinetic energy per particle."""
    velocity += dt * forces(position, velocity, wind)
    position += dt * velocity
    outside = (position < 0) | (position > BOX)
    velocity[outside] *= -0.9
    np.clip(position, 0, BOX, out=position)
    return float(0.5 * (velocity**2).sum(axis=1).mean())


def simulate(particles: int, steps: int) -> list[float]:
    """Run in an arena; the energies of every step."""
    random = np.random.default_rng(7)
    with holdfast.Arena("64M", name="particles") as arena:
        position = arena.array((particles, 3))
        velocity = arena.array((particles, 3), zero=True)
        position[:] = random.uniform(0, BOX, position.shape)
        wind = random.normal(0, 5, (particles, 3))
        energies, used = [], set()
        with holdfast.numpy.allocator(arena):
            for _ in range(steps):
                with arena.scope():
                    energies.append(step(position, velocity, wind, 0.01))
                used.add(arena.figures().bytes_in_use)
        owner = holdfast.numpy.owner_of(position)
        print(f"positions are on {owner.kind} '{owner.name}', aligned to 64 bytes: ", end="")
        print(holdfast.numpy.is_aligned(position, 64))
        print(f"sizes of the arena between steps: {len(used)}")
        print(f"the account adds up: {arena.stats().adds_up()}")
        del position, velocity
    return energies


def plain(particles: int, steps: int) -> list[float]:
    """Compute the same without the arena."""
    random = np.random.default_rng(7)
    position = random.uniform(0, BOX, (particles, 3))
    velocity = np.zeros((particles, 3))
    wind = random.normal(0, 5, (particles, 3))
    return [step(position, velocity, wind, 0.01) for _ in range(steps)]


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--particles", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()

    with holdfast.scope("simulation", limit="256M") as budget:
        energies = simulate(given.particles, given.steps)
    print(f"{given.particles} particles, {given.steps} steps")
    print(f"energy of the first step {energies[0]:.3f}, of the last {energies[-1]:.3f}")
    print(f"within the budget outside the arena: {budget.peak < 256 << 20}")

    begun = faults()
    same = plain(given.particles, given.steps) == energies
    print(f"the same without the arena: {same}, {faults() - begun} page faults")
    begun = faults()
    simulate_again = simulate(given.particles, given.steps) == energies
    print(f"and with it again: {simulate_again}, {faults() - begun} page faults")


if __name__ == "__main__":
    main()
