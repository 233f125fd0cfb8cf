r"""A guide with one network and an independent factor per site.

.. math::
    q(z, y, \ldots \mid x) = \prod_s q_s(\cdot \mid x)

The family of JointVAE. Discrete sites are enumerated, so that the objective sums them exactly.

References:
    | Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018)
    | https://arxiv.org/abs/1804.00104
"""

from __future__ import annotations

import pyro
from pyro.poutine.runtime import InferDict
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.programs import data_plate

__all__ = ["FactorizedGuide"]


class FactorizedGuide(nn.Module):
    r""":math:`\prod_s q_s(\cdot \mid x)`.

    Arguments:
        encoder: x, with shape (N, ...), to distributions by site name: a network that ends in
            :class:`~ppvae.nets.Sites`.
    """

    @typed()
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            for name, q in self.encoder(x).items():
                infer: InferDict | None = (
                    {"enumerate": "parallel"} if q.has_enumerate_support else None
                )
                pyro.sample(name, q, infer=infer)  # (..., N | event of the site)
