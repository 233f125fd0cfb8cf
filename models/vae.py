r"""Variational autoencoder.

.. math::
    p(x, z) = N(z; 0, I) \, p(x \mid z)

References:
    | Auto-Encoding Variational Bayes (Kingma and Welling, 2013)
    | https://arxiv.org/abs/1312.6114
"""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.nets import Prior, StandardNormal
from ppvae.programs import data_plate

__all__ = ["VAE"]


class VAE(nn.Module):
    r""":math:`p(x, z) = p(z) \, p(x \mid z)`; the decoder's head chooses the likelihood.

    Arguments:
        decoder: z, with shape (..., N, Z), to a distribution of x.
        latent_dim: Z, for :math:`p(z) = N(0, I)`.
        prior: Another p(z), such as :class:`~ppvae.nets.AnyDirection` (a hyperspherical VAE) or
            :class:`~ppvae.nets.AnyRotation`.

    Raises:
        ArgumentError: Unless exactly one of ``latent_dim`` and ``prior`` is given.
    """

    def __init__(
        self, decoder: nn.Module, *, latent_dim: int | None = None, prior: Prior | None = None
    ) -> None:
        super().__init__()
        if (latent_dim is None) == (prior is None):
            raise ArgumentError(
                f"VAE: expected either latent_dim or prior; got {latent_dim} and {prior}. "
                "Use latent_dim=2 for N(0, I)."
            )
        self.decoder = decoder
        self.prior: nn.Module = prior or StandardNormal(latent_dim or 0)

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z = pyro.sample("z", self.prior())  # (..., N | Z)
            return pyro.sample("x", self.decoder(z), obs=x)  # (..., N | C, H, W)
