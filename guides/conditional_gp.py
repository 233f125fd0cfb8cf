r"""The amortised guide of a GP prior with the view as a further input of the encoder.

.. math::
    q(Z, w) = \prod_n q(z_n \mid x_n, \mathrm{view}_n) \; p(w \mid Z)

References:
    | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
    | https://arxiv.org/abs/1810.11738 (whose encoder takes x alone)
"""

from __future__ import annotations

from torch import nn

from ppvae.guides.conditional import ConditionalGuide
from ppvae.nets import Columns

__all__ = ["ConditionalGPGuide"]


class ConditionalGPGuide(ConditionalGuide):
    r""":math:`q(z \mid x, \mathrm{view})`; :class:`~ppvae.guides.ConditionalGuide`, on the view.

    Arguments:
        encoder: x, with shape (N, ...), and views (N) to a normal distribution of z.
        prior: The model's GP prior, the same module; it records the encodings by itself.
    """

    def __init__(self, encoder: nn.Module, prior: nn.Module) -> None:
        super().__init__(encoder, Columns("view"))
        self.prior = prior
