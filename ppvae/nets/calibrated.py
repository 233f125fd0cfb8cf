r"""A normal likelihood whose predictive spread is learned apart from its mean.

Learning a mean and a scale of its own for every pixel from one likelihood spoils the mean: where
it is poor the scale grows and its gradient vanishes. Here the mean is trained with one shared
scale, :math:`N(x; \mu(z), \sigma^2)`; a small network reads the decoder's last features and the
mean, both detached, and learns the scale :math:`s(z)` of a Student t, :math:`t_\nu(x; \mu, s^2)`
with one learned :math:`\nu > 2`, by the likelihood of data that the term using it chooses, such
as predictions without a datum's own view (:class:`ppvae.gp.LeaveViewOut`). The errors of images
are mostly small and now and then large: intervals of a normal would cover too much. In evaluation
mode the t is the likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.errors import ArgumentError
from ppvae.nets.mlp import over_leading

__all__ = ["Calibrated", "CalibratedNormal"]


class CalibratedNormal(dist.Independent):
    """A normal of independent elements that knows its calibrated other self.

    Arguments:
        fn: The likelihood with the shared scale.
        calibrated: Makes that with the learned scales; its mean is detached.
    """

    def __init__(
        self, fn: dist.TorchDistribution, calibrated: Callable[[], dist.TorchDistribution]
    ) -> None:
        super().__init__(fn.base_dist, fn.reinterpreted_batch_ndims)
        self.fn = fn
        self.calibrated = calibrated

    def expand(self, batch_shape: Any, _instance: Any = None) -> CalibratedNormal:
        shape = torch.Size(batch_shape)
        if shape == self.batch_shape:
            return self
        return CalibratedNormal(self.fn.expand(shape), lambda: self.calibrated().expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.fn.log_prob(value)


class Calibrated(nn.Module):
    """A decoder with a :class:`~ppvae.nets.heads.Normal` head, and a network for its scale.

    Arguments:
        decoder: A :class:`~ppvae.nets.ConvDecoder`, an :class:`~ppvae.nets.MLP`, or another with
            ``features``, ``emit``, ``feature_shape`` and ``head`` as theirs.
        hidden: Filters (or units) of the scale's hidden layer.
        init: The initial scale, in the unit of the data.
        bounds: The least and the largest scale.

    Raises:
        ArgumentError: If the decoder's likelihood is not normal.
    """

    def __init__(
        self,
        decoder: nn.Module,
        *,
        hidden: int = 8,
        init: float = 0.1,
        bounds: tuple[float, float] = (2.5e-3, 1.6),
    ) -> None:
        super().__init__()
        self.decoder = decoder
        parts: Any = decoder
        self.event_shape = torch.Size(parts.head.event_shape)
        self.log_bounds = math.log(bounds[0]), math.log(bounds[1])
        size, elements = parts.feature_shape[0], self.event_shape.numel()
        self.is_image = len(parts.feature_shape) == 3
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
        decoder: Any = self.decoder
        features = decoder.features(*inputs)
        fn: Any = decoder.emit(features)
        if not isinstance(getattr(fn, "base_dist", None), dist.Normal):
            raise ArgumentError(
                f"Calibrated: expected a decoder with a normal likelihood; got {fn}. "
                "Use ppvae.nets.heads.Normal(shape, Shared())."
            )
        if not self.training:
            return self._calibrated(features, fn.mean)
        return CalibratedNormal(fn, lambda: self._calibrated(features.detach(), fn.mean.detach()))

    def _calibrated(self, features: Tensor, mean: Tensor) -> Any:
        if self.is_image:
            log_scale = over_leading(self.net, torch.cat([features, mean], -3), 3)
        else:
            flat = mean.flatten(mean.dim() - len(self.event_shape))
            log_scale = self.net(torch.cat([features, flat], -1)).reshape(mean.shape)
        scale = log_scale.clamp(*self.log_bounds).exp()
        freedom = 2.05 + functional.softplus(self.raw_freedom).to(mean)
        head: Any = self.decoder.head
        return head.declare(dist.StudentT(freedom, mean, scale))
