"""SIGKILL at random moments: every run resumes, and ends with the weights of one never killed.

    python -m benchmarks.trust.kills --count 200

A child fits with a checkpoint after each few steps and its run in the same folder. Half of the
kills come at a random moment of its wall-clock time, in steps and in writes; the others at a
random call that waits for the disk, renames or removes. The child is started again, and killed
again, until it ends; then the files of weights, and all of the history but its times, are
compared bit for bit with those of a fit that nobody killed. Children are forked from a process
that has imported everything and trained nothing.
"""

from __future__ import annotations

import argparse
import collections
import mmap
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.trust.common import data, pair, settings
from ppvae.fitting import Checkpoint, fit
from ppvae.fitting.trees import is_tree
from ppvae.runs.config import HISTORY, WEIGHTS
from ppvae.runs.history import History

EPOCHS = 20
# What moves files or waits for the disk, and where in its work the child is.
CALLS = ("fsync", "rename", "replace", "rmdir")
PHASES = ("in a step", "in a write", "between renames")


def straight(place: Path) -> None:
    """The fit that is not killed."""
    fit(*pair(), data(), average=0.99, **settings(epochs=EPOCHS, out=place / "run"))


def child(place: Path, phase: mmap.mmap, call: int | None) -> None:
    """Fit, going on from the checkpoint if there is one.

    Arguments:
        place: Its folder is ``run`` in it.
        phase: Where it notes in what phase it is; its second byte says that training has begun.
        call: Number of the call at which it kills itself, if not killed by the clock.
    """
    checkpoint = place / "run" / "checkpoint"
    resume = checkpoint if is_tree(checkpoint) else None

    class Ready:
        def on_fit_start(self, training: object) -> None:
            phase[1] = 1
            watch(phase, call)

        def on_step_end(self, training: object) -> None:
            phase[0] = 0

    callbacks = [Ready(), Checkpoint(checkpoint, every=1, seconds=0.01)]
    options = settings(epochs=EPOCHS, out=place / "run", resume=resume, callbacks=callbacks)
    fit(*pair(), data(), average=0.99, **options)


def watch(phase: mmap.mmap, last: int | None) -> None:
    """Note in ``phase`` what the process does, and kill it before its call number ``last``."""
    count = 0

    def counted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            phase[0] = {"fsync": max(phase[0], 1), "rmdir": 0}.get(name, 2)
            return result

        return call

    for name in CALLS:
        setattr(os, name, counted(name, getattr(os, name)))


def forked(work: Callable[[], None]) -> int:
    """Start a child that does ``work``; its process number."""
    number = os.fork()
    if number:
        return number
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ended(number: int, seconds: float) -> bool:
    """Whether a child ends well within so many seconds."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return checked(status)
        time.sleep(min(0.002, seconds))
    return False


def checked(status: int) -> bool:
    """Whether a child ended well; False if it was killed."""
    if os.WIFSIGNALED(status):
        return False
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError("a fit ended with an error")
    return True


def killed(place: Path, seconds: float, call: int | None) -> str | None:
    """Start a child and have it killed; the phase that it was in, or None if it ended before."""
    phase = mmap.mmap(-1, 2)
    number = forked(lambda: child(place, phase, call))
    if call is not None:
        ends = checked(os.waitpid(number, 0)[1])
        return None if ends else PHASES[phase[0]]
    while not phase[1]:
        time.sleep(0.001)
    if ended(number, seconds):
        return None
    os.kill(number, signal.SIGKILL)
    return None if checked(os.waitpid(number, 0)[1]) else PHASES[phase[0]]


def same(ours: Path, theirs: Path) -> bool:
    """Whether weights and history are equal, bit for bit, but for times."""
    left, right = ((place / WEIGHTS).read_bytes() for place in (ours, theirs))
    histories = [
        [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in History.from_csv(place / HISTORY)
        ]
        for place in (ours, theirs)
    ]
    return left == right and histories[0] == histories[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    phases: collections.Counter[str] = collections.Counter()
    runs, equal = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder)
        started = time.perf_counter()
        checked(os.waitpid(forked(lambda: straight(reference)), 0)[1])
        longest = 2 * (time.perf_counter() - started)
        while phases.total() < arguments.count:
            place = Path(folder) / f"{runs}"
            phase: str | None = ""
            while phase is not None:
                by_clock = rng.random() < 0.5
                moment = rng.uniform(0, longest), rng.randrange(1, 200)
                if phases.total() >= arguments.count:
                    by_clock, moment = True, (600.0, 0)
                phase = killed(place, moment[0], None if by_clock else moment[1])
                phases.update([phase] if phase else [])
            runs += 1
            equal += same(reference / "run", place / "run")
            print(f"{phases.total()} kills {dict(phases)}, {runs} runs, {equal} equal", flush=True)
    if equal < runs:
        sys.exit(1)


if __name__ == "__main__":
    main()
