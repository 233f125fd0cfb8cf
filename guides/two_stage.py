r"""Guides of a two-stage VAE: x is embedded once, or the first latent is embedded again.

Single embedding, with features :math:`h = \mathrm{trunk}(x)`:

.. math::
    q(z_1, z_2 \mid x) = q(z_1 \mid h) \, q(z_2 \mid h)

Double embedding, with the second stage after the first's draw:

.. math::
    q(z_1, z_2 \mid x) = q(z_1 \mid x) \, q(z_2 \mid z_1)

References:
    | Learning Representations by Maximizing Mutual Information in Variational Autoencoders
    | (Rezaabad and Vishwanath, 2020), https://arxiv.org/abs/1912.13361, for one stage
"""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from ppvae.programs import data_plate

__all__ = ["DoubleEmbeddingGuide", "SingleEmbeddingGuide"]


class SingleEmbeddingGuide(nn.Module):
    r""":math:`q(z_1 \mid h) \, q(z_2 \mid h)`.

    Arguments:
        trunk: x, with shape (N, ...), to the features h, with shape (N, H): a network that ends
            in ``heads.Raw((H,))``.
        first: h to a distribution of z1.
        second: h to a distribution of z2.
    """

    def __init__(self, trunk: nn.Module, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> None:
        h = self.trunk(x).mean
        with data_plate(x):
            pyro.sample("z1", self.first(h))  # (..., N | Z1)
            pyro.sample("z2", self.second(h))  # (..., N | Z2)


class DoubleEmbeddingGuide(nn.Module):
    r""":math:`q(z_1 \mid x) \, q(z_2 \mid z_1)`.

    Arguments:
        first: x, with shape (N, ...), to a distribution of z1.
        second: z1, with shape (..., N, Z1), to a distribution of z2.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            z1 = pyro.sample("z1", self.first(x))  # (..., N | Z1)
            pyro.sample("z2", self.second(z1))  # (..., N | Z2)
