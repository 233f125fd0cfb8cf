"""SIGKILL at random moments: every run resumes, and ends with the weights of one never killed.

    python -m benchmarks.trust.kills --count 200

A child fits with a checkpoint after each few steps and its run in the same folder, and is killed
at a random moment of its wall-clock time: in steps, in writes, between renames. It is started
again, and killed again, until it ends; then weights and history are compared bit for bit with
those of a fit that nobody killed.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import ppvae
from benchmarks.trust.common import data, pair, settings
from ppvae.fitting import Checkpoint, fit
from ppvae.fitting.trees import is_tree

EPOCHS = 40


def child(place: Path) -> None:
    """Fit, going on from the checkpoint if there is one; says when the first step is near."""
    checkpoint = place / "run" / "checkpoint"
    resume = checkpoint if is_tree(checkpoint) else None

    class Ready:
        def on_fit_start(self, training: object) -> None:
            print("ready", flush=True)

    callbacks = [Checkpoint(checkpoint, every=1, seconds=0.01), Ready()]
    options = settings(epochs=EPOCHS, out=place / "run", resume=resume, callbacks=callbacks)
    fit(*pair(), data(), average=0.99, **options)


def killed(place: Path, seconds: float) -> bool:
    """Start a child and kill it after so many seconds of work; False if it ended before."""
    command = [sys.executable, "-m", "benchmarks.trust.kills", "--child", str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    if process.returncode:
        raise RuntimeError(f"the fit ended with {process.returncode}")
    return False


def same(ours: ppvae.runs.Run, theirs: ppvae.runs.Run) -> bool:
    """Whether all weights and losses are equal, bit for bit."""
    weights = zip(ours._modules().parameters(), theirs._modules().parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in weights) and len(ours.history) == len(theirs.history)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.child)
        return
    rng = random.Random(arguments.seed)
    kills, runs, equal = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        straight = fit(*pair(), data(), average=0.99, **settings(epochs=EPOCHS))
        longest = max(0.5, 4 * (time.perf_counter() - started))
        while kills < arguments.count:
            place = Path(folder) / f"{runs}"
            while kills < arguments.count and killed(place, rng.uniform(0, longest)):
                kills += 1
            if kills >= arguments.count:
                killed(place, 600)
            runs += 1
            equal += same(straight, ppvae.load(place / "run", *pair()))
            print(f"{kills} kills, {runs} runs, {equal} equal bit for bit", flush=True)
    if equal < runs:
        sys.exit(1)


if __name__ == "__main__":
    main()
