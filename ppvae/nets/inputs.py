"""Transformations of data before an encoder: missing values, counts, units."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["InputAdapter", "LogCounts", "MaskedEncoder", "Standardized", "masked_shape"]


def masked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a datum with its mask as further channels (or features)."""
    return (2 * shape[0], *shape[1:])


class InputAdapter(nn.Module, ABC):
    """An encoder that sees its first input changed, and further ones as they are.

    Arguments:
        encoder: Takes what :meth:`adapt` returns.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    @abstractmethod
    def adapt(self, x: Tensor) -> Tensor:
        """The encoder's input, from data with shape (..., \\*event)."""

    def forward(self, x: Tensor, *others: Tensor) -> dist.TorchDistribution:
        """The encoder's distribution from x (..., \\*event) and further inputs (..., F)."""
        encoded: dist.TorchDistribution = self.encoder(self.adapt(x), *others)
        return encoded


class Stages(nn.Sequential):
    """Modules one after the other on the first input; the last one takes further inputs, too.

    So that :class:`~ppvae.guides.Align` stands before an encoder that is given conditions.
    """

    def forward(self, x: Tensor, *others: Tensor) -> dist.TorchDistribution:
        """The last module's distribution, from x (..., \\*event) and further inputs (..., F)."""
        *first, last = self
        for module in first:
            x = module(x)
        encoded: dist.TorchDistribution = last(x, *others)
        return encoded


class MaskedEncoder(InputAdapter):
    r"""An encoder of data with missing values, which are replaced by zeros, with a mask as input.

    .. math::
        x \mapsto \mathrm{encoder}([x \odot m, m]), \qquad m = 1 \text{ where } x \text{ was seen}

    Arguments:
        encoder: Takes data with :func:`masked_shape`, and further inputs as they are.
        event_dim: Number of dimensions of a datum.

    References:
        | Handling Incomplete Heterogeneous Data using VAEs (Nazabal et al., 2018)
        | https://arxiv.org/abs/1807.03653
    """

    def __init__(self, encoder: nn.Module, *, event_dim: int) -> None:
        super().__init__(encoder)
        self.event_dim = event_dim

    def adapt(self, x: Tensor) -> Tensor:
        seen = ~x.isnan()
        filled = torch.where(seen, x, torch.zeros_like(x))
        return torch.cat([filled, seen.to(x)], -self.event_dim)


class LogCounts(InputAdapter):
    r"""An encoder of counts, with the input :math:`\log(1 + x)`."""

    def adapt(self, x: Tensor) -> Tensor:
        return x.log1p()


class Standardized(InputAdapter):
    r"""An encoder of data in given units, with the input :math:`(x - m) / s`.

    Arguments:
        encoder: Takes data of the same shape, and further inputs as they are.
        center: m, with a shape that broadcasts to a datum, in the unit of the data.
        unit: s, with a shape that broadcasts to a datum, in the unit of the data.
    """

    center: Tensor
    unit: Tensor

    def __init__(self, encoder: nn.Module, center: Tensor, unit: Tensor) -> None:
        super().__init__(encoder)
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("unit", unit, persistent=False)

    def adapt(self, x: Tensor) -> Tensor:
        return (x - self.center.to(x)) / self.unit.to(x)
