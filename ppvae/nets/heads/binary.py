"""Likelihoods of elements that are on or off, or in between."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from ppvae.nets.heads.base import Elementwise

__all__ = ["Bernoulli", "ContinuousBernoulli"]


class Bernoulli(Elementwise):
    r"""Elements on or off: :math:`\log p(x) = x \log \pi + (1 - x) \log(1 - \pi)`.

    Grey values in [0, 1] are accepted; the number is then minus the cross-entropy, not a
    normalised log-density (:class:`ContinuousBernoulli` is).
    """

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(_GreyBernoulli(logits=raw, validate_args=False))

    def marginal(self, x: Tensor) -> dist.TorchDistribution:
        return self.forward(_share_on(x).logit())


class _GreyBernoulli(dist.Bernoulli):
    """A Bernoulli that scores grey values."""

    support = torch.distributions.constraints.unit_interval

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> _GreyBernoulli:
        return type(self)(logits=self.logits.expand(batch_shape), validate_args=False)


class ContinuousBernoulli(Elementwise):
    r"""Elements in [0, 1], normalised: :math:`p(x) = C(\pi) \pi^x (1 - \pi)^{1 - x}`.

    References:
        | The continuous Bernoulli (Loaiza-Ganem and Cunningham, 2019)
        | https://arxiv.org/abs/1907.06845
    """

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.ContinuousBernoulli(logits=raw))

    def marginal(self, x: Tensor) -> dist.TorchDistribution:
        # The mean of the family rises with its logit, and the best fit has the data's mean.
        target = _share_on(x)
        low, high = (torch.full_like(target, end) for end in (-1e4, 1e4))
        for _ in range(60):
            middle = (low + high) / 2
            below = dist.ContinuousBernoulli(logits=middle).mean < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return self.forward((low + high) / 2)


def _share_on(x: Tensor) -> Tensor:
    """The mean of each element, with half a datum of 1 and half a datum of 0 added."""
    count = (~x.isnan()).sum(0)
    return (x.nansum(0) + 0.5) / (count + 1)
