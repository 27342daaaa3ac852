"""The Python of the README and of the manual's pages about arrays, rings and queues runs.

Method: each block as it stands, in a segment of 64 MiB whose name is this test's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from holdfast import shm

pytest_plugins = ("shm_tools",)

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(f"docs/shm-{page}.md" for page in ("array", "ring", "versioned", "queue"))]


@pytest.mark.parametrize("page", PAGES)
def test_python_of_the_page_runs(shm_name: str, page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    ours = [block for block in blocks if re.search(r"\bsegment\b", block)]
    assert ours
    for block in ours:
        with shm.Segment(shm_name, "64 MiB") as segment:
            names: dict[str, Any] = {
                "segment": segment,
                "array": np.arange(5),
                "table": np.zeros((1000, 4)),
                "start_anew": lambda *_: None,
            }
            exec(re.sub(r'"(lab|market)"', repr(shm_name), block), names)
            names.clear()  # and with it the arrays
