r"""Variational autoencoder.

.. math::
    p(x, z) = p(z) \, p(x \mid z), \qquad p(z) = N(z; 0, I)

References:
    | Auto-Encoding Variational Bayes (Kingma and Welling, 2013)
    | https://arxiv.org/abs/1312.6114
"""

from __future__ import annotations

from inspect import Parameter

import pyro
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.expected import at_least
from ppvae.nets.priors import prior_or_normal
from ppvae.programs import columns_of, data_plate

__all__ = ["VAE"]


class VAE(nn.Module):
    r""":math:`p(x, z) = p(z) \, p(x \mid z)`; the decoder's head chooses the likelihood.

    Arguments:
        decoder: z, with shape (..., N, Z), to a distribution of x.
        latent_dim: Z, for :math:`p(z) = N(0, I)`.
        prior: Another p(z), a :class:`~ppvae.nets.Prior`, such as
            :class:`~ppvae.nets.AnyDirection` (a hyperspherical VAE) or a
            :class:`~ppvae.gp.GPPrior` (a GP-prior VAE, which takes ``object`` and ``view``). The
            model takes the columns that the prior takes.

    Raises:
        ArgumentError: Unless exactly one of ``latent_dim`` and ``prior`` is given.
    """

    @typed(latent_dim=at_least(1))
    def __init__(
        self,
        decoder: nn.Module,
        *,
        latent_dim: int | None = None,
        prior: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.prior = prior_or_normal(prior, latent_dim, "VAE")

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns``: those of the prior."""
        return columns_of(self.prior)

    def forward(
        self, x: Tensor | None = None, *, size: int | None = None, **columns: Tensor
    ) -> Tensor:
        with data_plate(x, *columns.values(), size=size):
            z = pyro.sample("z", self.prior(**columns))  # (..., N | Z)
            return pyro.sample("x", self.decoder(z), obs=x)  # (..., N | C, H, W)
