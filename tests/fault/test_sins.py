"""Every program of ``sins/`` in every profile, as pytest sees it; see ``run_faults.py``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "holdfast_run_faults", Path(__file__).with_name("run_faults.py")
)
assert _spec is not None
assert _spec.loader is not None
run_faults = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = run_faults
_spec.loader.exec_module(run_faults)

SINS = run_faults.load_sins()


@pytest.mark.parametrize(
    ("name", "profile"), [(sin.name, profile) for sin in SINS for profile in sin.expect]
)
def test_sin_in_profile_reports_exactly_this(name: str, profile: str) -> None:
    """Run the program with a few of its values; the driver itself runs them all under CTest."""
    build = run_faults.find_build()
    if build is None:
        pytest.skip("libholdfast_malloc.so and the programs of tests/fault are not built")
    sin = next(s for s in SINS if s.name == name)
    chosen = sorted({sin.with_n[0], sin.with_n[len(sin.with_n) // 2], sin.with_n[-1]})
    wrong = {n: run_faults.check_case(build, sin, profile, n) for n in chosen}
    assert not {n: w for n, w in wrong.items() if w}
