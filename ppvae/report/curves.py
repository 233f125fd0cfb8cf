"""The ELBO over training: whether it still rises or is level, and how noisy it is."""

from __future__ import annotations

import math
import statistics
from typing import Final

from ppvae.report.facts import Facts

__all__ = [
    "FEWEST",
    "FEWEST_STEPS",
    "followed_curve",
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
STILL_RISING: Final = 0.02  # share of the curve's range


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


def tolerance_of(values: list[float]) -> float:
    """The largest rise that counts as level."""
    return max(STILL_RISING * (max(values) - min(values)), 2 * rise_of(values)[1])


def is_unfinished(facts: Facts) -> bool:
    """Whether the ELBO still rises, or there are too few epochs or steps to tell."""
    values, steps = followed_curve(facts)[2], steps_of(facts)
    if len(values) < FEWEST or (steps is not None and steps < FEWEST_STEPS):
        return bool(values)
    return rise_of(values)[0] > tolerance_of(values)


def noise_of(values: list[float]) -> float:
    """The standard deviation about a smooth curve, from second differences."""
    bends = [a - 2 * b + c for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return math.sqrt(sum(b * b for b in bends) / max(len(bends), 1) / 6)
