"""The ELBO over training: whether it still rises or is level, and how noisy it is."""

from __future__ import annotations

import math
import statistics
from typing import Final

from ppvae.report.facts import Facts

__all__ = [
    "FEWEST",
    "FEWEST_STEPS",
    "NOTICED",
    "followed_curve",
    "gained",
    "is_unfinished",
    "noise_of",
    "rise_of",
    "steps_of",
    "tolerance_of",
    "window_of",
]

FEWEST: Final = 6  # points of a curve needed to tell whether it is level
# Steps of the optimiser below which a level curve says nothing: at Adam's usual rate of 1e-3 no
# weight has moved by more than a tenth.
FEWEST_STEPS: Final = 100
# Shares of the curve's range, which begins at an untrained decoder, and of the gain over a model
# without latents: a rise that is smaller than both counts as level.
STILL_RISING: Final = 0.02
STILL_GAINING: Final = 0.05
# Nats per datum by which a model has to be better than one without latents to be called better.
NOTICED: Final = 0.5


def followed_curve(facts: Facts) -> tuple[str, list[int], list[float]]:
    """Name, epochs and values of the ELBO: on validation data where there are enough points."""
    epochs, values = facts.curve("val_elbo")
    if len(values) >= FEWEST:
        return "validation ELBO", epochs, values
    return ("training ELBO", *facts.curve("elbo"))


def steps_of(facts: Facts) -> int | None:
    """Number of steps of the optimiser, or None if it is not recorded."""
    steps = facts.curve("step")[1]
    return int(steps[-1]) if steps and math.isfinite(steps[-1]) else None


def window_of(values: list[float]) -> int:
    """Number of points at the end of a curve that are compared with as many before them."""
    return max(2, len(values) // 5)


def rise_of(values: list[float]) -> tuple[float, float]:
    """Rise of the last points of a curve over those before them, and its standard error."""
    window = window_of(values)
    late, before = values[-window:], values[-2 * window : -window]
    noise = noise_of(values[-2 * window :]) * math.sqrt(2 / window)
    return statistics.fmean(late) - statistics.fmean(before), noise


def gained(facts: Facts) -> float | None:
    """Nats per datum by which the ELBO is noticeably above the null model's; 0 if it is not."""
    null, elbo = facts.number("null_log_likelihood"), facts.number("elbo")
    if null is None or elbo is None:
        return None
    return elbo - null if elbo > null + NOTICED else 0.0


def tolerance_of(values: list[float], gain: float | None = None) -> float:
    """The largest rise that counts as level.

    Arguments:
        values: The ELBO over training.
        gain: Its gain over the null model, as :func:`gained` computes it.
    """
    small = STILL_RISING * (max(values) - min(values))
    if gain is not None:
        small = min(small, STILL_GAINING * max(gain, NOTICED))
    return max(small, 2 * rise_of(values)[1])


def is_unfinished(facts: Facts) -> bool:
    """Whether the ELBO still rises, or there are too few epochs or steps to tell."""
    values, steps = followed_curve(facts)[2], steps_of(facts)
    if len(values) < FEWEST or (steps is not None and steps < FEWEST_STEPS):
        return bool(values)
    return rise_of(values)[0] > tolerance_of(values, gained(facts))


def noise_of(values: list[float]) -> float:
    """The standard deviation about a smooth curve, from second differences."""
    bends = [a - 2 * b + c for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return math.sqrt(sum(b * b for b in bends) / max(len(bends), 1) / 6)
