r"""Counts of many features per datum, such as genes of a cell, as shares of a library.

.. math::
    x_g \sim \mathrm{NB}(\mu_g, \theta_g), \quad \mu_g = l \, \rho_g, \quad
    \sum_g \rho_g = 1, \qquad \mathrm{Var} \, x_g = \mu_g + \mu_g^2 / \theta_g

Without dispersion, it is a Poisson; with a gate, an element is zero with probability :math:`\pi_g`
independently of its mean (zero inflation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import Gamma, constraints
from torch.nn import functional

from ppvae.distributions.negative_binomial import log_negative_binomial

__all__ = ["Counts"]


def log_poisson(x: Tensor, log_mean: Tensor) -> Tensor:
    """The log-density of counts without over-dispersion."""
    return x * log_mean - log_mean.exp() - (x + 1).lgamma()


class Counts(TorchDistribution):
    r"""Counts with event shape \*E, given the library size :math:`l` of the datum.

    Where ``library`` is not given, data are scored given their own total,
    :math:`l = \sum_g x_g`, and draws have a library from :math:`\log N(l; m, s^2)`.

    Arguments:
        log_share: :math:`\log \rho`, with shape (..., \*E), summing to one over E.
        log_theta: :math:`\log \theta`, broadcastable to it; None for a Poisson.
        gate: Logits of :math:`\pi`, broadcastable to it; None without zero inflation.
        library: :math:`l`, with the batch shape; None for each datum's own total.
        prior: m and s, for draws without ``library``.
        event_dim: Number of dimensions of E.
        missing: Whether elements may be NaN, which are not scored; totals and shares are then
            those of the observed elements.

    References:
        | scVI (Lopez et al., 2018), https://doi.org/10.1038/s41592-018-0229-2
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(
        self,
        log_share: Tensor,
        log_theta: Tensor | None = None,
        gate: Tensor | None = None,
        *,
        library: Tensor | None = None,
        prior: tuple[float, float] = (0.0, 0.0),
        event_dim: int = 1,
        missing: bool = False,
    ) -> None:
        self.log_share, self.log_theta, self.gate = log_share, log_theta, gate
        self.library, self.prior, self.missing = library, prior, missing
        cut = log_share.dim() - event_dim
        super().__init__(log_share.shape[:cut], log_share.shape[cut:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Counts 0, 1, ...; real numbers where elements may be NaN."""
        base = constraints.real if self.missing else constraints.nonnegative_integer
        return constraints.independent(base, len(self.event_shape))

    def like(self, **changes: Any) -> Counts:
        """The same distribution with some arguments changed."""
        given = {
            "log_share": self.log_share,
            "log_theta": self.log_theta,
            "gate": self.gate,
            "library": self.library,
            "prior": self.prior,
            "event_dim": len(self.event_shape),
            "missing": self.missing,
        }
        return Counts(**(given | changes))

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Counts:
        shape = Size(batch_shape)
        library = self.library if self.library is None else self.library.expand(shape)
        full = shape + self.event_shape
        given = {
            name: value if value is None else value.expand(full)
            for name, value in (("log_theta", self.log_theta), ("gate", self.gate))
        }
        return self.like(log_share=self.log_share.expand(full), library=library, **given)

    def _wide(self, value: Tensor) -> Tensor:
        """A value of the batch shape, broadcastable to the elements."""
        return value.reshape(value.shape + (1,) * len(self.event_shape))

    def given(self, value: Tensor) -> Counts:
        """With the library of a value: its total, over the share of what was seen of it."""
        if self.library is not None:
            return self
        inner = tuple(range(-len(self.event_shape), 0))
        share = self.log_share.exp()
        seen = torch.where(value.isnan(), torch.zeros_like(share), share).sum(inner)
        # If nothing is observed, a typical library.
        typical = torch.full_like(seen, math.exp(self.prior[0]))
        library = value.nansum(inner) / seen.clamp_min(1e-6)
        return self.like(library=torch.where(seen > 1e-6, library.clamp_min(1), typical))

    def elements(self, value: Tensor) -> Tensor:
        """The log-density of each element, in nats, zero where it is missing."""
        seen = ~value.isnan() if self.missing else None
        x = value if seen is None else torch.where(seen, value, torch.zeros_like(value))
        inner = tuple(range(-len(self.event_shape), 0))
        log_share = self.log_share
        if self.library is not None:
            log_library = self._wide(self.library.log())
        else:
            # An empty datum has a library of one.
            log_library = x.sum(inner, keepdim=True).clamp_min(1).log()
            if seen is not None:
                # Rather than minus infinity, whose gradient is NaN where nothing was seen.
                hidden = log_share.masked_fill(~seen, -1e4)
                log_share = log_share - hidden.logsumexp(inner, keepdim=True)
        log_mean = log_library + log_share
        if seen is not None:
            log_mean = torch.where(seen, log_mean, torch.zeros_like(log_mean))
        if self.log_theta is not None:
            log_prob = log_negative_binomial(x, log_mean, self.log_theta.to(log_mean), self.gate)
        else:
            log_prob = log_poisson(x, log_mean)
        if self.gate is not None and self.log_theta is None:
            kept = functional.logsigmoid(-self.gate) + log_prob
            nothing = torch.logaddexp(functional.logsigmoid(self.gate), kept)
            log_prob = torch.where(x == 0, nothing, kept)
        return (
            log_prob if seen is None else torch.where(seen, log_prob, torch.zeros_like(log_prob))
        )

    def log_prob(self, value: Tensor) -> Tensor:
        return self.elements(value).sum(tuple(range(-len(self.event_shape), 0)))

    def _library_moments(self) -> tuple[Tensor, Tensor]:
        """E[l] and E[l^2], broadcastable to the elements."""
        if self.library is not None:
            library = self._wide(self.library)
            return library, library.square()
        m, s = self.prior
        ones = torch.ones_like(self.log_share)
        return math.exp(m + s**2 / 2) * ones, math.exp(2 * m + 2 * s**2) * ones

    @property
    def _kept(self) -> Tensor:
        return torch.ones_like(self.log_share) if self.gate is None else (-self.gate).sigmoid()

    @property
    def mean(self) -> Tensor:
        r""":math:`E[l] \, \rho \, (1 - \pi)`."""
        return self._library_moments()[0] * self.log_share.exp() * self._kept

    @property
    def variance(self) -> Tensor:
        """The variance of an element, including that of a library that is not given."""
        first, second = self._library_moments()
        share, kept = self.log_share.exp(), self._kept
        square = second * share.square()
        if self.log_theta is not None:
            square = square * (1 + (-self.log_theta).exp())
        return kept * (first * share + square) - self.mean.square()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(Size(sample_shape))
            library = self.library
            if library is None:
                cut = len(shape) - len(self.event_shape)
                m, s = self.prior
                library = (m + s * torch.randn_like(self.log_share.new_empty(shape[:cut]))).exp()
            mean = (self._wide(library) * self.log_share.exp()).expand(shape)
            if self.log_theta is not None:
                theta = self.log_theta.to(mean).exp().expand(shape)
                mean = mean / theta * Gamma(theta, torch.ones_like(theta)).sample()
            drawn = torch.poisson(mean)
            return (
                drawn if self.gate is None else drawn * torch.bernoulli(self._kept.expand(shape))
            )
