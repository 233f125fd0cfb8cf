r"""Encoder-decoder between modalities, such as from an image to a spectrum.

.. math::
    p(x, z) = N(z; 0, I) \, p(x \mid z), \qquad q(z \mid s)

The program is that of :class:`~ppvae.models.VAE`; the guide, :class:`~ppvae.guides.SourceGuide`,
takes another column, the source s, in place of x. The pair's prediction of x from s alone is

.. math::
    p(x \mid s) = \int q(z \mid s) \, p(x \mid z) \, dz,

which :class:`Translation` represents as a program for predictions.

References:
    | Deep Variational Information Bottleneck (Alemi et al., 2017)
    | https://arxiv.org/abs/1612.00410
"""

from __future__ import annotations

from inspect import Parameter

from pyro import poutine
from torch import Tensor, nn

from ppvae.programs import columns_of, trace_program

__all__ = ["Translation"]


class Translation(nn.Module):
    r""":math:`p(x \mid s) = \int q(z \mid s) \, p(x \mid z) \, dz` for any trained pair.

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

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns``: those that the model needs, such as those of its prior."""
        needed = columns_of(self.model).items()
        return {name: p for name, p in needed if p.default is Parameter.empty}

    def forward(self, *, source: Tensor, **columns: Tensor) -> Tensor:
        """A draw of x given the source.

        Arguments:
            source: The other modality, with shape (N, ...).
            **columns: Columns of the model's prior, each with shape (N, ...).

        Returns:
            Draws with shape (..., N, \\*event), the event of one x.
        """
        given = {"source": source, **columns}
        with poutine.block():
            trace = trace_program(self.guide, given)
        with poutine.replay(trace=trace):
            drawn: Tensor = self.model(**columns, size=len(source))
        return drawn
