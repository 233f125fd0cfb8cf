r"""The amortised guide of a GP prior: mean-field over data, exact over the GP's weights.

.. math::
    q(Z, w) = \prod_n q(z_n \mid x_n) \; p(w \mid Z)

The weights are integrated out in closed form (:class:`ppvae.gp.CollapsedGP`); the guide keeps
the prior's table of encodings up to date as it goes.
"""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from ppvae.gp import GPPrior
from ppvae.programs import data_plate

__all__ = ["GPGuide"]


class GPGuide(nn.Module):
    r""":math:`q(z \mid x)`, recorded in the GP prior's table while it trains.

    Arguments:
        encoder: x, with shape (N, ...), to a normal distribution of z.
        prior: The model's GP prior, the same module.
    """

    def __init__(self, encoder: nn.Module, prior: GPPrior) -> None:
        super().__init__()
        self.encoder = encoder
        self.prior = prior

    def forward(self, x: Tensor, *, index: Tensor | None = None) -> Tensor:
        with data_plate(x):
            q = self.encoder(x)
            if index is not None:
                self.prior.record(index, q)
            return pyro.sample("z", q)  # (..., N | L)
