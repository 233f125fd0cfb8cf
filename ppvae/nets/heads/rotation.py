"""Rotations in three dimensions."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional

from ppvae.distributions import RotationNormal
from ppvae.nets.heads.base import Head, positive, raw_positive

__all__ = ["Rotation"]


class Rotation(Head):
    r"""A rotation in three dimensions, :class:`~ppvae.distributions.RotationNormal`, with event
    shape (3, 3), from 9 raw numbers: two vectors that Gram and Schmidt make a frame, the
    identity at raw zero, and three scales.

    Arguments:
        init: The scale about each axis at raw zero, in radians.

    References:
        | On the Continuity of Rotation Representations in Neural Networks (Zhou et al., 2019)
        | https://arxiv.org/abs/1812.07035
    """

    frame: Tensor

    def __init__(self, init: float = 0.3) -> None:
        super().__init__()
        self.event_shape, self.raw_shape = (3, 3), (9,)
        self.offset = raw_positive(init)
        self.register_buffer("frame", torch.eye(3)[:2], persistent=False)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        first, second = (raw[..., :6].unflatten(-1, (2, 3)) + self.frame).unbind(-2)
        first = functional.normalize(first, dim=-1, eps=1e-6)
        second = second - (first * second).sum(-1, keepdim=True) * first
        second = functional.normalize(second, dim=-1, eps=1e-6)
        third = torch.linalg.cross(first, second, dim=-1)
        loc = torch.stack([first, second, third], -1)
        return RotationNormal(loc, positive(raw[..., 6:] + self.offset))
