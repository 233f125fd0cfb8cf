r"""The amortised guide of a GP prior whose encoder is told the view, too.

.. math::
    q(Z, w) = \prod_n q(z_n \mid x_n, \mathrm{view}_n) \; p(w \mid Z)
"""

from __future__ import annotations

from typing import Any

import pyro
from torch import Tensor, nn

from ppvae.programs import data_plate

__all__ = ["ConditionalGPGuide"]


class ConditionalGPGuide(nn.Module):
    r""":math:`q(z \mid x, \mathrm{view})`, recorded in the GP prior's table while it trains.

    Arguments:
        encoder: x, with shape (N, ...), and views (N) to a normal distribution of z.
        prior: The model's GP prior, the same module.
    """

    def __init__(self, encoder: nn.Module, prior: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.prior = prior

    def forward(self, x: Tensor, *, view: Tensor, index: Tensor | None = None) -> Tensor:
        with data_plate(x, view):
            q = self.encoder(x, view)
            if index is not None:
                prior: Any = self.prior
                prior.record(index, q)
            return pyro.sample("z", q)  # (..., N | L)
