"""Calibration of the predictions made before each measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.programs.batches import on_one_device

__all__ = ["Calibration", "calibration"]

# Number of measurements below which there is no verdict.
FEWEST = 10
INTERVAL = 0.9


@dataclass(frozen=True)
class Calibration:
    """Predictions against the measurements that followed them.

    Attributes:
        count: Number of measurements that were predicted.
        coverage: Share of these within the central 90 % interval.
        low: Lower end of the 95 % range of coverage by chance.
        high: Upper end of that range.
        log_density: Mean log-density of the measurements, in nats per measurement.
        verdict: One sentence.
    """

    count: int
    coverage: float
    low: float
    high: float
    log_density: float
    verdict: str


@on_one_device
@typed()
def calibration(y: Tensor, mean: Tensor, scale: Tensor) -> Calibration:
    """The calibration of normal predictions; rows that are not finite are left out.

    Arguments:
        y: Measurements, with shape (N).
        mean: Predicted means, with shape (N).
        scale: Predicted standard deviations, the measurement's noise included, with shape (N).

    Raises:
        ArgumentError: If shapes differ or are others, or a standard deviation is not above 0.
    """
    from scipy.stats import binom, norm

    if not y.shape == mean.shape == scale.shape or y.dim() != 1:
        raise ArgumentError(
            f"calibration: expected y, mean and scale with shape (N); got {tuple(y.shape)}, "
            f"{tuple(mean.shape)} and {tuple(scale.shape)}. Pass one number per measurement."
        )
    if torch.bool in (y.dtype, mean.dtype, scale.dtype) or (scale <= 0).any():
        raise ArgumentError(
            "calibration: expected numbers, and standard deviations above 0; got booleans, or "
            "others. Pass the scale of each prediction."
        )
    rows = torch.isfinite(y) & torch.isfinite(mean) & torch.isfinite(scale)
    y, mean, scale = (value[rows].double() for value in (y, mean, scale))
    n = len(y)
    if n < FEWEST:
        text = f"{n} predictions before a measurement are too few to judge ({FEWEST} at least)"
        return Calibration(n, math.nan, math.nan, math.nan, math.nan, text)
    inside = (y - mean).abs() <= float(norm.ppf(0.5 + INTERVAL / 2)) * scale
    coverage = float(inside.double().mean())
    low, high = (float(binom.ppf(p, n, INTERVAL)) / n for p in (0.025, 0.975))
    density = float(torch.distributions.Normal(mean, scale).log_prob(y).mean())
    says = "as predicted"
    if coverage < low:
        says = "too few: the intervals are too narrow"
    elif coverage > high:
        says = "more than predicted: the intervals are too wide"
    text = (
        f"{coverage:.0%} of {n} measurements fell into the 90 % interval predicted before them "
        f"({low:.0%} to {high:.0%} by chance): {says}"
    )
    return Calibration(n, coverage, low, high, density, text)
