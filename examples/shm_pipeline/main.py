"""A simulation, a renderer and analytics in three processes, any of which may be killed.

    python main.py                                start all three and look after them
    python main.py --chaos 1                      ... and kill one of them about every second
    python main.py simulation|renderer|analytics  one part by hand; a second one stands by

All of them meet in a segment of shared memory; see pipeline.py for what lies in it.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from importlib import import_module

from pipeline import PARTS, Pipeline, Settings

# One thread per process: the sums of a step are then the same on every run.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def arguments(words: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("run", *PARTS), default="run")
    parser.add_argument("--name", default="pipeline", help="of the segment")
    parser.add_argument("--chaos", type=float, default=0, help="mean time between kills [s]")
    for one in fields(Settings):
        option = "--" + one.name.replace("_", "-")
        parser.add_argument(option, type=type(one.default), default=one.default)
    given = parser.parse_args(words)
    if given.particles < 2:
        parser.error("two galaxies are two bodies at least")
    given.frames = os.path.abspath(given.frames)
    return given, Settings(**{one.name: getattr(given, one.name) for one in fields(Settings)})


def main() -> int:
    given, wanted = arguments()
    role = "launcher" if given.part == "run" else given.part
    try:
        with Pipeline(given.name, role, wanted) as pipe:
            if given.part == "run":
                launcher = import_module("launcher")
                return int(launcher.run(pipe, ["--name", given.name], given.chaos))
            if pipe.take_part(given.part):
                import_module(given.part).work(pipe)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
