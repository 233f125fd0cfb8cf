r"""A mixture of normals, with the component summed out in closed form.

.. math::
    p(z) = \sum_k \pi_k \, N\left(z; \mu_k, \mathrm{diag} \, \sigma_k^2\right)

For a mixture with the component as an enumerated latent site, use
:class:`~ppvae.models.JointVAE` with :class:`~ppvae.nets.ClassNormal`.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from ppvae.errors import ArgumentError
from ppvae.nets.heads import positive
from ppvae.nets.priors.prior import Unconditional

__all__ = ["MixtureNormal"]


class MixtureNormal(Unconditional):
    r""":math:`\sum_k \pi_k N(\mu_k, \mathrm{diag} \, \sigma_k^2)`, all of it learned.

    Arguments:
        components: K.
        latent_dim: Z.
        spread: Standard deviation of the initial means; the scales start at one.

    Raises:
        ArgumentError: If ``components`` is below 1.
    """

    def __init__(self, components: int, latent_dim: int, *, spread: float = 1.0) -> None:
        super().__init__(latent_dim)
        if components < 1:
            raise ArgumentError(f"components: expected at least 1; got {components}. Use 10.")
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(spread * torch.randn(components, latent_dim))
        raw = torch.tensor(1.0).expm1().log()
        self.raw_scale = nn.Parameter(raw.expand(components, latent_dim).clone())

    def forward(self) -> dist.TorchDistribution:
        normals = dist.Normal(self.loc, positive(self.raw_scale)).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), normals)
