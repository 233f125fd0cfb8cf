"""Mutated runs and checkpoints: each is refused by RunError or comes back equal; none harms.

python -m benchmarks.trust.fuzz --count 1000
"""

from __future__ import annotations

import argparse
import collections
import random
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.trust.common import Outcome, folders, outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="mutations")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    counts: collections.Counter[str] = collections.Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as place:
        originals = folders(Path(place))
        for number in range(arguments.count):
            kind = ("run", "checkpoint")[number % 2]
            started = time.perf_counter()
            result: Outcome = outcome(kind, originals[kind], Path(place) / "mutant", rng)
            slowest = max(slowest, time.perf_counter() - started)
            counts[result.word] += 1
            if result.word not in ("refused", "equal", "claimed"):
                print(f"{number} {kind} {result.mutation}: {result.word}: {result.detail}")
            shutil.rmtree(Path(place) / "mutant", ignore_errors=True)
    print(f"{arguments.count} mutants: {dict(counts)}; the slowest took {slowest:.2f} s")


if __name__ == "__main__":
    main()
