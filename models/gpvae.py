r"""GP-prior VAE: latents that vary smoothly over views and are shared between objects.

.. math::
    p(Z) \prod_n p(x_n \mid z_n), \qquad
    z_l \sim \mathrm{GP}\left(0, \; v_0 \, k(p, p') \, k(w, w') + v_1 \delta\right)

References:
    | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
    | https://arxiv.org/abs/1810.11738
"""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from ppvae.gp import GPPrior
from ppvae.programs import data_plate

__all__ = ["GPVAE"]


class GPVAE(nn.Module):
    r""":math:`p(Z \mid \mathrm{object}, \mathrm{view}) \prod_n p(x_n \mid z_n)`.

    Arguments:
        prior: The GP over object and view.
        decoder: z, with shape (..., N, L), to a distribution of x.
    """

    def __init__(self, prior: GPPrior, decoder: nn.Module) -> None:
        super().__init__()
        self.prior = prior
        self.decoder = decoder

    def forward(self, x: Tensor | None = None, *, object: Tensor, view: Tensor) -> Tensor:  # noqa: A002
        with data_plate(x, object, view):
            z = pyro.sample("z", self.prior(object, view))  # (..., N | L)
            return pyro.sample("x", self.decoder(z), obs=x)  # (..., N | C, H, W)
