r"""The default prior, :math:`p(z) = N(z; 0, I)`."""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from ppvae.errors import ArgumentError
from ppvae.nets.priors.prior import Unconditional

__all__ = ["StandardNormal", "prior_or_normal"]


class StandardNormal(Unconditional):
    """N(0, I) in Z dimensions."""

    def forward(self) -> dist.TorchDistribution:
        return dist.Normal(self.zero, 1.0).to_event(1)


def prior_or_normal(prior: nn.Module | None, latent_dim: int | None, what: str) -> nn.Module:
    """The prior that is given, else N(0, I) in ``latent_dim`` dimensions.

    Raises:
        ArgumentError: Unless exactly one of the two is given.
    """
    if (latent_dim is None) == (prior is None):
        raise ArgumentError(
            f"{what}: expected either latent_dim or prior; got {latent_dim} and {prior}. "
            "Use latent_dim=2 for N(0, I)."
        )
    return StandardNormal(latent_dim or 0) if prior is None else prior
