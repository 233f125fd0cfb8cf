r"""The amortised guide of a GP prior: mean-field over data, exact over the GP's weights.

.. math::
    q(Z, w) = \prod_n q(z_n \mid x_n) \; p(w \mid Z)

The weights are integrated out in closed form (:class:`ppvae.gp.CollapsedGP`), from
the table of encodings that the prior keeps while it trains (:meth:`ppvae.gp.GPPrior.record`).
"""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from ppvae.gp import GPPrior
from ppvae.programs import data_plate

__all__ = ["GPGuide"]


class GPGuide(nn.Module):
    r""":math:`q(z \mid x)`.

    Arguments:
        encoder: x, with shape (N, ...), to a normal distribution of z.
        prior: The model's GP prior, the same module.
    """

    def __init__(self, encoder: nn.Module, prior: GPPrior) -> None:
        super().__init__()
        self.encoder = encoder
        self.prior = prior

    def forward(self, x: Tensor) -> Tensor:
        with data_plate(x):
            return pyro.sample("z", self.encoder(x))  # (..., N | L)
