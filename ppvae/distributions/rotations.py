r"""Distributions of rotations in three dimensions, as 3 x 3 matrices.

The density of a normal in the tangent space, mapped to the group by the exponential map, is

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

from ppvae.distributions.supports import rotation_matrix
from ppvae.distributions.uniform import Uniform
from ppvae.errors import ArgumentError

__all__ = [
    "RotationNormal",
    "RotationUniform",
    "as_rotations",
    "exp_rotation",
    "log_rotation",
    "matrix_of",
    "mean_rotation",
    "quaternion_of",
    "rotation_angle",
    "spread_rotations",
]


def as_rotations(values: Tensor) -> Tensor:
    """Matrices (..., 3, 3), or quaternions (..., 4) with the real part first, as rotations.

    Arguments:
        values: Rotations, with shape (..., 3, 3) or (..., 4); quaternions of any length but zero.

    Returns:
        Floating-point matrices with shape (..., 3, 3).

    Raises:
        ArgumentError: If the shape is another, a quaternion is zero, or a matrix is no rotation:
            not orthogonal, or of determinant -1 (a reflection).
    """
    if not isinstance(values, Tensor) or values.is_complex() or values.dtype == torch.bool:
        kind = str(values.dtype) if isinstance(values, Tensor) else type(values).__name__
        raise ArgumentError(
            f"rotations: expected a tensor of real numbers; got {kind}. Use torch.as_tensor."
        )
    values = values if values.is_floating_point() else values.float()
    if values.shape[-2:] == (3, 3):
        proper = rotation_matrix.check(values)
    elif values.shape[-1:] == (4,):
        length = values.norm(dim=-1, keepdim=True)
        proper = (length[..., 0] > 0) & length[..., 0].isfinite()
        values = matrix_of(values / length.clamp_min(torch.finfo(values.dtype).tiny))
    else:
        raise ArgumentError(
            "rotations: expected matrices (..., 3, 3) or quaternions (..., 4); got shape "
            f"{tuple(values.shape)}. Turn angles into one of the two."
        )
    if not bool(proper.all()):
        raise ArgumentError(
            "rotations: expected orthogonal matrices of determinant 1, or quaternions other than "
            f"zero; got {int((~proper).sum())} that are neither, such as reflections. "
            "Remove them, or exchange two axes of a left-handed frame."
        )
    return values


def rotation_angle(first: Tensor, second: Tensor) -> Tensor:
    r"""The angle in [0, :math:`\pi`] from one rotation (..., 3, 3) to another: (...).

    From the distance of the matrices and from that to the opposite, so that no digits are lost
    near zero or near a half turn.

    Arguments:
        first: Rotations, with shape (..., 3, 3).
        second: Rotations, with shape (..., 3, 3).
    """
    apart = (first - second).square().sum((-2, -1)).clamp_min(0)
    trace = (first * second).sum((-2, -1))
    return 2 * torch.atan2(apart.sqrt() / 8**0.5, (1 + trace).clamp_min(0).sqrt() / 2)


def mean_rotation(rotations: Tensor, weights: Tensor | None = None) -> Tensor:
    """The rotation nearest to all on average: (S, ..., 3, 3) to (..., 3, 3).

    The one of least mean squared distance between matrices, by a singular value decomposition.

    Arguments:
        rotations: With shape (S, ..., 3, 3).
        weights: With shape (S, ...); all alike by default.
    """
    if weights is not None:
        rotations = rotations * weights[..., None, None]
    left, _, right = torch.linalg.svd(rotations.sum(0))
    signs = torch.ones_like(left[..., 0])
    signs[..., 2] = torch.linalg.det(left @ right)
    return (left * signs.unsqueeze(-2)) @ right


def exp_rotation(vector: Tensor) -> Tensor:
    """The rotation about an axis (..., 3) by its length in radians: (..., 3, 3)."""
    angle = _length(vector)
    half = angle / 2
    # sin(angle / 2) / angle, which is 1/2 at angle zero.
    factor = torch.where(angle < 1e-4, 0.5 - angle.square() / 48, half.sin() / angle)
    return matrix_of(torch.cat([half.cos(), factor * vector], -1))


def log_rotation(matrix: Tensor) -> Tensor:
    """Axis times angle in [0, pi] of a rotation (..., 3, 3): (..., 3)."""
    quaternion = quaternion_of(matrix)
    real, vector = quaternion[..., :1], quaternion[..., 1:]
    sine = _length(vector)
    angle = 2 * torch.atan2(sine, real)
    factor = torch.where(sine < 1e-4, 2 + angle.square() / 12, angle / sine)
    return factor * vector


def _length(vector: Tensor) -> Tensor:
    """The length of a vector, with a finite gradient at zero: (..., 3) to (..., 1)."""
    tiny = torch.finfo(vector.dtype).tiny
    return vector.square().sum(-1, keepdim=True).clamp_min(tiny).sqrt()


def matrix_of(quaternion: Tensor) -> Tensor:
    """The rotation of a unit quaternion (..., 4), real part first: (..., 3, 3)."""
    w, x, y, z = quaternion.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def quaternion_of(matrix: Tensor) -> Tensor:
    """The unit quaternion (..., 4) with real part >= 0 of a rotation (..., 3, 3).

    Each row of ``4 q q^T`` is the quaternion times one of its parts; the row of the largest part
    is precise also near a half turn.
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


def spread_rotations(count: int) -> Tensor:
    """Rotations spread evenly over the group, the identity first: (count, 3, 3).

    A lattice on the sphere of quaternions (super-Fibonacci spirals); the identity and the half
    turns about the axes where there are four or fewer.

    Arguments:
        count: Of rotations, 1 or more.

    References:
        | Super-Fibonacci Spirals (Alexa, 2022), https://doi.org/10.1109/CVPR52688.2022.00811
    """
    if count <= 4:
        return matrix_of(torch.eye(4)[:count])
    step = torch.arange(count, dtype=torch.float64) + 0.5
    share = step / count
    first, second = (2 * math.pi * step / ratio for ratio in (2**0.5, 1.533751168755204288118041))
    inner, outer = share.sqrt(), (1 - share).sqrt()
    parts = [inner * first.sin(), inner * first.cos(), outer * second.sin(), outer * second.cos()]
    spread = matrix_of(torch.stack(parts, -1))
    return (spread[0].mT @ spread).to(torch.get_default_dtype())


class RotationUniform(Uniform):
    r"""The uniform distribution of rotations: :math:`p(R) = 1 / 8 \pi^2`.

    Arguments:
        batch_shape: Batch shape of the distribution.
        like: A tensor of any shape with the dtype and device of draws.
    """

    support = rotation_matrix

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
        return matrix_of(drawn / drawn.norm(dim=-1, keepdim=True))


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
        "loc": rotation_matrix,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = rotation_matrix
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
        r"""The most probable rotation, :math:`R_\mu`."""
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
        # At the mean, any axis may be used for the full turns.
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
