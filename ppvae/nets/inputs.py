"""What a network sees of data that it cannot take as they are: missing values, counts."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["LogCounts", "MaskedEncoder", "masked_shape"]


def masked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a datum with its mask as further channels (or features)."""
    return (2 * shape[0], *shape[1:])


class MaskedEncoder(nn.Module):
    r"""An encoder of data with missing values: zeros in their place, the mask beside them.

    .. math::
        x \mapsto \mathrm{encoder}([x \odot m, m]), \qquad m = 1 \text{ where } x \text{ was seen}

    Arguments:
        encoder: Takes data with :func:`masked_shape`, and further inputs as they are.
        event_dim: How many dimensions a datum has.
        fill: What stands for a missing value.

    References:
        | Handling Incomplete Heterogeneous Data using VAEs (Nazabal et al., 2018)
        | https://arxiv.org/abs/1807.03653
    """

    def __init__(self, encoder: nn.Module, *, event_dim: int, fill: float = 0.0) -> None:
        super().__init__()
        self.encoder, self.event_dim, self.fill = encoder, event_dim, fill

    def forward(self, x: Tensor, *others: Tensor) -> dist.TorchDistribution:
        seen = ~x.isnan()
        filled = torch.where(seen, x, torch.full_like(x, self.fill))
        joined = torch.cat([filled, seen.to(x)], -self.event_dim)
        encoded: dist.TorchDistribution = self.encoder(joined, *others)
        return encoded


class LogCounts(nn.Module):
    r"""An encoder of counts: it sees :math:`\log(1 + x)`.

    Arguments:
        encoder: Takes data of the same shape, and further inputs as they are.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, *others: Tensor) -> dist.TorchDistribution:
        encoded: dist.TorchDistribution = self.encoder(x.log1p(), *others)
        return encoded
