"""Callbacks: further actions while :func:`ppvae.fit` trains.

A callback is any object with at least one of the methods below. Each method gets the current
:class:`~ppvae.fitting.Training`, which it may read; ``training.stop = True`` ends the training
after this epoch.

- ``on_fit_start(training)``: before the first step;
- ``on_step_end(training)``: after each step; reading a tensor there waits for the device;
- ``on_epoch_end(training)``: after each epoch, which is the row ``training.history[-1]``;
- ``on_fit_end(training)``: after the last step, and after errors.

Random numbers drawn in a callback do not affect those of training (except in ``on_step_end``).
Predictions belong in ``with training.settled(): ...``.

Where several processes train together, each of them calls its callbacks, except those with a true
attribute ``main_process_only``, which only process 0 calls. Such a callback must not change what
is trained; its ``training.stop`` ends the training of all processes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from ppvae.borders import typed
from ppvae.errors import RunError
from ppvae.expected import above, at_least, integer, path_of
from ppvae.fitting.compiled.gradients import CompiledGradients
from ppvae.fitting.tensors import State
from ppvae.fitting.training import Training
from ppvae.fitting.trees import is_tree, load_tree, save_tree
from ppvae.runs.config import is_run
from ppvae.runs.files import inside
from ppvae.runs.folder import refuse_unwritable
from ppvae.runs.schema import (
    LISTED,
    LISTED_TEXTS,
    NAMED,
    NUMBER,
    PLAIN,
    PLAINS,
    TEXT,
    Rule,
    check_fields,
    optional,
)
from ppvae.signals import pending_signal

__all__ = [
    "HOOKS",
    "Checkpoint",
    "Progress",
    "check_callbacks",
    "comes_with_ppvae",
    "load_checkpoint",
]

HOOKS = ("on_fit_start", "on_step_end", "on_epoch_end", "on_fit_end")


def check_callbacks(callbacks: Sequence[object]) -> None:
    """Refuse objects that have none of a callback's methods.

    Raises:
        TypeError: If an object has none; the message names the first one.
    """
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise TypeError(f"callbacks: expected a list of objects; got {callbacks!r}. Use [].")
    for callback in callbacks:
        if isinstance(callback, type) or not any(hasattr(callback, hook) for hook in HOOKS):
            raise TypeError(
                f"callbacks: expected objects with one of the methods {', '.join(HOOKS)}; got "
                f"{callback!r}. Give the class such a method, and pass an instance."
            )


def comes_with_ppvae(callback: object) -> bool:
    """Whether a callback comes with ppvae: none of these changes a module."""
    return type(callback).__module__.startswith("ppvae.")


class Checkpoint:
    """Write all that is needed to resume: ``fit(..., resume=folder)`` continues bit for bit.

    Both files of the folder are replaced or neither, so that a crash at any moment leaves either
    the old checkpoint or the new one. The folder holds ``training.json`` and
    ``training.safetensors``, with checksums and without pickle; it may be inside the run's own
    folder. A fit ended by :func:`~ppvae.fitting.ending_on_signals` is written at that step.

    Arguments:
        folder: Folder of the checkpoint.
        every: Epochs between two checkpoints; None to write only by ``seconds``.
        seconds: Seconds between two checkpoints, also within epochs; by default only ``every``
            counts.

    Raises:
        ArgumentError: If ``every`` is below 1, or ``seconds`` is not above 0.
        RunError: At the start of a fit, if the folder cannot be written or holds other files.
    """

    main_process_only = True

    @typed(every=at_least(1), seconds=above(0))
    def __init__(
        self, folder: str | Path, *, every: int | None = 1, seconds: float | None = None
    ) -> None:
        self.folder = path_of("folder", folder)
        self.every = every
        self.seconds = seconds
        self._last = -1
        self._ended = False
        self._when = 0.0

    def on_fit_start(self, training: Training) -> None:
        """Start the clock.

        Raises:
            RunError: If the folder cannot be written, or holds files of another kind.
        """
        refuse_unwritable(self.folder, is_tree)
        self._when = time.monotonic()

    def on_step_end(self, training: Training) -> None:
        """Write a checkpoint within an epoch, if one is due by time and the losses are finite."""
        # At the end of an epoch, the checkpoint is written after the validation.
        if self._is_due() and training.done < len(training.feed) and training.check():
            self._save(training)

    def on_epoch_end(self, training: Training) -> None:
        """Write a checkpoint after an epoch, if one is due by count or by time."""
        ends = training.stop or training.epoch == training.epochs
        by_count = self.every is not None and (training.epoch % self.every == 0 or ends)
        if by_count or self._is_due() or (ends and self._last >= 0):
            self._save(training)

    def on_fit_end(self, training: Training) -> None:
        """Write a checkpoint of a fit that a callback or a signal has ended."""
        # Another callback, or a signal, may have ended the training after this one's last call.
        ended = training.stop or (pending_signal() is not None and training.check())
        if ended and (training.steps, training.stop) != (self._last, self._ended):
            self._save(training)

    def _is_due(self) -> bool:
        return self.seconds is not None and time.monotonic() - self._when >= self.seconds

    def _save(self, training: Training) -> None:
        save_tree(self.folder, training.state_dict())
        self._last, self._ended = training.steps, training.stop
        self._when = time.monotonic()


SEED = integer(0, 2**63 - 1)
TENSORS = Rule(
    "names and tensors",
    lambda v: isinstance(v, dict) and all(isinstance(t, Tensor) for t in v.values()),
)
TOTALS = Rule(
    "sums by name and a number of rows",
    lambda v: (
        isinstance(v, list | tuple)
        and len(v) == 2
        and isinstance(v[0], dict)
        and all(isinstance(k, str) and NUMBER.allows(n) for k, n in v[0].items())
        and integer(0, 2**60 - 1).allows(v[1])
        and (not v[0] or v[1] > 0)
    ),
)
BEST = {
    "elbo": NUMBER,
    "epoch": integer(0, 2**40 - 1),
    "stale": integer(0, 2**40 - 1),
    "tensors": optional(TENSORS),
}
STATE = {
    "run": PLAIN,
    "epoch": integer(0, 2**40 - 1),
    "steps": integer(0, 2**60 - 1),
    "done": integer(0, 2**60 - 1),
    "rate": NUMBER,
    "seconds": NUMBER,
    "reference": optional(NUMBER),
    "id": TEXT,
    "config": PLAIN,
    "settings": PLAIN,
    "tensors": TENSORS,
    "noise": TENSORS,
    "order": Rule("a tensor", lambda v: isinstance(v, Tensor)),
    "optimizer": NAMED,
    "scheduler": optional(NAMED),
    "average": optional(LISTED),
    "best": NAMED,
    "history": PLAINS,
    "faults": LISTED_TEXTS,
    "critics": LISTED,
    "totals": TOTALS,
}
# Values that checkpoints of earlier versions lack.
LATER = {"around": PLAIN, "probe without scales": optional(NUMBER), "ended": optional(TEXT)}


def load_checkpoint(folder: str | Path) -> State:
    """The state that a :class:`Checkpoint` wrote, with tensors on the CPU.

    Arguments:
        folder: Folder of the checkpoint, or of a run that contains one named ``checkpoint``.

    Raises:
        RunError: If the checkpoint is missing or damaged, or if the run has none.
    """
    folder = Path(folder)
    if not is_tree(folder) and is_tree(inside(folder, "checkpoint")):
        folder = folder / "checkpoint"
    elif not is_tree(folder) and is_run(folder):
        raise RunError(
            f"resume: expected a checkpoint; {str(folder)!r} holds a run without one, which the "
            "command line writes once a minute. Fit with ppvae fit --checkpoint-every 1, or with "
            "a Checkpoint among the callbacks; a run that ended needs more --epochs to go on."
        )
    tree = load_tree(folder)
    state: State = tree if isinstance(tree, dict) else {}
    missing = sorted(STATE.keys() - state.keys())
    if missing:
        raise RunError(
            f"resume: expected a folder written by Checkpoint; {str(folder)!r} lacks {missing}. "
            "Name the checkpoint's folder, not the run's."
        )
    check_fields(folder, state, STATE | LATER)
    check_fields(folder, {**dict.fromkeys(BEST), **state["best"]}, BEST)
    check_fields(folder, {"seed": None, **state["run"]}, {"seed": SEED})
    return state


class Progress:
    """A progress bar on stderr with the last epoch's terms; it never waits for the device."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.compiling = False

    def on_fit_start(self, training: Training) -> None:
        """Draw the bar, at the steps that a resumed fit has done."""
        self.bar = tqdm(
            total=training.epochs * len(training.feed),
            initial=training.steps,
            desc=self._epoch(training),
            unit="step",
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
        )
        self.compiling = isinstance(training.step.gradients, CompiledGradients)
        if self.compiling:
            self.bar.set_description("compiling")

    def on_step_end(self, training: Training) -> None:
        """Move the bar by one step."""
        if self.compiling:
            self.compiling = False
            self.bar.set_description(self._epoch(training), refresh=False)
        self.bar.update()

    def on_epoch_end(self, training: Training) -> None:
        """Show the epoch's terms beside the bar."""
        row = training.history[-1]
        shown = {
            name.removeprefix("log_likelihood/"): f"{value:.4g}"
            for name, value in row.items()
            if name not in ("epoch", "step", "seconds", "learning_rate")
            and not name.startswith(("val_log", "val_kl"))
        }
        self.bar.set_description(self._epoch(training), refresh=False)
        self.bar.set_postfix(shown, refresh=False)

    def on_fit_end(self, training: Training) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()

    @staticmethod
    def _epoch(training: Training) -> str:
        return f"epoch {min(training.epoch + 1, training.epochs)}/{training.epochs}"
