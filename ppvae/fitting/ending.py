"""Why training ended before its last epoch, and whether a resumed run goes on after that."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppvae.fitting.callbacks import comes_with_ppvae
from ppvae.fitting.tensors import State

if TYPE_CHECKING:
    from ppvae.fitting.training import Training

__all__ = ["PATIENCE", "note_end", "out_of_patience", "stay_ended"]

logger = logging.getLogger(__name__)

PATIENCE = "patience"


def out_of_patience(training: Training) -> bool:
    """Whether there have been as many validations without improvement as the settings allow."""
    patience = training.settings.patience
    return patience is not None and training.best.stale >= patience


def note_end(training: Training, callback: object) -> None:
    """Note what has ended the training, after a call of a callback."""
    if not training.stop:
        training.ended_by = ""
    elif not training.ended_by:
        training.ended_by = type(callback).__name__


def stay_ended(training: Training, state: State, callbacks: Sequence[object]) -> None:
    """Leave a resumed run ended where it had ended, unless more is asked for now.

    A run in one go ends there, too. It goes on if there are more epochs than in the run that
    stopped, if patience was raised, or after a callback of the user's own, which may end it
    again: many such limit the time of a session.

    Arguments:
        training: The training, with the state of the run that stopped.
        state: That state.
        callbacks: The callbacks of this fit.
    """
    by = state.get("ended") or ""
    named = [callback for callback in callbacks if type(callback).__name__ == by]
    # Within an epoch, that one is still to be trained to its end.
    there = any(comes_with_ppvae(callback) or training.done > 0 for callback in named)
    # Checkpoints of earlier versions do not say it; and patience may be less than it was.
    out = out_of_patience(training) and training.done == 0
    if out and not there:
        by = PATIENCE
    before = state["settings"].get("epochs")
    more = isinstance(before, int) and training.epochs > before
    # Some callbacks are those of process 0 alone.
    training.stop = bool(training.shards.agreed(int((out or there) and not more)))
    training.ended_by = by if training.stop else ""
    if not by or training.epoch >= training.epochs:
        return
    ended = f"{by} ended training after epoch {training.epoch + bool(training.done)}"
    if training.stop:
        remedy = "more patience" if by == PATIENCE else f"no {by}"
        logger.warning(
            "resume: %s, so no later one is trained. To go on, give more epochs, or %s.",
            *(ended, remedy),
        )
        return
    if more:
        why = f"epochs is {training.epochs} and was {before}"
        if out:
            training.best.stale = 0  # Or else training would end again after an epoch.
            why += ", and patience is counted anew"
        why += ". One run in one go would have ended there"
    elif by == PATIENCE:
        why = "there is more now"
    else:
        why = f"{by} may end it again" if named else f"there is no {by} now"
    logger.warning("resume: %s. It goes on, as %s.", ended, why)
