"""JSON: 40000 records written and read back, everything dropped between repetitions.

    python json_records.py [repetitions [seconds of rest]]

Prints one JSON line, see meter.py.
"""

from __future__ import annotations

import json
from typing import Any

import meter


def records(index: int) -> int:
    """Dump and load 40000 records of seven fields."""
    rows = [
        {
            "id": i,
            "name": f"customer {i * 7919 % 40000}",
            "email": f"c{i}@example.org",
            "score": i / 7,
            "tags": ["new", "north" if i % 2 else "south", str(i % 100)],
            "address": {"street": f"{i % 90} High Street", "zip": str(10000 + i % 80000)},
            "active": i % 3 == 0,
        }
        for i in range(40_000)
    ]
    text = json.dumps(rows)
    del rows
    loaded: list[dict[str, Any]] = json.loads(text)
    return len(text) + index + sum(len(row["tags"]) + int(row["id"]) for row in loaded)


if __name__ == "__main__":
    meter.repeat(records, 5)
