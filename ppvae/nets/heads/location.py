"""Likelihoods of real numbers: a location and a scale."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.nets.heads.base import Elementwise, Shape, positive, raw_positive

__all__ = ["Fixed", "Laplace", "Normal", "PerElement", "Scale", "Shared"]


class Scale(nn.Module, ABC):
    """The source of the scale of a :class:`Normal` or :class:`Laplace` head.

    Attributes:
        k: Number of raw values per element that it takes from the network.
    """

    k: int = 0

    @abstractmethod
    def forward(self, loc: Tensor, raw: Tensor | None) -> Tensor:
        """The scale, in the unit of the data, broadcastable to ``loc``.

        Arguments:
            loc: Locations, with shape (..., \\*event).
            raw: Raw numbers of the network, with shape (..., \\*event); None if ``k`` is 0.
        """

    def fitted(self, total: Tensor, count: Tensor, power: int) -> Tensor:
        """The maximum-likelihood scale without a network, broadcastable to an element.

        Arguments:
            total: Sum over rows of the absolute deviation to ``power``, with the event shape.
            count: Number of rows in which each element was observed, with the event shape.
            power: 2 for a normal, 1 for a Laplace.
        """
        return (total / count.clamp_min(1)).pow(1 / power)


class Fixed(Scale):
    """One given number.

    Arguments:
        value: The number.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        raw_positive(value)
        self.register_buffer("value", torch.tensor(float(value)))
        self.value: Tensor

    def forward(self, loc: Tensor, raw: Tensor | None) -> Tensor:
        return self.value.to(loc)

    def fitted(self, total: Tensor, count: Tensor, power: int) -> Tensor:
        return self.value.to(total)


class Shared(Scale):
    """One learned number, or one for each element of the broadcastable ``shape``.

    Arguments:
        init: Initial number.
        shape: Shape that broadcasts to a datum; one number by default.
        floor: Smallest number.
    """

    def __init__(self, init: float = 0.3, *, shape: Shape = (), floor: float = 1e-3) -> None:
        super().__init__()
        self.floor = floor
        self.raw = nn.Parameter(torch.full(tuple(shape), raw_positive(init, floor)))

    def forward(self, loc: Tensor, raw: Tensor | None) -> Tensor:
        return positive(self.raw, self.floor).to(loc)

    def fitted(self, total: Tensor, count: Tensor, power: int) -> Tensor:
        shape = self.raw.shape
        pooled = super().fitted(total.sum_to_size(shape), count.sum_to_size(shape), power)
        return pooled.clamp_min(self.floor)


class PerElement(Scale):
    """A number for each element from the network, with a floor.

    Arguments:
        init: Number at raw zero.
        floor: Smallest number.
    """

    k = 1

    def __init__(self, init: float = 0.3, *, floor: float = 1e-2) -> None:
        super().__init__()
        self.floor = floor
        self.offset = raw_positive(init, floor)

    def forward(self, loc: Tensor, raw: Tensor | None) -> Tensor:
        assert raw is not None
        return positive(raw + self.offset, self.floor)

    def fitted(self, total: Tensor, count: Tensor, power: int) -> Tensor:
        return super().fitted(total, count, power).clamp_min(self.floor)


class _LocationScale(Elementwise):
    """Raw numbers and scale in given units, if any: x = center + unit * raw.

    Arguments:
        event_shape: Shape of a datum.
        scale: :class:`Fixed`, :class:`Shared` (the default) or :class:`PerElement`.
        center: The location at raw zero, broadcastable to a datum.
        unit: Size of one raw unit, broadcastable to a datum.
    """

    center: Tensor | None
    unit: Tensor | None

    def __init__(
        self,
        event_shape: Shape,
        scale: Scale | None = None,
        *,
        center: Tensor | None = None,
        unit: Tensor | None = None,
    ) -> None:
        scale = Shared() if scale is None else scale
        super().__init__(event_shape, k=1 + scale.k)
        self.scale = scale
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("unit", unit, persistent=False)

    def loc_scale(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        loc, *rest = self.parts(raw)
        return self._in_units(loc, self.scale(loc, rest[0] if rest else None))

    def _in_units(self, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        if self.unit is not None:
            loc, scale = self.unit.to(loc) * loc, self.unit.to(loc) * scale
        loc = loc if self.center is None else loc + self.center.to(loc)
        return loc, scale.expand_as(loc)

    def _fitted(self, x: Tensor, loc: Tensor, power: int) -> tuple[Tensor, Tensor]:
        loc = loc.nan_to_num()
        deviation = x - loc if self.unit is None else (x - loc) / self.unit.to(x)
        total = deviation.abs().pow(power).nansum(0)
        scale = self.scale.fitted(total, (~x.isnan()).to(x).sum(0), power)
        scale = scale if self.unit is None else scale * self.unit.to(x)
        return loc, scale.expand_as(loc)


class Normal(_LocationScale):
    r""":math:`N(x; \mathrm{raw}, \sigma^2)`; ``scale`` is :class:`Fixed`, :class:`Shared` or
    :class:`PerElement`.
    """

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.Normal(*self.loc_scale(raw)))

    def marginal(self, x: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.Normal(*self._fitted(x, x.nanmean(0), 2)))


class Laplace(_LocationScale):
    r""":math:`\frac{1}{2 b} e^{-|x - \mathrm{raw}| / b}`; ``scale`` as of :class:`Normal`."""

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.Laplace(*self.loc_scale(raw)))

    def marginal(self, x: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.Laplace(*self._fitted(x, x.nanmedian(0).values, 1)))
