r"""Two-stage VAE: a rich code that reconstructs, and a small one to look at.

.. math::
    p(x_1, z_1) \, p(x_2, z_2) = N(z_1; 0, I) \, p(x_1 \mid z_1) \; N(z_2; 0, I) \, p(x_2 \mid z_2)

Both stages explain the same x: ``x1`` and ``x2`` are two sites observed at one column. They are
independent a priori; the guide ties them, for its second encoder sees what the first has made of
x (:class:`~ppvae.guides.SingleEmbeddingGuide`) or the first latent itself
(:class:`~ppvae.guides.DoubleEmbeddingGuide`). The ELBO is the sum of both stages'.

The weights belong to the objective. The published loss, to be maximised,

.. math::
    \log p(x_2 \mid z_2) - \beta_2 \mathrm{KL}_2 + \alpha_2 I(x; z_2)
        + \gamma \left[ \log p(x_1 \mid z_1) - \beta_1 \mathrm{KL}_1 + \alpha_1 I(x; z_1) \right],

is ``ELBO(weights={"x1": gamma, "z1": gamma * beta1, "z2": beta2})`` with a
:class:`~ppvae.objectives.MutualInformation` of weight ``alpha2`` and one of ``gamma * alpha1``.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.programs import data_plate

__all__ = ["TwoStageVAE"]


class TwoStageVAE(nn.Module):
    r""":math:`p(x_1, z_1) \, p(x_2, z_2)`; returns :math:`x_2`.

    Arguments:
        first: z1, with shape (..., N, Z1), to a distribution of x.
        second: z2, with shape (..., N, Z2), to a distribution of x.
        latent_dims: Z1 and Z2.
    """

    zero1: Tensor
    zero2: Tensor

    def __init__(
        self, first: nn.Module, second: nn.Module, *, latent_dims: tuple[int, int]
    ) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.register_buffer("zero1", torch.zeros(latent_dims[0]), persistent=False)
        self.register_buffer("zero2", torch.zeros(latent_dims[1]), persistent=False)

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z1 = pyro.sample("z1", dist.Normal(self.zero1, 1.0).to_event(1))  # (..., N | Z1)
            pyro.sample("x1", self.first(z1), obs=x)  # (..., N | C, H, W)
            z2 = pyro.sample("z2", dist.Normal(self.zero2, 1.0).to_event(1))  # (..., N | Z2)
            return pyro.sample("x2", self.second(z2), obs=x)  # (..., N | C, H, W)
