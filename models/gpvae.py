r"""GP-prior VAE: latents that vary smoothly over views and are shared between objects.

.. math::
    p(Z) \prod_n p(x_n \mid z_n), \qquad
    z_l \sim \mathrm{GP}\left(0, \; v_0 \, k(p, p') \, k(w, w') + v_1 \delta\right)

References:
    | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
    | https://arxiv.org/abs/1810.11738
"""

from __future__ import annotations

from torch import nn

from ppvae.gp import GPPrior
from ppvae.models.vae import VAE

__all__ = ["GPVAE"]


class GPVAE(VAE):
    r""":math:`p(Z \mid \mathrm{object}, \mathrm{view}) \prod_n p(x_n \mid z_n)`.

    The program is that of :class:`~ppvae.models.VAE` with a GP as prior; it takes the columns
    ``object`` and ``view``.

    Arguments:
        prior: The GP over object and view.
        decoder: z, with shape (..., N, L), to a distribution of x.
    """

    def __init__(self, prior: GPPrior | nn.Module, decoder: nn.Module) -> None:
        super().__init__(decoder, prior=prior)
