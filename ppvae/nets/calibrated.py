r"""A likelihood with a predictive scale that is learned separately from its mean.

Learning a mean and a separate scale for every pixel from one likelihood impairs the mean: where
the mean is poor, the scale grows and the gradient of the mean vanishes. Here the likelihood is a
Student t,

.. math::
    p(x \mid z) = t_\nu\left(x; \mu(z), s(z)^2\right), \qquad \nu > 2,

with a scale that a small network computes from the decoder's last features and the mean, both
detached. The value is the log-density of the t, in training and in evaluation. The gradient in
training is that of

.. math::
    \log N(x; \mu, \sigma^2) + \log t_\nu(x; \mathrm{stop}(\mu), s^2):

the mean is trained with one shared scale :math:`\sigma`, and the network and :math:`\nu` by the t,
on the values that the objective scores. A term with better data for the scale, such as predictions
without a datum's own view (:class:`ppvae.gp.LeaveViewOut`), fixes it in the ELBO
(:meth:`CalibratedStudentT.held`). Errors of images are mostly small and sometimes large, so that
intervals of a normal would cover too much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from ppvae.distributions import SharedStudentT
from ppvae.errors import ArgumentError
from ppvae.nets.convolved import convolved
from ppvae.nets.featured import FeatureNetwork

__all__ = ["Calibrated", "CalibratedStudentT"]


class CalibratedStudentT(dist.Independent):
    """A Student t of independent elements with a mean that is trained like that of a normal.

    Arguments:
        fn: Student t distribution.
        scored: The same distribution with its mean detached; its log-density is the value.
        normal: Normal with the same mean and the shared scale, which gives the mean's gradient.
        is_held: Whether the scale of the t and its degrees of freedom get no gradient.
    """

    def __init__(
        self,
        fn: dist.TorchDistribution,
        scored: dist.TorchDistribution,
        normal: dist.TorchDistribution,
        *,
        is_held: bool = False,
    ) -> None:
        super().__init__(fn.base_dist, fn.reinterpreted_batch_ndims)
        self.scored = scored
        self.normal = normal
        self.is_held = is_held

    @property
    def support(self) -> constraints.Constraint | None:
        return self.scored.support

    def held(self) -> CalibratedStudentT:
        """The same likelihood without gradients for the scale and the degrees of freedom."""
        return CalibratedStudentT(self, self.scored, self.normal, is_held=True)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> CalibratedStudentT:
        shape = torch.Size(batch_shape)
        if shape == self.batch_shape:
            return self
        fn = dist.Independent(
            self.base_dist.expand(shape + self.event_shape), self.reinterpreted_batch_ndims
        )
        scored, normal = self.scored.expand(shape), self.normal.expand(shape)
        return CalibratedStudentT(fn, scored, normal, is_held=self.is_held)

    def log_prob(self, value: Tensor) -> Tensor:
        log_prob: Tensor = self.scored.log_prob(value)
        of_mean: Tensor = self.normal.log_prob(value)
        return (log_prob.detach() if self.is_held else log_prob) + (of_mean - of_mean.detach())


class Calibrated(nn.Module):
    """A decoder with a :class:`~ppvae.nets.heads.Normal` head, and a network for its scale.

    Arguments:
        decoder: A :class:`~ppvae.nets.ConvDecoder`, an :class:`~ppvae.nets.MLP`, or another
            :class:`~ppvae.nets.FeatureNetwork`.
        hidden: Number of filters, or units, of the hidden layer for the scale.
        init: Initial scale, in the unit of the data.
        bounds: Smallest and largest scale.

    Raises:
        ArgumentError: If the decoder's likelihood is not normal.
    """

    def __init__(
        self,
        decoder: FeatureNetwork,
        *,
        hidden: int = 8,
        init: float = 0.1,
        bounds: tuple[float, float] = (2.5e-3, 1.6),
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.event_shape = torch.Size(decoder.head.event_shape)
        self.log_bounds = math.log(bounds[0]), math.log(bounds[1])
        size, elements = decoder.feature_shape[0], self.event_shape.numel()
        self.is_image = len(decoder.feature_shape) == 3
        layers: list[nn.Module]
        if self.is_image:
            channels = self.event_shape[0]
            first = nn.Conv2d(size + channels, hidden, 3, padding=1)
            last: nn.Conv2d | nn.Linear = nn.Conv2d(hidden, channels, 3, padding=1)
            layers = [first, nn.SiLU(), last]
        else:
            last = nn.Linear(hidden, elements)
            layers = [nn.Linear(size + elements, hidden), nn.SiLU(), last]
        assert last.bias is not None
        nn.init.constant_(last.bias, math.log(init))
        self.net = nn.Sequential(*layers)
        self.raw_freedom = nn.Parameter(torch.tensor(5.0))

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        """The likelihood of data (..., \\*event) from the decoder's inputs (..., F).

        Raises:
            ArgumentError: If the decoder's likelihood is not normal.
        """
        features = self.decoder.features(*inputs)
        fn = self.decoder.emit(features)
        if not isinstance(getattr(fn, "base_dist", None), dist.Normal):
            raise ArgumentError(
                f"Calibrated: expected a decoder with a normal likelihood; got {fn}. "
                "Use ppvae.nets.heads.Normal(shape, Shared())."
            )
        if not self.training:
            return self._declared(fn.mean, *self._spread(features, fn.mean))
        mean = fn.mean.detach()
        spread = self._spread(features.detach(), mean)
        return CalibratedStudentT(
            self._declared(fn.mean, *spread), self._declared(mean, *spread), fn
        )

    def _spread(self, features: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Degrees of freedom, with shape (), and scales, with shape (..., *event_shape)."""
        if self.is_image:
            both = torch.cat(
                [value.reshape(-1, *value.shape[-3:]) for value in (features, mean)], 1
            )
            log_scale = self._of_images(both).reshape(mean.shape)
        else:
            flat = mean.flatten(mean.dim() - len(self.event_shape))
            log_scale = self.net(torch.cat([features, flat], -1)).reshape(mean.shape)
        freedom = 2.05 + functional.softplus(self.raw_freedom).to(mean)
        return freedom, log_scale.clamp(*self.log_bounds).exp()

    def _of_images(self, joined: Tensor) -> Tensor:
        """Log scales, with shape (N, C, H, W), of features and means."""
        hidden = self.net[:2](joined)
        last = self.net[2]
        assert isinstance(last, nn.Conv2d)
        return convolved(hidden, last).contiguous()

    def _declared(self, mean: Tensor, freedom: Tensor, scale: Tensor) -> dist.TorchDistribution:
        return self.decoder.head.declare(SharedStudentT(freedom, mean, scale))


def _joined(*maps: Tensor) -> Tensor:
    """Maps (..., C, H, W) as one (N, C, H, W), channels last, which is faster for few filters."""
    pixels = [m.reshape(-1, *m.shape[-3:]).movedim(1, 3) for m in maps]
    return torch.cat(pixels, 3).movedim(3, 1)
