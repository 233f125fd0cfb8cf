r"""Scores of predictive draws against true values, element by element.

A forecast is S draws with shape (S, ...) of a truth with shape (...).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.expected import NUMBER_SHARE, REAL_ROWS, expect
from ppvae.programs.batches import on_one_device

__all__ = ["counted", "covered", "crps", "interval", "interval_score", "pit", "randomised"]


def _draws(draws: Tensor, truth: Tensor) -> None:
    expect(REAL_ROWS, draws=draws)
    if not isinstance(truth, Tensor) or (
        truth.is_complex()
        or truth.dtype == torch.bool
        or (truth.is_floating_point() and not bool(truth.isfinite().all()))
    ):
        raise ArgumentError(
            "truth: expected a tensor of finite real numbers; got another value. Use "
            "torch.as_tensor, and leave out missing values."
        )
    if draws.dim() != truth.dim() + 1 or draws.shape[1:] != truth.shape or len(draws) < 2:
        raise ArgumentError(
            f"draws: expected shape (S, ...) with S >= 2 for a truth with shape (...); got "
            f"{tuple(draws.shape)} and {tuple(truth.shape)}. Put the draws first."
        )


def pit(draws: Tensor, truth: Tensor) -> Tensor:
    r"""The probability integral transform, randomised where draws tie with the truth.

    .. math::
        u = \frac{\#\{\tilde x^s < x\} + v \, (\#\{\tilde x^s = x\} + 1)}{S + 1}, \qquad
        v \sim U(0, 1)

    It is uniform on [0, 1] if the truth has the distribution of the draws, also for discrete x.
    One minus it is the Bayesian p-value :math:`P(\tilde x \geq x)`.

    Arguments:
        draws: :math:`\tilde x^s`, with shape (S, ...).
        truth: x, with shape (...).

    Returns:
        u, with shape (...).

    References:
        | Predictive model assessment for count data (Czado, Gneiting and Held, 2009)
    """
    return randomised(*counted(draws, truth), len(draws))


@on_one_device
def counted(draws: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of draws below the truth, and equal to it, each with shape (...).

    Arguments:
        draws: Draws, with shape (S, ...).
        truth: True values, with shape (...).
    """
    _draws(draws, truth)
    return (draws < truth).sum(0), (draws == truth).sum(0)


def randomised(below: Tensor, equal: Tensor, num_draws: int) -> Tensor:
    """:func:`pit` from the numbers of :func:`counted`, with noise from torch's generator."""
    v = torch.rand(below.shape, dtype=torch.get_default_dtype(), device=below.device)
    return (below + v * (equal + 1)) / (num_draws + 1)


def interval(draws: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """The ends of the central interval that contains this share of the draws, each (...).

    A further draw is within it with probability p (S - 1) / (S + 1), p being that share.

    Raises:
        ArgumentError: If the probability is not between 0 and 1, or there are no two draws.
    """
    expect(NUMBER_SHARE, probability=probability)
    expect(REAL_ROWS, draws=draws)
    if len(draws) < 2:
        raise ArgumentError(f"draws: expected two numbers or more; got {len(draws)}. Draw more.")
    return _interval(draws, probability)


def _interval(draws: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    ordered, last = _ordered(draws), len(draws) - 1
    # A place that is whole but for rounding is whole: between equal counts, no 2.9999 for 3.
    at = [round(last * tail / 2, 9) for tail in (1 - probability, 1 + probability)]
    lower, upper = (
        torch.lerp(ordered[math.floor(i)], ordered[min(math.floor(i) + 1, last)], i % 1)
        for i in at
    )
    return lower, upper


def _ordered(draws: Tensor) -> Tensor:
    """Draws sorted along their first dimension, as floating-point numbers."""
    draws = draws if draws.is_floating_point() else draws.to(torch.get_default_dtype())
    quick = draws.dtype in (torch.float32, torch.float64) and not draws.requires_grad
    if draws.is_cpu and quick:  # NumPy's sort takes a ninth of the time of PyTorch's.
        return torch.from_numpy(np.sort(draws.numpy(), 0))
    return draws.sort(0).values


@on_one_device
def covered(draws: Tensor, truth: Tensor, probability: float) -> Tensor:
    """Whether the truth is in the central interval, including its ends: boolean (...).

    The interval is that of :func:`interval`, which with few draws is too narrow for a truth with
    the distribution of the draws; :func:`pit` is uniform with any number of them.

    Arguments:
        draws: Draws, with shape (S, ...).
        truth: True values, with shape (...).
        probability: Probability of the interval.

    Raises:
        ArgumentError: If the shapes do not match, or ``probability`` is not between 0 and 1.
    """
    expect(NUMBER_SHARE, probability=probability)
    _draws(draws, truth)
    lower, upper = _interval(draws, probability)
    return (lower <= truth) & (truth <= upper)


@on_one_device
def interval_score(draws: Tensor, truth: Tensor, probability: float) -> Tensor:
    r"""Width of the central interval, plus a penalty for values outside; smaller is better.

    .. math::
        (u - l) + \frac2\alpha (l - x)_+ + \frac2\alpha (x - u)_+, \qquad
        \alpha = 1 - \mathrm{probability}

    Arguments:
        draws: Draws, with shape (S, ...).
        truth: x, with shape (...).
        probability: Probability of the interval.

    Raises:
        ArgumentError: If the shapes do not match, or ``probability`` is not between 0 and 1.

    References:
        | Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007)
    """
    expect(NUMBER_SHARE, probability=probability)
    _draws(draws, truth)
    lower, upper = _interval(draws, probability)
    outside = (lower - truth).clamp_min(0) + (truth - upper).clamp_min(0)
    return upper - lower + 2 / (1 - probability) * outside


@on_one_device
def crps(draws: Tensor, truth: Tensor) -> Tensor:
    r""":math:`E|\tilde x - x| - \frac12 E|\tilde x - \tilde x'|`, with shape (...).

    It is in the units of x; smaller is better. It is the absolute error if all draws are equal.

    Arguments:
        draws: Draws, with shape (S, ...).
        truth: x, with shape (...).
    """
    _draws(draws, truth)
    ordered, size = _ordered(draws), len(draws)
    # A gap between two draws in order lies between i of them and the others.
    below = torch.arange(1, size, dtype=ordered.dtype, device=ordered.device)
    pairs = torch.einsum("s,s...->...", below * (size - below), ordered.diff(dim=0))
    return (ordered - truth).abs().mean(0) - pairs / size**2
