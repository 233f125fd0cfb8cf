r"""Two-stage VAE: a large code for reconstruction, and a small code for inspection.

.. math::
    p(x_1, z_1) \, p(x_2, z_2) = p(z_1) \, p(x_1 \mid z_1) \; p(z_2) \, p(x_2 \mid z_2),
    \qquad p(z_k) = N(z_k; 0, I)

Both stages explain the same x: ``x1`` and ``x2`` are two sites observed at one column. They are
independent a priori; the guide connects them, as its second encoder takes the features of the
first (:class:`~ppvae.guides.SingleEmbeddingGuide`) or the first latent
(:class:`~ppvae.guides.DoubleEmbeddingGuide`). The ELBO is the sum of the stages' ELBOs.

The weights belong to the objective. The published loss, to be maximised,

.. math::
    \log p(x_2 \mid z_2) - \beta_2 \mathrm{KL}_2 + \alpha_2 I(x; z_2)
        + \gamma \left[ \log p(x_1 \mid z_1) - \beta_1 \mathrm{KL}_1 + \alpha_1 I(x; z_1) \right],

is ``ELBO(weights={"x1": gamma, "z1": gamma * beta1, "z2": beta2})`` with a
:class:`~ppvae.objectives.MutualInformation` of weight ``alpha2`` and one of ``gamma * alpha1``.

References:
    | Learning Representations by Maximizing Mutual Information in Variational Autoencoders
    | (Rezaabad and Vishwanath, 2020), https://arxiv.org/abs/1912.13361, for one stage
"""

from __future__ import annotations

from inspect import Parameter

import pyro
from torch import Tensor, nn

from ppvae.nets.priors import prior_or_normal
from ppvae.programs import columns_of, data_plate, deal

__all__ = ["TwoStageVAE"]


class TwoStageVAE(nn.Module):
    r""":math:`p(x_1, z_1) \, p(x_2, z_2)`; returns :math:`x_2`.

    Arguments:
        first: z1, with shape (..., N, Z1), to a distribution of x.
        second: z2, with shape (..., N, Z2), to a distribution of x.
        latent_dims: Z1 and Z2, for standard normal priors; None where a prior is given.
        priors: Other priors of z1 and z2, as in :class:`~ppvae.models.VAE`; None for a normal.

    Raises:
        ArgumentError: Unless each latent has either a dimension or a prior.
    """

    def __init__(
        self,
        first: nn.Module,
        second: nn.Module,
        *,
        latent_dims: tuple[int | None, int | None] = (None, None),
        priors: tuple[nn.Module | None, nn.Module | None] = (None, None),
    ) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.prior1 = prior_or_normal(priors[0], latent_dims[0], "TwoStageVAE, z1")
        self.prior2 = prior_or_normal(priors[1], latent_dims[1], "TwoStageVAE, z2")

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns``: those of the priors."""
        return columns_of(self.prior1, self.prior2)

    def forward(
        self, x: Tensor | None = None, *, size: int | None = None, **columns: Tensor
    ) -> Tensor:
        of_first, of_second = deal(columns, self.prior1, self.prior2)
        with data_plate(x, *columns.values(), size=size):
            z1 = pyro.sample("z1", self.prior1(**of_first))  # (..., N | Z1)
            pyro.sample("x1", self.first(z1), obs=x)  # (..., N | C, H, W)
            z2 = pyro.sample("z2", self.prior2(**of_second))  # (..., N | Z2)
            return pyro.sample("x2", self.second(z2), obs=x)  # (..., N | C, H, W)
