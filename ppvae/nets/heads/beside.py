"""Latents of several kinds in one vector, such as a direction and Euclidean ones."""

from __future__ import annotations

import math

import pyro.distributions as dist
from torch import Tensor, nn

from ppvae.distributions import Blocks
from ppvae.errors import ArgumentError
from ppvae.nets.heads.base import Head

__all__ = ["Beside"]


class Beside(Head):
    r""":math:`\prod_i q_i(z_i)`, :math:`z = [z_1, z_2, \ldots]`: heads of vectors side by side.

    Its prior is a :class:`~ppvae.gp.JoinedPrior` of blocks of the same sizes.

    Arguments:
        heads: Each with an event shape (L_i).

    Raises:
        ArgumentError: If there is none, or one is not of vectors.
    """

    def __init__(self, *heads: Head) -> None:
        super().__init__()
        if not heads or any(len(head.event_shape) != 1 for head in heads):
            raise ArgumentError(
                f"Beside: expected heads of vectors; got event shapes "
                f"{[head.event_shape for head in heads]}. Use DiagonalNormal or a direction."
            )
        self.heads = nn.ModuleList(heads)
        self.shapes = [head.raw_shape for head in heads]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.event_shape = (sum(head.event_shape[0] for head in heads),)
        self.raw_shape = (sum(self.sizes),)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        parts = zip(self.heads, self.shapes, raw.split(self.sizes, -1), strict=True)
        return Blocks([head(part.unflatten(-1, shape)) for head, shape, part in parts])
