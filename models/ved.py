r"""Encoder-decoder between modalities: from an image to a spectrum, and the like.

.. math::
    p(x, z) = N(z; 0, I) \, p(x \mid z), \qquad q(z \mid s)

The program is :class:`~ppvae.models.VAE`'s; the guide, :class:`~ppvae.guides.SourceGuide`, sees
another column, the source s, in place of x. What the pair says of x given s alone is

.. math::
    p(x \mid s) = \int q(z \mid s) \, p(x \mid z) \, dz,

which :class:`Translation` states as a program, to predict from.

References:
    | Deep Variational Information Bottleneck (Alemi et al., 2017)
    | https://arxiv.org/abs/1612.00410
"""

from __future__ import annotations

from pyro import poutine
from torch import Tensor, nn

from ppvae.programs import arguments

__all__ = ["Translation"]


class Translation(nn.Module):
    r""":math:`p(x \mid s) = \int q(z \mid s) \, p(x \mid z) \, dz`, of any trained pair.

    ``ppvae.evaluate.predict.predict(Translation(model, guide), {"source": s})`` is its mean and
    standard deviation.

    Arguments:
        model: The generative program; observes ``x``.
        guide: The variational program over ``source``.
    """

    def __init__(self, model: nn.Module, guide: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.guide = guide

    def forward(self, *, source: Tensor) -> Tensor:
        with poutine.block():
            trace = poutine.trace(self.guide).get_trace(
                **arguments(self.guide, {"source": source})
            )
        with poutine.replay(trace=trace):
            drawn: Tensor = self.model(size=len(source))
        return drawn
