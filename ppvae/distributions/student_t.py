r"""Student t distributions with a common number of degrees of freedom.

torch expands :math:`\nu` to the shape of the elements: each log-density then computes
:math:`\log \Gamma` of the same number for every pixel, its gradient computes digamma, and a draw
needs a gamma variate per pixel. With one :math:`\nu` for all, the constant is computed once, and a
draw is a closed form of two uniform numbers,

.. math::
    t = \sqrt{\nu \left(u^{-2 / \nu} - 1\right)} \, \cos 2 \pi v

References:
    | Polar Generation of Random Variates with the t-Distribution (Bailey, 1994)
    | https://doi.org/10.1090/S0025-5718-1994-1219702-8
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["SharedStudentT"]


class SharedStudentT(dist.StudentT):
    r"""Student t distributions with one :math:`\nu`.

    Arguments:
        freedom: :math:`\nu`, with shape ().
        loc: Means, or centres where :math:`\nu \leq 1`.
        scale: Scales, with the shape of ``loc``.
    """

    def __init__(self, freedom: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.freedom, self.loc, self.scale = freedom, loc, scale
        self.df = freedom.expand(loc.shape)
        # Not the constructor of torch's class, which makes a chi-squared distribution per element.
        torch.distributions.Distribution.__init__(self, loc.shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> SharedStudentT:
        shape = torch.Size(batch_shape)
        return SharedStudentT(self.freedom, self.loc.expand(shape), self.scale.expand(shape))

    # Without torch's masks over all elements.
    @property
    def mean(self) -> Tensor:
        """The means, with the shape of ``loc``; NaN where there is none."""
        return self.loc.where(self.freedom > 1, torch.nan)

    @property
    def variance(self) -> Tensor:
        """The variances, with the shape of ``loc``; infinite or NaN where there is none."""
        v = self.freedom
        undefined = torch.where(v > 1, torch.inf, torch.nan).to(self.scale)
        return torch.where(v > 2, self.scale.square() * v / (v - 2), undefined)

    def log_prob(self, value: Tensor) -> Tensor:
        v = self.freedom
        half = 0.5 * (v + 1)
        constant = half.lgamma() - (0.5 * v).lgamma() - 0.5 * (math.pi * v).log()
        squares = ((value - self.loc) / self.scale).square() / v
        return constant - self.scale.log() - half * squares.log1p()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        tiny = torch.finfo(self.loc.dtype).tiny
        u, angle = (torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device) for _ in "uv")
        squares = self.freedom * (-2 / self.freedom * u.clamp_min(tiny).log()).expm1()
        return self.loc + self.scale * squares.sqrt() * (2 * math.pi * angle).cos()
