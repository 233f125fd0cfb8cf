r"""Semi-supervised VAE: classes or factors that are known for some data.

.. math::
    p(x, z, y, c) = N(z; 0, I) \, \tfrac1K \, N(c; 0, I) \, p(x \mid z, y, c)

It is the program of :class:`~ppvae.models.JointVAE`; labels enter through
:class:`~ppvae.guides.SemiSupervisedGuide`, where a known y or c is a point mass. The ELBO is then
a bound of :math:`\log p(x, y, c)` where labels are known, and of :math:`\log p(x)` elsewhere, as
in M2.

References:
    | Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014)
    | https://arxiv.org/abs/1406.5298
"""

from __future__ import annotations

from torch import nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.models.jvae import JointVAE

__all__ = ["SemiSupervisedVAE"]


class SemiSupervisedVAE(JointVAE):
    r""":math:`p(x, z, y, c)` with the class y, the factors c, or both.

    Arguments:
        decoder: z, with shape (..., N, Z), then the one-hot class (..., N, K), then the factors
            (..., N, C), to a distribution of x.
        latent_dim: Z, for :math:`p(z) = N(0, I)`.
        num_classes: K; 0 for no class.
        factor_dim: C; 0 for no factor. Scale the targets to mean 0 and standard deviation 1.
        prior: Another p(z), or p(z | y, c), as in :class:`~ppvae.models.JointVAE`.

    Raises:
        ArgumentError: If there are neither classes nor factors, or unless exactly one of
            ``latent_dim`` and ``prior`` is given.
    """

    @typed(latent_dim=at_least(1))
    def __init__(
        self,
        decoder: nn.Module,
        *,
        latent_dim: int | None = None,
        num_classes: int = 0,
        factor_dim: int = 0,
        prior: nn.Module | None = None,
    ) -> None:
        if num_classes < 1 and factor_dim < 1:
            raise ArgumentError(
                "SemiSupervisedVAE: expected num_classes, factor_dim or both; got neither. "
                "Count the classes, or use a VAE."
            )
        super().__init__(
            decoder,
            latent_dim=latent_dim,
            classes={"y": num_classes} if num_classes else {},
            factors={"c": factor_dim} if factor_dim else {},
            prior=prior,
        )
