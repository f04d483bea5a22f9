"""`python -m tests.conformance --seeds 1000`: many seeds, and the first that does not agree."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.conformance.agreement import Disagreement, check
from tests.conformance.judges import PROMTOOL


def _checked(seed: int) -> tuple[int, str]:
    with tempfile.TemporaryDirectory(prefix="conformance-") as into:
        try:
            return check(seed, Path(into)), ""
        except Disagreement as error:
            return 0, str(error)


def main() -> int:
    """0 when all agree."""
    options = argparse.ArgumentParser()
    options.add_argument("--seeds", type=int, default=1000)
    options.add_argument("--first", type=int, default=0)
    given = options.parse_args()
    if PROMTOOL is None:
        print("promtool is not installed (Debian: apt-get install prometheus)", file=sys.stderr)
        return 1
    began = time.monotonic()
    seen = Counter[str]()
    with ProcessPoolExecutor() as pool:
        seeds = range(given.first, given.first + given.seeds)
        for alerts, problem in pool.map(_checked, seeds, chunksize=4):
            seen["agreed" if not problem else "disagreed"] += 1
            seen["alerts"] += alerts
            seen["with alerts"] += alerts > 0
            if problem and seen["disagreed"] <= 5:
                print(problem)
    print(
        f"{seen['agreed']} of {given.seeds} seeds agree with promtool; {seen['with alerts']} of them have alerts, "
        f"{seen['alerts']:,} slots in which one fires; {time.monotonic() - began:.0f} s"
    )
    return 1 if seen["disagreed"] else 0


if __name__ == "__main__":
    sys.exit(main())
