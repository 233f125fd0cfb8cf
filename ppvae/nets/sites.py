"""Heads for several sites of one network, and for poses."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.distributions import WrappedNormal
from ppvae.errors import ArgumentError
from ppvae.nets.heads import Head, positive

__all__ = ["Angle", "LogScale", "Shift", "Sites"]


class Sites(Head):
    r"""One network's raw numbers as a distribution for each of several sites.

    .. math::
        q(z, y, \ldots \mid x) = \prod_s q_s(\cdot \mid \mathrm{raw}_s(x))

    Arguments:
        heads: Site name to head, in the order in which a guide samples them.

    Raises:
        ArgumentError: If there is no head.

    Example:
        >>> MLP(784, Sites({"z": heads.DiagonalNormal(2), "y": heads.Classes(10)}))
    """

    def __init__(self, heads: Mapping[str, Head]) -> None:
        super().__init__()
        if not heads:
            raise ArgumentError("Sites: expected a head for each site; got none. Name the sites.")
        self.heads = nn.ModuleDict(heads)
        self.shapes = [head.raw_shape for head in heads.values()]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.event_shape, self.raw_shape = (), (sum(self.sizes),)

    def forward(self, raw: Tensor) -> dict[str, dist.TorchDistribution]:  # type: ignore[override]
        parts = raw.split(self.sizes, -1)
        return {
            name: head(part.reshape(*part.shape[:-1], *shape))
            for (name, head), shape, part in zip(
                self.heads.items(), self.shapes, parts, strict=True
            )
        }


class _Narrow(Head):
    """A head with initial scale ``init``, which is small, as a wide posterior blurs the image."""

    offset: Tensor

    def __init__(self, event_shape: tuple[int, ...], size: int, init: float) -> None:
        super().__init__()
        if not init > 1e-3:
            raise ArgumentError(f"init: expected a scale above 1e-3; got {init}. Use 0.1.")
        self.event_shape, self.raw_shape = event_shape, (size,)
        self.register_buffer("offset", torch.tensor(init).expm1().log(), persistent=False)

    def scale(self, raw: Tensor) -> Tensor:
        return positive(raw + self.offset)


class Angle(_Narrow):
    r"""An angle in radians, wrapped at the full turn, with 3 raw numbers (a, b, spread).

    .. math::
        q(\gamma) = \mathrm{WrappedNormal}(\mathrm{atan2}(b, 1 + a), \sigma^2)

    The network's output is a direction, so that angles just below pi and just above -pi have
    similar outputs.

    Arguments:
        init: The scale at raw zero.
    """

    def __init__(self, init: float = 0.1) -> None:
        super().__init__((), 3, init)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        right, up, spread = raw.unbind(-1)
        return WrappedNormal(torch.atan2(up, 1 + right), self.scale(spread))


class Shift(_Narrow):
    r"""A shift in half image sides, :math:`N(t; \mu, \mathrm{diag} \, \sigma^2)`.

    Arguments:
        dim: 2, or 1 for spectra.
        init: The scale at raw zero.
    """

    def __init__(self, dim: int = 2, *, init: float = 0.1) -> None:
        super().__init__((dim,), 2 * dim, init)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        loc, spread = raw.chunk(2, -1)
        return dist.Normal(loc, self.scale(spread)).to_event(1)


class LogScale(_Narrow):
    r"""A factor of size, :math:`\mathrm{LogNormal}(s; \mu, \sigma^2)`, with 2 raw numbers.

    Arguments:
        init: The scale of the logarithm at raw zero.
    """

    def __init__(self, init: float = 0.1) -> None:
        super().__init__((), 2, init)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        loc, spread = raw.unbind(-1)
        return dist.LogNormal(loc, self.scale(spread))
