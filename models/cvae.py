r"""Conditional VAE: known properties of a datum are inputs, and z represents the rest.

.. math::
    p(x, z \mid y, c) = p(z) \, p(x \mid z, y, c), \qquad p(z) = N(z; 0, I)

References:
    | Learning Structured Output Representation using Deep Conditional Generative Models
    | (Sohn, Yan and Lee, 2015)
    | https://papers.nips.cc/paper/5775
"""

from __future__ import annotations

from inspect import Parameter

import pyro
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.expected import at_least
from ppvae.nets.priors import prior_or_normal
from ppvae.programs import columns_of, data_plate, deal

__all__ = ["ConditionalVAE"]


class ConditionalVAE(nn.Module):
    r""":math:`p(x, z \mid y, c)`, given the class y, the continuous factors c, or both.

    Arguments:
        decoder: z, with shape (..., N, Z), then the conditions, to a distribution of x.
        conditions: Module from columns to the decoder's further inputs:
            :class:`~ppvae.nets.Conditions` for the columns ``y`` and ``c``, or
            :class:`~ppvae.nets.Columns` for any columns.
        latent_dim: Z, for :math:`p(z) = N(0, I)`.
        prior: Another p(z), or p(z | columns), as in :class:`~ppvae.models.VAE`.

    Raises:
        ArgumentError: Unless exactly one of ``latent_dim`` and ``prior`` is given.
    """

    @typed(latent_dim=at_least(1))
    def __init__(
        self,
        decoder: nn.Module,
        conditions: nn.Module,
        *,
        latent_dim: int | None = None,
        prior: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.conditions = conditions
        self.prior = prior_or_normal(prior, latent_dim, "ConditionalVAE")

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns``: those of the conditions and of the prior."""
        return columns_of(self.conditions, self.prior)

    def forward(
        self, x: Tensor | None = None, *, size: int | None = None, **columns: Tensor
    ) -> Tensor:
        conditions, of_prior = deal(columns, self.conditions, self.prior)
        given = self.conditions(**conditions)
        with data_plate(x, *columns.values(), size=size):
            z = pyro.sample("z", self.prior(**of_prior))  # (..., N | Z)
            return pyro.sample("x", self.decoder(z, *given), obs=x)  # (..., N | C, H, W)
