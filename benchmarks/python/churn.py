"""Object churn: trees, dictionaries, strings and bytes made and dropped; 100 MB at the peak.

    python churn.py [repetitions [seconds of rest]]

Prints one JSON line, see meter.py.
"""

from __future__ import annotations

import meter

Tree = tuple["Tree | None", int, "Tree | None"]


class Record:
    """An instance with a dictionary, as most Python objects have."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"record {number}"
        self.tags = [number, number + 1]


def tree(depth: int) -> Tree | None:
    """A complete binary tree of tuples."""
    return (tree(depth - 1), depth, tree(depth - 1)) if depth else None


def weigh(node: Tree | None) -> int:
    """Count the nodes."""
    return 1 + weigh(node[0]) + weigh(node[2]) if node else 0


def churn(index: int) -> int:
    """One load: about a million objects, a quarter of them alive at once."""
    checksum = weigh(tree(16))
    records = {i: Record(i) for i in range(90_000)}
    texts = [f"{i:08d}-{index}" * 3 for i in range(200_000)]
    blobs = [bytes(20 + i % 300) for i in range(90_000)]
    checksum += sum(len(text) for text in texts) + sum(len(blob) for blob in blobs)
    for i in range(0, 90_000, 3):
        del records[i]
    records.update((i, Record(-i)) for i in range(0, 90_000, 6))
    return checksum + sum(record.number for record in records.values())


if __name__ == "__main__":
    meter.repeat(churn, 5)
