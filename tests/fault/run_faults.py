"""One program per misuse of memory, and the report each must give.

Method: every ``sins/*.c`` says on its first lines what must be reported in which profile, e.g. ::

    // expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=free
    // expect: fast none
    // with: 1..40 100

and is run under ``LD_PRELOAD`` once per profile and ``n``, with the reports collected through
``HOLDFAST_REPORT_DIR``: the program must go on (exit 0), and exactly the expected report must be
there. Then again with policy ``abort`` (it must die by SIGABRT, the report written before) and
with a handler (it must be called exactly once).

Usage: ``python3 tests/fault/run_faults.py --build DIR [--only NAME] [--profile P]``; pytest has
the same cases by ``test_sins.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROFILES = ("fast", "checked", "hardened", "debug")
TIMEOUT_S = 120

#: key in an ``expect`` line -> key in the JSON of a report
KEYS = {
    "size": "block_size",
    "offset": "damage_offset",
    "length": "damage_length",
    "found_by": "found_by",
    "owner": "owner",
    "given_size": "given_size",
    "domain": "domain",
    "freed_as": "freed_as",
}


@dataclass(frozen=True)
class Expectation:
    """What one profile must report: a kind, or ``none``, and the values that must be in it."""

    kind: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sin:
    """One program: its name, its expectation per profile, the values of ``n`` it is run with."""

    name: str
    expect: dict[str, Expectation]
    with_n: tuple[int, ...]


def parse_sin(path: Path) -> Sin:
    """Read the machine-readable first lines of a program.

    Raises
    ------
    ValueError
        A line is malformed, or there is no ``expect`` line.
    """
    expect: dict[str, Expectation] = {}
    with_n: list[int] = []
    for line in path.read_text().splitlines():
        if line.startswith("// expect: "):
            profiles, kind, *pairs = line.removeprefix("// expect: ").split()
            values = dict(pair.split("=", 1) for pair in pairs)
            if not set(values) <= set(KEYS):
                raise ValueError(f"{path.name}: unknown key in {line!r}")
            for profile in profiles.split(","):
                if profile not in PROFILES:
                    raise ValueError(f"{path.name}: unknown profile {profile!r}")
                expect[profile] = Expectation(kind, values)
        elif line.startswith("// with: "):
            for word in line.removeprefix("// with: ").split():
                first, _, last = word.partition("..")
                with_n += range(int(first, 0), int(last or first, 0) + 1)
        elif not line.startswith("//"):
            break
    if not expect:
        raise ValueError(f"{path.name}: no expect line")
    return Sin(path.stem, expect, tuple(with_n) or (0,))


def load_sins() -> list[Sin]:
    """Return every program of ``sins/``, by name."""
    return [parse_sin(path) for path in sorted((HERE / "sins").glob("*.c"))]


def find_build() -> Path | None:
    """Return the build folder with the programs in it, or None where nothing was built."""
    named = os.environ.get("HOLDFAST_BUILD_DIR")
    folders = [Path(named)] if named else sorted((ROOT / "build").glob("*"))
    built = [
        f for f in folders if (f / "libholdfast_malloc.so").exists() and sins_folder(f).is_dir()
    ]
    return max(built, key=lambda f: (f / "libholdfast_malloc.so").stat().st_mtime, default=None)


def sins_folder(build: Path) -> Path:
    """Return where the build puts the programs."""
    return build / "tests" / "fault" / "sins"


def evaluate(text: str, n: int, extent: int) -> list[str]:
    """Return the values an expectation allows: ``a|b``, a word or a sum with ``n`` and ``e`` in it.

    ``n`` is the value the program ran with, ``e`` the bytes the reported block occupies.
    """
    allowed = []
    for word in text.split("|"):
        if re.fullmatch(r"[ne0-9x+*/ -]+", word):
            word = str(eval(word.replace("/", "//"), {"__builtins__": {}}, {"n": n, "e": extent}))
        allowed.append(word)
    return allowed


@dataclass
class Outcome:
    """What one run of a program did."""

    status: int
    stdout: str
    stderr: str
    reports: list[dict[str, Any]]


def run_program(build: Path, sin: Sin, profile: str, n: int, **environment: str) -> Outcome:
    """Run one program under the library and collect what it reported."""
    with tempfile.TemporaryDirectory(prefix="holdfast-fault-") as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        env |= {
            "LD_PRELOAD": str(build / "libholdfast_malloc.so"),
            "HOLDFAST_PROFILE": profile,
            "HOLDFAST_REPORT_DIR": folder,
            # debug guards one block in this many, by chance: here, none.
            "HOLDFAST_GUARD_EVERY": "1000000000" if profile == "debug" else "0",
        }
        env |= environment
        done = subprocess.run(
            [str(sins_folder(build) / sin.name), str(n)],
            env=env,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
        reports = [
            json.loads(line)
            for path in sorted(Path(folder).glob("*.reports"))
            for line in path.read_text().splitlines()
        ]
    return Outcome(done.returncode, done.stdout, done.stderr, reports)


def compare(expected: Expectation, reports: list[dict[str, Any]], n: int) -> list[str]:
    """Return what is wrong with the reports of a run, one sentence each."""
    if expected.kind == "none":
        return [f"reported {r['kind']} where nothing was to be found: {r}" for r in reports]
    if len(reports) != 1:
        kinds = [f"{r['kind']} by {r['found_by']}" for r in reports]
        return [f"{len(reports)} reports instead of one {expected.kind}: {kinds}"]
    report = reports[0]
    wrong = []
    if report["kind"] not in expected.kind.split("|"):
        wrong.append(f"kind is {report['kind']}, not {expected.kind}")
    for key, text in expected.values.items():
        found, allowed = str(report.get(KEYS[key])), evaluate(text, n, int(report["class_size"]))
        if found not in allowed:
            wrong.append(f"{KEYS[key]} is {found}, not {' or '.join(allowed)}")
    return wrong + ([json.dumps(report)] if wrong else [])


def check_case(build: Path, sin: Sin, profile: str, n: int) -> list[str]:
    """Run one program in one profile under the three policies; return what was wrong."""
    expected = sin.expect[profile]
    silent = expected.kind == "none"
    wrong = []

    went_on = run_program(build, sin, profile, n)
    if went_on.status != 0:
        wrong.append(f"policy report: status {went_on.status} {went_on.stderr[-500:]!r}")
    wrong += compare(expected, went_on.reports, n)
    if not silent and not any(kind in went_on.stderr for kind in expected.kind.split("|")):
        wrong.append(f"nothing about it on stderr: {went_on.stderr[-300:]!r}")

    aborted = run_program(build, sin, profile, n, HOLDFAST_ON_CORRUPTION="abort")
    want = 0 if silent else -signal.SIGABRT
    if aborted.status != want:
        wrong.append(f"policy abort: status {aborted.status}, not {want} {aborted.stderr[-300:]!r}")
    wrong += [f"policy abort: {w}" for w in compare(expected, aborted.reports, n)[:1]]

    handled = run_program(build, sin, profile, n, SIN_HANDLER="1", HOLDFAST_QUIET="1")
    want_line = "handler 0" if silent else "handler 1"
    if handled.status != 0 or not handled.stdout.startswith(want_line):
        wrong.append(f"handler: status {handled.status}, said {handled.stdout.strip()!r}")
    return wrong


def cases(sins: list[Sin]) -> Iterator[tuple[Sin, str, int]]:
    """Yield every program with every profile it has an expectation for and every ``n``."""
    for sin in sins:
        for profile in sin.expect:
            for n in sin.with_n:
                yield sin, profile, n


def main(arguments: list[str] | None = None) -> int:
    """Run the cases asked for; print those that were wrong; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--build", type=Path, default=find_build())
    parser.add_argument("--only", help="regular expression on the names of the programs")
    parser.add_argument("--profile", choices=PROFILES)
    parser.add_argument("-n", type=lambda text: int(text, 0))
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    if options.build is None or not (options.build / "libholdfast_malloc.so").exists():
        print("skipped: libholdfast_malloc.so is not built")
        return 77
    chosen = [
        (sin, profile, n)
        for sin, profile, n in cases(load_sins())
        if (options.only is None or re.search(options.only, sin.name))
        and options.profile in (None, profile)
        and options.n in (None, n)
    ]
    failures = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda case: check_case(options.build.resolve(), *case), chosen)
        for (sin, profile, n), wrong in zip(chosen, results, strict=True):
            if wrong:
                failures += 1
                print(f"{sin.name} {profile} n={n}", *wrong, sep="\n    ", flush=True)
    print(f"{len(chosen)} cases, {failures} wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
