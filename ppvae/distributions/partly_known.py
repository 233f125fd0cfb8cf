r"""A distribution with known values for some data.

.. math::
    q_n = \delta_{v_n} \text{ where } v_n \text{ is known, else } q_n = f_n

The point mass has log-density 0 at its point, so that :math:`\log p(v) - \log q(v) = \log p(v)`:
the site of a datum with a label then has the same term as an observed site.

References:
    | Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014)
    | https://arxiv.org/abs/1406.5298
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints, kl_divergence, register_kl

__all__ = ["PartlyKnown"]


class PartlyKnown(TorchDistribution):
    r""":math:`\delta_v` where known, ``free`` elsewhere.

    Arguments:
        free: Distribution of unknown values, with batch shape (..., N).
        value: Known values, with shape (N, \*event); any finite number where unknown.
        known: Whether each value is known, boolean, with shape (N).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, free: TorchDistribution, value: Tensor, known: Tensor) -> None:
        self.free, self.value, self.known = free, value, known
        super().__init__(free.batch_shape, free.event_shape, validate_args=False)

    @classmethod
    def classes(cls, free: TorchDistribution, y: Tensor | None) -> TorchDistribution:
        """A categorical with labels (N), -1 where missing."""
        return free if y is None else cls(free, y.clamp_min(0), y >= 0)

    @classmethod
    def factors(cls, free: TorchDistribution, c: Tensor | None) -> TorchDistribution:
        """A density of vectors with targets (N, C), or (N) if C is 1; NaN where missing.

        A row with any NaN is missing.
        """
        if c is None:
            return free
        c = c.unsqueeze(-1) if c.dim() == 1 else c
        known = ~c.isnan().any(-1)
        return cls(free, torch.where(known.unsqueeze(-1), c, torch.zeros_like(c)), known)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether ``free`` has draws with gradients."""
        return bool(self.free.has_rsample)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether ``free`` is discrete with finitely many values."""
        return bool(self.free.has_enumerate_support)

    @property
    def support(self) -> constraints.Constraint | None:
        """The support of ``free``."""
        return self.free.support

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> PartlyKnown:
        return PartlyKnown(self.free.expand(batch_shape), self.value, self.known)

    def _fill(self, value: Tensor) -> Tensor:
        """Known values in place of those drawn."""
        known = self.known.reshape(self.known.shape + (1,) * len(self.event_shape))
        return torch.where(known, self.value.to(value), value)

    @property
    def mean(self) -> Tensor:
        """Known values, and the mean of ``free`` elsewhere, with shape (..., N, \\*event)."""
        return self._fill(self.free.mean)

    @property
    def mode(self) -> Tensor:
        """Known values, and the mode of ``free`` elsewhere, with shape (..., N, \\*event)."""
        return self._fill(self.free.mode)

    @property
    def variance(self) -> Tensor:
        """Zero where known, the variance of ``free`` elsewhere, with shape (..., N, \\*event)."""
        known = self.known.reshape(self.known.shape + (1,) * len(self.event_shape))
        return self.free.variance.masked_fill(known, 0.0)

    @property
    def probs(self) -> Tensor:
        """Probabilities of the classes, with shape (..., N, K)."""
        probs = self.free.probs
        classes = torch.arange(probs.size(-1), device=probs.device)
        points = (self.value.unsqueeze(-1) == classes).to(probs)
        return torch.where(self.known.unsqueeze(-1), points, probs)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._fill(self.free.rsample(torch.Size(sample_shape)))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            return self._fill(self.free.sample(torch.Size(sample_shape)))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self.free.enumerate_support(expand=expand)

    def log_prob(self, value: Tensor) -> Tensor:
        free = self.free.log_prob(value)
        point = torch.zeros_like(free)
        if self.has_enumerate_support:
            point = point.masked_fill(value != self.value, -torch.inf)
        return torch.where(self.known, point, free)


@register_kl(PartlyKnown, Distribution)
def _kl(q: PartlyKnown, p: Distribution) -> Tensor:
    point = -p.log_prob(q.value.expand(q.batch_shape + q.event_shape))
    return torch.where(q.known, point, kl_divergence(q.free, p))
