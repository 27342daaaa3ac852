"""Adds up JUnit files and prints one line per suite and one total.

Usage: test_counts.py FOLDER. Exits 1 if anything failed or if there is nothing to count.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def count(path: Path) -> dict[str, int]:
    """Passed, failed and skipped cases of one JUnit file."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in ET.parse(path).getroot().iter("testcase"):
        tags = {child.tag for child in case}
        if tags & {"failure", "error"}:
            counts["failed"] += 1
        elif "skipped" in tags or case.get("status") in {"notrun", "disabled"}:
            counts["skipped"] += 1
        else:
            counts["passed"] += 1
    return counts


def main(folder: str) -> int:
    """Prints the counts of every file in `folder`; returns the exit code."""
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sorted(Path(folder).glob("*.xml")):
        counts = count(path)
        print(f"{path.stem:>10}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
        for what, n in counts.items():
            total[what] += n
    print("     total: " + ", ".join(f"{n} {what}" for what, n in total.items()))
    return 0 if total["passed"] and not total["failed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
