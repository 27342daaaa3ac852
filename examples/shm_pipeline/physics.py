"""physics.py - two galaxies that meet: bodies under their own gravity, in NumPy.

    bodies, shape (2, n, 3):  [0] positions, [1] velocities;  masses and start: from n and seed

Every step is a pure function of positions and velocities, to the last bit: whoever takes over from
the last whole state goes on exactly as the one that was killed would have.
"""

from __future__ import annotations

import numpy as np

TIME_STEP = 0.01
SOFTENING = 0.15  # no two bodies are ever closer than this, as far as gravity knows
SPEED_BINS = 24
SPEED_MAX = 3.0

STATISTICS = np.dtype(
    [
        ("step", "<i8"),
        ("time", "<f8"),
        ("kinetic", "<f8"),
        ("potential", "<f8"),
        ("momentum", "<f8", (3,)),
        ("separation", "<f8"),  # of the two centres
        ("speeds", "<u4", (SPEED_BINS,)),  # bodies per bin, 0 to SPEED_MAX
    ]
)


def masses(count: int) -> np.ndarray:
    """Two heavy centres (the first body of each half), and discs as heavy as a fifth of them."""
    made = np.full(count, 0.2 / (count / 2))
    made[0] = made[count // 2] = 1.0
    return made


def disc(count: int, random: np.random.Generator, tilt: float) -> tuple[np.ndarray, np.ndarray]:
    """A centre and bodies that go round it in circles, tilted about the x axis."""
    radius = 0.4 + 1.2 * np.sqrt(random.uniform(0, 1, count))
    radius[0] = 0
    angle = random.uniform(0, 2 * np.pi, count)
    inside = 1.0 + 0.2 * (radius / 1.6) ** 2
    speed = radius * np.sqrt(inside / (radius**2 + SOFTENING**2) ** 1.5)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    u, v = -speed * np.sin(angle), speed * np.cos(angle)
    c, s = np.cos(tilt), np.sin(tilt)
    return np.stack([x, y * c, y * s], axis=1), np.stack([u, v * c, v * s], axis=1)


def start(count: int, seed: int) -> np.ndarray:
    """Two discs on their way past each other."""
    random = np.random.default_rng(seed)
    half = count // 2
    bodies = np.empty((2, count, 3))
    for part, tilt, side in ((slice(0, half), 0.4, -1.0), (slice(half, count), -0.9, 1.0)):
        position, velocity = disc(part.stop - part.start, random, tilt)
        bodies[0, part] = position + side * np.array([2.6, 1.0, 0.0])
        bodies[1, part] = velocity - side * np.array([0.42, 0.0, 0.0])
    return bodies


def forces(position: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, float]:
    """Acceleration of every body, and the potential energy of all."""
    x, y, z = (np.subtract.outer(position[:, axis], position[:, axis]) for axis in range(3))
    square = x * x + y * y + z * z + SOFTENING**2
    distance = np.sqrt(square)
    pull = mass / (square * distance)
    acceleration = np.stack([-(pull * axis).sum(axis=1) for axis in (x, y, z)], axis=1)
    pairs = (mass / distance).sum(axis=1) - mass / SOFTENING  # without itself
    return acceleration, float(-0.5 * (mass * pairs).sum())


class Galaxies:
    """A state, and the way to the next: leapfrog, which keeps the energy for ever, nearly."""

    def __init__(self, bodies: np.ndarray, step: int) -> None:
        self.step = step
        self.position, self.velocity = bodies[0].copy(), bodies[1].copy()
        self.mass = masses(len(self.position))
        self.acceleration, self.potential = forces(self.position, self.mass)

    def advance(self) -> None:
        """Go one step on."""
        self.velocity += 0.5 * TIME_STEP * self.acceleration
        self.position += TIME_STEP * self.velocity
        self.acceleration, self.potential = forces(self.position, self.mass)
        self.velocity += 0.5 * TIME_STEP * self.acceleration
        self.step += 1

    def statistics(self) -> np.ndarray:
        """One element for the ring."""
        square = (self.velocity**2).sum(axis=1)
        half = len(self.mass) // 2
        counts, _ = np.histogram(np.sqrt(square), SPEED_BINS, (0, SPEED_MAX))
        made = np.zeros(1, STATISTICS)
        made["step"] = self.step
        made["time"] = self.step * TIME_STEP
        made["kinetic"] = 0.5 * (self.mass * square).sum()
        made["potential"] = self.potential
        made["momentum"] = (self.mass[:, None] * self.velocity).sum(axis=0)
        made["separation"] = np.sqrt(((self.position[0] - self.position[half]) ** 2).sum())
        made["speeds"] = counts
        return made
