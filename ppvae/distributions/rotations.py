r"""Distributions of rotations in three dimensions, as 3 x 3 matrices.

The density of a normal in the tangent space, carried to the group by the exponential map,

.. math::
    R = R_\mu \exp(v_\times), \qquad v \sim N(0, \mathrm{diag} \, \sigma^2)

    p(R) = \sum_{k = -\infty}^{\infty} N\!\left((\theta + 2 \pi k) u; 0, \sigma^2\right)
        \frac{(\theta + 2 \pi k)^2}{2 - 2 \cos \theta},
    \qquad \theta u = \log(R_\mu^\top R)

with respect to the invariant measure, whose volume is :math:`8 \pi^2`.

References:
    | Reparameterizing Distributions on Lie Groups (Falorsi et al., 2019)
    | https://arxiv.org/abs/1903.02958
    | Explorations in Homeomorphic Variational Auto-Encoding (Falorsi et al., 2018)
    | https://arxiv.org/abs/1807.04689
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from ppvae.distributions.uniform import Uniform
from ppvae.errors import ArgumentError

__all__ = ["RotationNormal", "RotationUniform", "exp_rotation", "log_rotation"]


def exp_rotation(vector: Tensor) -> Tensor:
    """The rotation about an axis (..., 3) by its length in radians: (..., 3, 3)."""
    angle = _length(vector)
    half = angle / 2
    # sin(angle / 2) / angle, which is 1/2 at rest.
    factor = torch.where(angle < 1e-4, 0.5 - angle.square() / 48, half.sin() / angle)
    return _matrix(torch.cat([half.cos(), factor * vector], -1))


def log_rotation(matrix: Tensor) -> Tensor:
    """Axis times angle in [0, pi] of a rotation (..., 3, 3): (..., 3)."""
    quaternion = _quaternion(matrix)
    real, vector = quaternion[..., :1], quaternion[..., 1:]
    sine = _length(vector)
    angle = 2 * torch.atan2(sine, real)
    factor = torch.where(sine < 1e-4, 2 + angle.square() / 12, angle / sine)
    return factor * vector


def _length(vector: Tensor) -> Tensor:
    """With a finite gradient at zero, (..., 3) to (..., 1)."""
    tiny = torch.finfo(vector.dtype).tiny
    return vector.square().sum(-1, keepdim=True).clamp_min(tiny).sqrt()


def _matrix(quaternion: Tensor) -> Tensor:
    """The rotation of a unit quaternion (..., 4), real part first: (..., 3, 3)."""
    w, x, y, z = quaternion.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _quaternion(matrix: Tensor) -> Tensor:
    """The unit quaternion (..., 4) with real part >= 0 of a rotation (..., 3, 3).

    Each row of ``4 q q^T`` is the quaternion times one of its parts; the row of the largest part
    loses no digits, near a half turn either.
    """
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    a, b, c = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    d, e, f = m[1][0] + m[0][1], m[0][2] + m[2][0], m[2][1] + m[1][2]
    rows = [
        [1 + m[0][0] + m[1][1] + m[2][2], a, b, c],
        [a, 1 + m[0][0] - m[1][1] - m[2][2], d, e],
        [b, d, 1 - m[0][0] + m[1][1] - m[2][2], f],
        [c, e, f, 1 - m[0][0] - m[1][1] + m[2][2]],
    ]
    outer = torch.stack([torch.stack(row, -1) for row in rows], -2)
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    index = largest[..., None, None].expand(*largest.shape, 1, 4)
    row = outer.gather(-2, index).squeeze(-2)
    row = row / row.norm(dim=-1, keepdim=True)
    return torch.where(row[..., :1] < 0, -row, row)


class RotationUniform(Uniform):
    r"""A rotation of which nothing is known: :math:`p(R) = 1 / 8 \pi^2`.

    Arguments:
        batch_shape: Batch shape of the distribution.
        like: A tensor with the dtype and device of draws.
    """

    support = constraints.independent(constraints.real, 2)

    def __init__(self, batch_shape: Sequence[int] = (), *, like: Tensor | None = None) -> None:
        super().__init__(math.log(8 * math.pi**2), batch_shape, (3, 3), like)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> RotationUniform:
        return RotationUniform(batch_shape, like=self.like)

    @property
    def mean(self) -> Tensor:
        """The identity: no rotation is more central than another."""
        return torch.eye(3, dtype=self.like.dtype, device=self.like.device).expand(
            self._extended_shape()
        )

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))[:-2]
        drawn = torch.randn(*shape, 4, dtype=self.like.dtype, device=self.like.device)
        return _matrix(drawn / drawn.norm(dim=-1, keepdim=True))


class RotationNormal(TorchDistribution):
    r""":math:`R_\mu \exp(v_\times)` with :math:`v \sim N(0, \mathrm{diag} \, \sigma^2)`.

    Arguments:
        loc: :math:`R_\mu`, rotations with shape (..., 3, 3).
        scale: :math:`\sigma` about the three axes in radians, with shape (..., 3).
        validate_args: Check the arguments and the values scored.

    Raises:
        ArgumentError: If ``loc`` or ``scale`` has another shape.
    """

    arg_constraints = {
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        if loc.shape[-2:] != (3, 3) or scale.shape[-1:] != (3,):
            raise ArgumentError(
                "RotationNormal: expected loc with shape (..., 3, 3) and scale (..., 3); got "
                f"{tuple(loc.shape)} and {tuple(scale.shape)}. Give one scale an axis."
            )
        batch = torch.broadcast_shapes(loc.shape[:-2], scale.shape[:-1])
        self.loc = loc.expand(*batch, 3, 3)
        self.scale = scale.expand(*batch, 3)
        super().__init__(Size(batch), Size((3, 3)), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> RotationNormal:
        shape = Size(batch_shape)
        return RotationNormal(
            self.loc.expand(*shape, 3, 3), self.scale.expand(*shape, 3), validate_args=False
        )

    @property
    def mean(self) -> Tensor:
        r"""The mean rotation :math:`R_\mu`, nearest on average."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(*shape[:-1], dtype=self.loc.dtype, device=self.loc.device)
        return self.loc @ exp_rotation(self.scale * noise)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        vector = log_rotation(self.loc.mT @ value)
        length = _length(vector)
        # At the mean any axis will do for the whole turns.
        tiny = torch.finfo(length.dtype).eps ** 0.5
        still = length < tiny
        axis = torch.where(still, torch.ones_like(vector) / 3**0.5, vector / length)
        angle = length.clamp_min(tiny)
        turns = 2 * math.pi * torch.arange(-2, 3, dtype=angle.dtype, device=angle.device)
        reached = angle + turns  # (..., 5): all the logarithms lie on one line
        steps = (reached.unsqueeze(-1) * (axis / self.scale).unsqueeze(-2)).square().sum(-1)
        chord = 2 * (angle / 2).sin()
        terms = 2 * (reached.abs().log() - chord.log()) - 0.5 * steps
        normalizer = self.scale.log().sum(-1) + 1.5 * math.log(2 * math.pi)
        return terms.logsumexp(-1) - normalizer
