"""paths.py - where the libraries and headers of this installation are.

prefix()/lib/libholdfast.so          prefix()/include/holdfast/*.h *.hpp *.def
        /lib/libholdfast_malloc.so   prefix()/lib/cmake/holdfast  prefix()/lib/pkgconfig
"""

from __future__ import annotations

from pathlib import Path

from holdfast import _core

__all__ = ["library", "prefix"]


def prefix() -> Path:
    """Folder that holds ``lib`` and ``include``; for CMake and pkg-config.

    Returns
    -------
    Path
        ``cmake -Dholdfast_ROOT=$(python -c "import holdfast; print(holdfast.prefix())")`` finds the
        package.
    """
    return Path(_core.__file__).resolve().parent


def library(name: str = "libholdfast_malloc.so") -> Path:
    """Path of one of the shared libraries; the default is the one for ``LD_PRELOAD``."""
    return prefix() / "lib" / name
