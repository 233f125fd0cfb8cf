r"""The guide of an encoder-decoder: it sees another modality than the one that is modelled.

.. math::
    q(z \mid s)
"""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from ppvae.programs import data_plate

__all__ = ["SourceGuide"]


class SourceGuide(nn.Module):
    r""":math:`q(z \mid s)`.

    Arguments:
        encoder: The column ``source``, with shape (N, ...), to a distribution of z.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, source: Tensor) -> Tensor:
        with data_plate(source):
            return pyro.sample("z", self.encoder(source))  # (..., N | Z)
