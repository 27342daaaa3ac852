"""Which allocators a run compares: a name, a library to preload, and its environment.

The baseline has no library. Debian's peers are looked for where Debian puts them; a peer that is
not installed is left out. Further ones are given as ``NAME=PATH[,VARIABLE=VALUE...]``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.machine import ROOT

BASELINE = "glibc"
PROFILES = ("fast", "checked", "hardened")

_DEBIAN = {
    "mimalloc": "libmimalloc.so.2",
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
}
_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)


@dataclass(frozen=True)
class Allocator:
    """One column of a table."""

    name: str
    library: str | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def holdfast(self) -> bool:
        """Whether the library is ours."""
        return self.library is not None and "holdfast" in Path(self.library).name


def _is_release(library: Path) -> bool:
    """Whether the build folder around a library says Release."""
    for folder in library.parents:
        cache = folder / "CMakeCache.txt"
        if cache.exists():
            return "CMAKE_BUILD_TYPE:STRING=Release" in cache.read_text()
    return False


def _loads(library: Path) -> bool:
    """Whether a program starts under the library; half-built ones and sanitizer builds do not."""
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    run = subprocess.run(["/bin/true"], env=environment, capture_output=True, check=False)
    return run.returncode == 0 and not run.stderr


def find_holdfast(given: str | None = None) -> str | None:
    """Path of libholdfast_malloc.so: the one given, the environment's, or the newest that loads."""
    given = given or os.environ.get("HOLDFAST_MALLOC_LIBRARY")
    if given:
        return str(Path(given).resolve(strict=True))
    built = [
        path for path in (ROOT / "build").glob("**/libholdfast_malloc.so") if _is_release(path)
    ]
    built.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return next((str(path) for path in built if _loads(path)), None)


def _parse_peer(text: str) -> Allocator:
    name, _, rest = text.partition("=")
    path, *settings = rest.split(",")
    if not name or not path:
        raise SystemExit(f"--peer {text}: expected NAME=PATH[,VARIABLE=VALUE...]")
    if not Path(path).exists():
        raise SystemExit(f"--peer {text}: {path} does not exist")
    environment = dict(setting.split("=", 1) for setting in settings)
    return Allocator(name, str(Path(path).resolve()), environment)


def debian_peers() -> list[Allocator]:
    """The peers of Debian's packages that are installed here."""
    found = []
    for name, file in _DEBIAN.items():
        for folder in _FOLDERS:
            if (Path(folder) / file).exists():
                found.append(Allocator(name, str(Path(folder) / file)))
                break
    return found


def choose(
    holdfast: str | None, peers: Iterable[str] = (), only: Iterable[str] = ()
) -> list[Allocator]:
    """Baseline, installed peers, given peers, and every profile of holdfast.

    Parameters
    ----------
    holdfast : str or None
        Path of libholdfast_malloc.so; None leaves holdfast out.
    peers : iterable of str
        ``NAME=PATH[,VARIABLE=VALUE...]``.
    only : iterable of str
        Names to keep; empty keeps all. The baseline always stays.
    """
    chosen = [Allocator(BASELINE), *debian_peers(), *map(_parse_peer, peers)]
    if holdfast is not None:
        for profile in PROFILES:
            chosen.append(Allocator(f"holdfast-{profile}", holdfast, {"HOLDFAST_PROFILE": profile}))
    wanted = set(only)
    unknown = wanted - {a.name for a in chosen}
    if unknown:
        raise SystemExit(f"--only: no allocator called {', '.join(sorted(unknown))}")
    return [a for a in chosen if not wanted or a.name in wanted or a.name == BASELINE]
