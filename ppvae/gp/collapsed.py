r"""The GP prior with its weights integrated out, as a distribution over one batch's latents.

For :math:`q(Z) = \prod_{nl} N(\mu_{nl}, s_{nl}^2)` over all N data and :math:`p(Z)` the GP,

.. math::
    \mathrm{KL}(q(Z) \| p(Z)) \leq \tfrac12 \sum_l \left\{ \sum_n \left[
        \frac{(\mu_{nl} - f_n \cdot m_l)^2 + s_{nl}^2 (1 - h_n / v_1)}{v_1} - \log s_{nl}^2
        \right] + |m_l|^2 + N \log v_1 + \log |A| - N \right\}

with equality at :math:`m_l = A^{-1} F^\top \mu_l / v_1`. It is a sum over data: the KL registered
here is datum n's share, so that the mean over a mini-batch is an unbiased estimate for any m
fixed before the batch was drawn. The cost of a batch is free of N but for A.

References:
    | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
    | https://arxiv.org/abs/1810.11738
    | The bound in weight space, its slack and its mini-batches are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    constraints,
    register_kl,
)

from ppvae.gp.state import GPState

__all__ = ["CollapsedGP"]


class CollapsedGP(TorchDistribution):
    r"""Datum n's share of a GP prior whose weights are integrated out, with shape (N | L).

    ``log_prob`` is the share of the mean-field bound, a lower bound of the GP's log-density that
    any Monte Carlo ELBO may use; the KL from a normal is tighter by
    :math:`\sum_{nl} s_{nl}^2 h_n / (2 v_1^2)`. ``rsample`` draws from the GP's posterior
    predictive given exact encodings.

    Arguments:
        read: Returns the GP as of this step; called once, when a number is first asked for, so
            that a program conditioned on its latents does no GP algebra.
        x: Object features of these data, with shape (N, M).
        r: View features of these data, with shape (N, R).
        latent_dim: L.
        dtype: Of what is returned (the GP itself is in float64).
    """

    support = constraints.real_vector
    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def __init__(
        self,
        read: Callable[[], GPState],
        x: Tensor,
        r: Tensor,
        *,
        latent_dim: int,
        dtype: torch.dtype,
    ) -> None:
        self._read = read
        self._x, self._r = x, r
        self.dtype = dtype
        super().__init__(x.shape[:-1], torch.Size([latent_dim]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> CollapsedGP:
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        x = self._x.expand(*batch_shape, self._x.size(-1))
        r = self._r.expand(*batch_shape, self._r.size(-1))
        return CollapsedGP(self._read, x, r, latent_dim=self.event_shape[0], dtype=self.dtype)

    @cached_property
    def state(self) -> GPState:
        """The GP as of this step."""
        return self._read()

    @cached_property
    def f(self) -> Tensor:
        """The rows of F of these data, with shape (..., N, H)."""
        return self.state.rows(self._x, self._r)

    @cached_property
    def loc(self) -> Tensor:
        r""":math:`f_n \cdot m`, with shape (..., N, L)."""
        return self.f @ self.state.mean

    @cached_property
    def leverage(self) -> Tensor:
        r""":math:`h_n = f_n^\top A^{-1} f_n`, with shape (..., N)."""
        return self.state.leverage(self.f)

    @cached_property
    def share(self) -> Tensor:
        r""":math:`\sum_l (|m_l|^2 + \log |A|) / N`, with shape ()."""
        state = self.state
        total = state.mean.square().sum() + self.event_shape[0] * state.log_det()
        return total / state.layout.num_rows

    @property
    def mean(self) -> Tensor:
        return self.loc.to(self.dtype)

    @property
    def variance(self) -> Tensor:
        variance = (self.state.v1 + self.leverage)[..., None]
        return variance.expand(self.loc.shape).to(self.dtype)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        return Normal(self.mean, self.variance.sqrt()).rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        v1 = self.state.v1
        squares = (value - self.loc).square() / v1 + v1.log() + math.log(2 * math.pi)
        return (-0.5 * (squares.sum(-1) + self.share)).to(self.dtype)


def _share(loc: Tensor, variance: Tensor, log_det: Tensor, p: CollapsedGP) -> Tensor:
    v1 = p.state.v1
    shrunk = variance.double() * (1 - p.leverage / v1)[..., None]
    squares = ((loc - p.loc).square() + shrunk) / v1 + v1.log() - 1
    return (0.5 * (squares.sum(-1) - log_det.double() + p.share)).to(p.dtype)


@register_kl(Independent, CollapsedGP)
def _kl_diagonal(q: Independent, p: CollapsedGP) -> Tensor:
    if not isinstance(q.base_dist, Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    scale = q.base_dist.scale
    return _share(q.base_dist.loc, scale.square(), 2 * scale.log().sum(-1), p)


@register_kl(MultivariateNormal, CollapsedGP)
def _kl_full(q: MultivariateNormal, p: CollapsedGP) -> Tensor:
    tril = q.scale_tril
    log_det = 2 * tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return _share(q.loc, tril.square().sum(-1), log_det, p)


@register_kl(Distribution, CollapsedGP)
def _kl_other(q: Distribution, p: CollapsedGP) -> Tensor:
    raise NotImplementedError
