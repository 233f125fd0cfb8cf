"""Unit vectors: a direction and a concentration."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from ppvae.distributions import PowerSpherical, VonMisesFisher
from ppvae.errors import ArgumentError
from ppvae.nets.heads.base import Head, positive, raw_positive, unit

__all__ = ["PowerSphericalDirection", "VonMisesFisherDirection"]


class _Direction(Head):
    """A direction, the first axis where the raw vector is zero, and a concentration."""

    family: type[PowerSpherical] | type[VonMisesFisher]
    axis: Tensor

    def __init__(self, dim: int, *, init: float = 10.0) -> None:
        super().__init__()
        if dim < 2:
            raise ArgumentError(f"dim: expected at least 2; got {dim}. Use 2 for the circle.")
        self.event_shape, self.raw_shape = (dim,), (dim + 1,)
        self.offset = raw_positive(init)
        self.register_buffer("axis", torch.eye(dim)[0], persistent=False)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        loc = unit(raw[..., :-1], self.axis)
        return self.family(loc, positive(raw[..., -1] + self.offset))


class PowerSphericalDirection(_Direction):
    r"""A unit vector, :class:`~ppvae.distributions.PowerSpherical`, with D + 1 raw numbers.

    Arguments:
        dim: D, at least 2.
        init: The concentration at raw zero.
    """

    family = PowerSpherical


class VonMisesFisherDirection(_Direction):
    r"""A unit vector, :class:`~ppvae.distributions.VonMisesFisher`, with D + 1 raw numbers.

    Arguments:
        dim: D, at least 2.
        init: The concentration at raw zero.
    """

    family = VonMisesFisher
