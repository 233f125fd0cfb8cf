"""Normal vectors, the usual families of a guide."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from ppvae.nets.heads.base import Head, event_of, positive, raw_positive

__all__ = ["DiagonalNormal", "FullNormal"]


class DiagonalNormal(Head):
    r""":math:`N(z; \mu, \mathrm{diag} \, \sigma^2)`, with 2 Z raw numbers.

    Arguments:
        dim: Z.
        init: The scale at raw zero.
    """

    def __init__(self, dim: int, *, init: float = 1.0) -> None:
        super().__init__()
        self.event_shape, self.raw_shape = event_of((dim,), "DiagonalNormal"), (2 * dim,)
        self.offset = raw_positive(init)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        loc, spread = raw.chunk(2, -1)
        return dist.Normal(loc, positive(spread + self.offset)).to_event(1)


class FullNormal(Head):
    r""":math:`N(z; \mu, L L^\top)`, Z + Z (Z + 1) / 2 raw numbers; the identity at raw zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.event_shape = event_of((dim,), "FullNormal")
        self.raw_shape = (dim + dim * (dim + 1) // 2,)
        rows, columns = torch.tril_indices(dim, dim, -1)
        self.register_buffer("below", rows * dim + columns, persistent=False)
        self.below: Tensor
        self.offset = raw_positive(1.0)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        dim = self.event_shape[0]
        loc, diagonal, below = raw.split([dim, dim, raw.size(-1) - 2 * dim], -1)
        lower = raw.new_zeros(*raw.shape[:-1], dim * dim)
        lower = lower.index_copy(-1, self.below, below).unflatten(-1, (dim, dim))
        tril = lower + torch.diag_embed(positive(diagonal + self.offset))
        return dist.MultivariateNormal(loc, scale_tril=tril)
