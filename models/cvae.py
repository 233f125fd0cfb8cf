r"""Conditional VAE: what is known of a datum is given, z is what is left.

.. math::
    p(x, z \mid y, c) = N(z; 0, I) \, p(x \mid z, y, c)

References:
    | Learning Structured Output Representation using Deep Conditional Generative Models
    | (Sohn, Yan and Lee, 2015)
    | https://papers.nips.cc/paper/5775
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.nets import Conditions
from ppvae.programs import data_plate

__all__ = ["ConditionalVAE"]


class ConditionalVAE(nn.Module):
    r""":math:`p(x, z \mid y, c)`, given the class y, the continuous factors c, or both.

    Arguments:
        decoder: z, with shape (..., N, Z), then the conditions, to a distribution of x.
        conditions: Turns the columns ``y`` and ``c`` into the decoder's further inputs.
        latent_dim: Z.
    """

    zero: Tensor

    def __init__(self, decoder: nn.Module, conditions: Conditions, *, latent_dim: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.conditions = conditions
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)

    def forward(
        self, x: Tensor | None = None, *, y: Tensor | None = None, c: Tensor | None = None
    ) -> Tensor:
        given = self.conditions(y, c)
        with data_plate(x, *given):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))  # (..., N | Z)
            return pyro.sample("x", self.decoder(z, *given), obs=x)  # (..., N | C, H, W)
