r"""Variational autoencoder.

.. math::
    p(x, z) = N(z; 0, I) \, p(x \mid z)

References:
    | Auto-Encoding Variational Bayes (Kingma and Welling, 2013)
    | https://arxiv.org/abs/1312.6114
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.contract import data_plate

__all__ = ["VAE"]


class VAE(nn.Module):
    r""":math:`p(x, z) = N(z; 0, I) \, p(x \mid z)`; the decoder's head chooses the likelihood.

    Arguments:
        decoder: z, with shape (..., N, Z), to a distribution of x.
        latent_dim: Z.
    """

    zero: Tensor

    def __init__(self, decoder: nn.Module, *, latent_dim: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))  # (..., N | Z)
            return pyro.sample("x", self.decoder(z), obs=x)  # (..., N | C, H, W)
