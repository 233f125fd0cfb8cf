r"""The guide of an encoder-decoder: it encodes another modality than the one that is modelled.

.. math::
    q(z \mid s)

References:
    | Deep Variational Information Bottleneck (Alemi et al., 2017)
    | https://arxiv.org/abs/1612.00410
"""

from __future__ import annotations

from torch import Tensor

from ppvae.guides.amortized import AmortizedGuide

__all__ = ["SourceGuide"]


class SourceGuide(AmortizedGuide):
    r""":math:`q(z \mid s)`.

    Arguments:
        encoder: The column ``source``, with shape (N, ...), to a distribution of z.
    """

    def forward(self, source: Tensor) -> Tensor:
        return super().forward(source)
