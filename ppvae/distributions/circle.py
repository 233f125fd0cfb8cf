r"""The normal distribution wrapped around the circle, for angles.

.. math::
    p(\gamma) = \sum_{k = -\infty}^{\infty} N(\gamma + 2 \pi k; \mu, \sigma^2)

With a normal posterior of an angle, 179 and -179 degrees are far apart, and the KL includes full
turns that do not change an image. The wrapped normal avoids both, and unlike a von Mises it is
reparameterised exactly by :math:`\mu + \sigma \epsilon`.

References:
    | Directional Statistics (Mardia and Jupp, 2000), section 3.5.7
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution, VonMises
from torch import Size, Tensor
from torch.distributions import constraints, register_kl
from torch.distributions.utils import broadcast_all

from ppvae.distributions.uniform import CircularUniform

__all__ = ["WrappedNormal", "wrap"]

# Below this scale the turns -2 to 2 are summed, above it circular harmonics; the error of either
# is less than 1e-12 of the density.
SCALE_OF_HARMONICS = 2.0
# Of the KL's quadrature, which converges exponentially: reach in standard deviations, number of
# nodes, and the scale from which on they lie on the circle.
REACH, NODES, NARROW = 8.0, 128, 1.0


def wrap(angle: Tensor) -> Tensor:
    r"""The same angles (...), in radians, in :math:`[-\pi, \pi)`, up to rounding."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


class WrappedNormal(TorchDistribution):
    r""":math:`\mu + \sigma \epsilon` modulo a full turn, with :math:`\epsilon \sim N(0, 1)`.

    Any real number is scored, as an angle modulo a full turn; draws are in [-pi, pi).

    Arguments:
        loc: :math:`\mu` in radians, any real numbers, with shape (...).
        scale: :math:`\sigma` in radians, with shape (...), broadcastable with ``loc``; far above
            one, the distribution is almost uniform.
        validate_args: Whether to check the arguments and the scored values.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> WrappedNormal:
        shape = Size(batch_shape)
        return WrappedNormal(self.loc.expand(shape), self.scale.expand(shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean direction, in [-pi, pi)."""
        return wrap(self.loc)

    @property
    def mode(self) -> Tensor:
        """The most probable angle, in [-pi, pi)."""
        return self.mean

    @property
    def variance(self) -> Tensor:
        r"""The square of the circular standard deviation :math:`\sqrt{-2 \log |E e^{i \gamma}|}`,
        which is :math:`\sigma^2`.
        """
        return self.scale.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return wrap(self.loc + self.scale * noise)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        gap = wrap(value - self.loc)
        count = torch.arange(-2, 3, dtype=gap.dtype, device=gap.device)
        narrow = self.scale.clamp(max=SCALE_OF_HARMONICS)
        steps = (gap[..., None] + 2 * math.pi * count) / narrow[..., None]
        few_turns = (
            (-0.5 * steps.square()).logsumexp(-1) - narrow.log() - 0.5 * math.log(2 * math.pi)
        )
        order = count + 3
        wide = self.scale.clamp(min=SCALE_OF_HARMONICS)
        damping = (-0.5 * (order * wide[..., None]).square()).exp()
        harmonics = ((order * gap[..., None]).cos() * damping).sum(-1)
        many_turns = (2 * harmonics).log1p() - math.log(2 * math.pi)
        return torch.where(self.scale < SCALE_OF_HARMONICS, few_turns, many_turns)


@register_kl(WrappedNormal, CircularUniform)
@register_kl(WrappedNormal, WrappedNormal)
@register_kl(WrappedNormal, VonMises)
def _kl(q: WrappedNormal, p: TorchDistribution) -> Tensor:
    r""":math:`E_q[\log q - \log p]` by the trapezoid rule, over :math:`\epsilon` where q is
    narrow and over the circle where it is wide.
    """
    shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    column = (-1,) + (1,) * len(shape)
    nodes = torch.linspace(-REACH, REACH, NODES, dtype=q.loc.dtype, device=q.loc.device)
    weights = (-0.5 * nodes.square()).softmax(0).reshape(column)
    nodes = nodes.reshape(column)
    narrow = q.scale < NARROW
    angle = torch.where(narrow, q.loc + q.scale * nodes, nodes * (math.pi / REACH))
    log_q = q.log_prob(angle)
    # The first and the last point on the circle are the same.
    weights = torch.where(narrow, weights, log_q.exp() * (2 * math.pi / (NODES - 1)))
    terms = weights * (log_q - p.log_prob(angle))
    return terms.sum(0) - torch.where(narrow, torch.zeros_like(terms[0]), terms[0])
