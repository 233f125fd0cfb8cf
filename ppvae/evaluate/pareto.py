r"""The Pareto shape k of importance weights: can their mean be trusted?

A generalised Pareto distribution is fitted to the largest weights. Its shape k measures how heavy
the tail is: below 0.5 the mean converges fast, up to 0.7 it is usable, above 0.7 it is not, and
above 1 the weights have no finite mean. For the weights :math:`p(x, z) / q(z \mid x)`, k is thus a
diagnostic of the guide at each datum.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppvae.errors import ArgumentError

__all__ = ["TRUSTED_K", "leave_one_out", "pareto_k"]

TRUSTED_K = 0.7
_LEAST_TAIL = 5
# Of Zhang and Stephens' prior for the scale, and of PSIS's weak prior, k = 0.5 with 10 data.
_PRIOR_SCALE = 3
_PRIOR_COUNT, _PRIOR_K = 10, 0.5


def pareto_k(log_weights: Tensor) -> Tensor:
    r"""The Pareto shape of S weights per datum.

    Arguments:
        log_weights: :math:`\log w`, with shape (S, N), not necessarily normalised.

    Returns:
        k, with shape (N), in float64; NaN where S is below 21, too few for a tail, or where a
        weight is NaN or infinite; 0 where the largest weights agree to a thousandth.

    Raises:
        ArgumentError: If the weights are no real tensor with shape (S, N).

    References:
        | Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao and Gabry, 2024)
        | https://arxiv.org/abs/1507.02646
        | A New and Efficient Estimation Method for the Generalized Pareto Distribution
        | (Zhang and Stephens, 2009), Technometrics 51
    """
    real = isinstance(log_weights, Tensor) and not (
        log_weights.is_complex() or log_weights.dtype == torch.bool
    )
    if not real or log_weights.dim() != 2:
        shape = tuple(log_weights.shape) if real else str(log_weights)[:60]
        raise ArgumentError(
            f"log_weights: expected a real tensor with shape (S, N); got {shape}. "
            "Put the draws first and the data second."
        )
    draws, rows = log_weights.shape
    size = math.ceil(min(draws / 5, 3 * math.sqrt(draws)))
    if size < _LEAST_TAIL:
        return torch.full((rows,), math.nan, dtype=torch.float64)
    ordered = log_weights.detach().double().cpu().sort(0).values.T
    weights = (ordered - ordered[:, -1:]).exp()
    tail = weights[:, -size:] - weights[:, -size - 1, None]
    # The largest weights within a thousandth of each other are no tail: fitting a shape to it
    # would be fitting rounding errors.
    flat = tail[:, -1] <= 1e-3
    k = _shape(torch.where(flat[:, None], torch.ones_like(tail), tail).clamp_min(1e-300))
    return torch.where(flat, torch.zeros_like(k), k)


def _shape(tail: Tensor) -> Tensor:
    """Zhang and Stephens' estimate of k from ascending exceedances (N, M): (N)."""
    size = tail.size(1)
    count = 30 + int(math.sqrt(size))
    quartile, largest = tail[:, int(size / 4 + 0.5) - 1, None], tail[:, -1:]
    grid = 1 - (count / (torch.arange(1, count + 1, dtype=tail.dtype) - 0.5)).sqrt()
    b = 1 / largest + grid / (_PRIOR_SCALE * quartile)
    k = torch.log1p(-b[..., None] * tail[:, None, :]).mean(-1)
    profile = size * ((-b / k).log() - k - 1)
    mean_b = (b * profile.softmax(-1)).sum(-1, keepdim=True)
    estimate = torch.log1p(-mean_b * tail).mean(-1)
    return (size * estimate + _PRIOR_COUNT * _PRIOR_K) / (size + _PRIOR_COUNT)


def leave_one_out(log_weights: Tensor) -> Tensor:
    r""":math:`\log \frac{1}{S - 1} \sum_{t \neq s} w_{tn}`, with shape (S, N); log w for S = 1.

    Arguments:
        log_weights: log w, with shape (S, N).
    """
    draws = len(log_weights)
    if draws == 1:
        return log_weights
    nothing = torch.full_like(log_weights[:1], -torch.inf)
    before = torch.cat([nothing, log_weights.logcumsumexp(0)[:-1]])
    after = torch.cat([log_weights.flip(0).logcumsumexp(0).flip(0)[1:], nothing])
    return torch.logaddexp(before, after) - math.log(draws - 1)
