"""A mix in the manner of pyperformance: records, text, parsing, sorting, big integers, closures.

Prints one checksum line. Run with PYTHONMALLOC=malloc it sends every object to the C allocator.
"""

from __future__ import annotations

import ast
import heapq
import json
import random
import re
import sys


class Node:
    """A binary search tree node with a payload."""

    __slots__ = ("key", "left", "payload", "right")

    def __init__(self, key: int) -> None:
        self.key = key
        self.left: Node | None = None
        self.right: Node | None = None
        self.payload = [key, str(key), (key, key + 1)]


def trees(rng: random.Random) -> int:
    """Build an unbalanced tree and sum it iteratively."""
    root = Node(1 << 30)
    for _ in range(6000):
        key, node = rng.getrandbits(31), root
        while True:
            child = node.left if key < node.key else node.right
            if child is None:
                break
            node = child
        if key < node.key:
            node.left = Node(key)
        else:
            node.right = Node(key)
    total, stack = 0, [root]
    while stack:
        node = stack.pop()
        total += len(node.payload) + node.key % 7
        stack += [child for child in (node.left, node.right) if child is not None]
    return total


def records(rng: random.Random) -> int:
    """Encode and decode JSON records."""
    rows = [
        {"id": i, "name": f"user {rng.random():.6f}", "tags": ["a", "b", str(i)], "score": i / 3}
        for i in range(5000)
    ]
    text = json.dumps(rows)
    return len(text) + sum(len(row["tags"]) for row in json.loads(text))


def text(rng: random.Random) -> int:
    """Split, count, substitute and join words."""
    words = ["".join(rng.choices("abcdef", k=rng.randint(2, 8))) for _ in range(15000)]
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    joined = re.sub(r"a(b+)", r"<\1>", " ".join(words))
    return len(joined) + len(counts) + len(heapq.nlargest(10, counts.items(), key=lambda p: p[1]))


def parsing() -> int:
    """Parse standard library sources into syntax trees and walk them."""
    nodes = 0
    for module in (ast, json.decoder, random, heapq):
        with open(str(module.__file__), encoding="utf-8") as file:
            nodes += sum(1 for _ in ast.walk(ast.parse(file.read())))
    return nodes


def integers() -> int:
    """Multiply integers of growing length."""
    a, b = 0, 1
    for _ in range(6000):
        a, b = b, a + b
    return (b * b) % 1000003


def main() -> int:
    """Run every part; the argument is the number of repetitions."""
    rng = random.Random(7)
    checksum = 0
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        for part in (trees(rng), records(rng), text(rng), parsing(), integers()):
            checksum = (checksum * 31 + part) % (1 << 61)
    print(f"mix checksum={checksum}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
