r"""The amortised guide: an encoder network gives each datum's posterior.

.. math::
    q(z \mid x) = \mathrm{head}(\mathrm{encoder}(x))

The encoder's head chooses the family: ``DiagonalNormal``, ``FullNormal``, ``PowerSpherical``, ...

References:
    | Auto-Encoding Variational Bayes (Kingma and Welling, 2013)
    | https://arxiv.org/abs/1312.6114
"""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.programs import data_plate

__all__ = ["AmortizedGuide"]


class AmortizedGuide(nn.Module):
    r""":math:`q(z \mid x)`.

    Arguments:
        encoder: x, with shape (N, ...), to a distribution of z.
    """

    @typed()
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        with data_plate(x):
            return pyro.sample("z", self.encoder(x))  # (..., N | Z)
