"""Mutated runs and checkpoints: each is refused by RunError or comes back equal; none harms.

python -m benchmarks.trust.fuzz --count 1000

Each mutant is loaded, or gone on from, in a child of its own, with a limit of time and memory: a
child that hangs, ends the process or eats the memory is seen.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.trust.common import Outcome, folders, outcome

# Seconds and bytes that a child may take.
SECONDS, MEMORY = 120, 8 * 2**30
GOOD = ("refused", "equal", "claimed")


def isolated(kind: str, original: Path, mutant: Path, rng: random.Random) -> Outcome:
    """:func:`outcome` in a child with limits; ``"harmful"`` if the child does not live."""
    seed = rng.getrandbits(64)
    reader, writer = os.pipe()
    number = os.fork()
    if number == 0:
        os.close(reader)
        signal.alarm(SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        result = outcome(kind, original, mutant, random.Random(seed))
        os.write(writer, json.dumps(asdict(result))[:60_000].encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        content = pipe.read()
    status = os.waitpid(number, 0)[1]
    if status or not content:
        return Outcome("?", "harmful", f"the child ended with {status}")
    return Outcome(**json.loads(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="mutations")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    parser.add_argument("--minutes", type=float, default=60, help="time limit")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    counts: collections.Counter[str] = collections.Counter()
    importlib.import_module("torch._dynamo")  # Once, for all children: an optimiser imports it.
    slowest, began = 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        number = os.fork()
        if number == 0:  # Nothing is trained in the process that forks.
            folders(place)
            os._exit(0)
        if os.waitpid(number, 0)[1]:
            sys.exit("the originals could not be made")
        for index in range(arguments.count):
            kind = ("run", "checkpoint")[index % 2]
            started = time.perf_counter()
            if started - began > 60 * arguments.minutes:
                break
            result = isolated(kind, place / kind, place / "mutant", rng)
            slowest = max(slowest, time.perf_counter() - started)
            counts[result.word] += 1
            if result.word not in GOOD:
                detail = " ".join(result.detail.split())[:200]
                print(f"{index} {kind} {result.mutation}: {result.word}: {detail}", flush=True)
            shutil.rmtree(place / "mutant", ignore_errors=True)
    print(f"{counts.total()} mutants: {dict(counts)}; the slowest took {slowest:.2f} s")
    if set(counts) - set(GOOD):
        sys.exit(1)


if __name__ == "__main__":
    main()
