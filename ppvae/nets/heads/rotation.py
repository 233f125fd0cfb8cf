"""Rotations in three dimensions."""

from __future__ import annotations

from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional

from ppvae.distributions import RotationNormal
from ppvae.distributions.rotations import spread_rotations
from ppvae.errors import ArgumentError
from ppvae.nets.heads.base import Head, positive, raw_positive, unit

__all__ = ["Modes", "Rotation", "RotationModes"]


def _frame(raw: Tensor, rest: Tensor) -> Tensor:
    """Six raw numbers (..., 6) by Gram and Schmidt, two columns ``rest`` (2, 3) at raw zero.

    Where a vector vanishes, or the second lies along the first, any direction across will do.
    """
    first, second = (raw.unflatten(-1, (2, 3)) + rest).unbind(-2)
    first = unit(first, rest[0])
    second = second - (first * second).sum(-1, keepdim=True) * first
    # Across the first: the axis that it points along least, made orthogonal to it.
    axis = functional.one_hot(first.abs().argmin(-1), 3).to(first)
    spare = axis - (first * axis).sum(-1, keepdim=True) * first
    second = unit(second, functional.normalize(spare, dim=-1))
    return torch.stack([first, second, torch.linalg.cross(first, second, dim=-1)], -1)


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

    rest: Tensor

    def __init__(self, init: float = 0.3) -> None:
        super().__init__()
        self.event_shape, self.raw_shape = (3, 3), (9,)
        self.offset = raw_positive(init)
        self.register_buffer("rest", torch.eye(3)[:2], persistent=False)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        loc = _frame(raw[..., :6], self.rest)
        return RotationNormal(loc, positive(raw[..., 6:] + self.offset))


class Modes(NamedTuple):
    """Several normals of rotations, and how likely each is.

    Attributes:
        logits: With shape (..., J).
        loc: Mean rotations, with shape (..., J, 3, 3).
        scale: In radians, with shape (..., J, 3).
    """

    logits: Tensor
    loc: Tensor
    scale: Tensor


class RotationModes(Head):
    r"""J rotations and how likely each is, from 10 J raw numbers; the network of
    :class:`~ppvae.guides.Orient`.

    At raw zero the modes are spread over the group, so that whatever is seen, one of them is not
    far: a single rotation that a network moves continuously gets stuck half a turn away.

    Arguments:
        modes: J, at least 1.
        init: The scale about each axis at raw zero, in radians.

    Raises:
        ArgumentError: If ``modes`` is below 1, or ``init`` is not above 1e-4.

    References:
        | Topological Obstructions and How to Avoid Them (Esmaeili et al., 2023)
        | https://arxiv.org/abs/2312.07529
    """

    rest: Tensor
    start: Tensor

    def __init__(self, modes: int, *, init: float = 0.3) -> None:
        super().__init__()
        if modes < 1:
            raise ArgumentError(f"modes: expected at least 1; got {modes}. Use 4.")
        self.modes = modes
        self.event_shape, self.raw_shape = (3, 3), (modes, 10)
        self.offset = raw_positive(init)
        self.register_buffer("rest", torch.eye(3)[:2], persistent=False)
        self.register_buffer("start", spread_rotations(modes), persistent=False)

    def forward(self, raw: Tensor) -> Modes:  # type: ignore[override]
        logits, frame, scale = raw.split([1, 6, 3], -1)
        loc = self.start @ _frame(frame, self.rest)
        return Modes(logits[..., 0], loc, positive(scale + self.offset))
