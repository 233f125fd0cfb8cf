r"""The amortised guide of a GP prior whose encoder is told the view, too.

.. math::
    q(Z, w) = \prod_n q(z_n \mid x_n, \mathrm{view}_n) \; p(w \mid Z)
"""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from ppvae.programs import data_plate

__all__ = ["ConditionalGPGuide"]


class ConditionalGPGuide(nn.Module):
    r""":math:`q(z \mid x, \mathrm{view})`.

    Arguments:
        encoder: x, with shape (N, ...), and views (N) to a normal distribution of z.
        prior: The model's GP prior, the same module.
    """

    def __init__(self, encoder: nn.Module, prior: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.prior = prior

    def forward(self, x: Tensor, *, view: Tensor) -> Tensor:
        with data_plate(x, view):
            return pyro.sample("z", self.encoder(x, view))  # (..., N | L)
