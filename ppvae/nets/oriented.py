r"""Decoders of a content and a rotation in space.

Two of them turn the content z by the rotation R as the group demands,

.. math::
    \mathrm{raw}(g) = \frac{b + \sum_k w_k(g, R) \, c_k(R)}{1 + \sum_k w_k(g, R)}
    \quad \text{or} \quad
    \mathrm{raw} = \mathrm{MLP}\left(\bigoplus_l D^l(R) f_l\right),

a cloud of points :math:`p_k(z)` turned in space and projected, and irreducible features
:math:`f_l(z)` turned by Wigner matrices; and one that takes the matrix as nine numbers.

References:
    | Explorations in Homeomorphic Variational Auto-Encoding (Falorsi et al., 2018)
    | https://arxiv.org/abs/1807.04689
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.errors import ArgumentError
from ppvae.nets.coordinate import grid
from ppvae.nets.heads import Head, Raw, positive
from ppvae.nets.heads.base import head_of
from ppvae.nets.mlp import MLP, sizes_of

__all__ = ["FlatRotation", "IrrepDecoder", "PointDecoder", "harmonics", "wigner"]

# Initial scale of the change of the cloud with z; largest logarithm of a weight; factor by which
# the cloud moves farther than other parameters in a step of an optimiser such as Adam.
CHANGE, LARGEST, PACE = 0.3, 30.0, 5.0


def harmonics(points: Tensor, degree: int) -> Tensor:
    r"""Real orthonormal spherical harmonics, m from -l to l: (..., 3) to (..., 2l+1).

    Polynomials in the coordinates, so that no point of the sphere is singular.

    Arguments:
        points: Unit vectors, with shape (..., 3).
        degree: Degree l, at least 0.
    """
    x, y, z = points.unbind(-1)
    # Re and Im of (x + i y)^m.
    even, odd = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(degree):
        even, odd = (
            [*even, x * even[-1] - y * odd[-1]],
            [*odd, x * odd[-1] + y * even[-1]],
        )
    parts: dict[int, Tensor] = {}
    for m in range(degree + 1):
        # Legendre's functions without the powers of the sine, which are in even and odd.
        before, value = torch.zeros_like(z), torch.full_like(z, math.prod(range(2 * m - 1, 0, -2)))
        for level in range(m + 1, degree + 1):
            up = ((2 * level - 1) * z * value - (level + m - 1) * before) / (level - m)
            before, value = value, up
        ratio = math.factorial(degree - m) / math.factorial(degree + m)
        scale = math.sqrt((2 * degree + 1) / (4 * math.pi) * ratio * (2 if m else 1))
        parts[m] = scale * value * even[m]
        if m:
            parts[-m] = scale * value * odd[m]
    return torch.stack([parts[m] for m in range(-degree, degree + 1)], -1)


def _nodes(degree: int) -> Tensor:
    """Enough points to distinguish the harmonics of a degree, with shape (K, 3), in float64."""
    count = 4 * (degree + 1) ** 2
    step = torch.arange(count, dtype=torch.float64) + 0.5
    height = 1 - 2 * step / count
    angle = step * math.pi * (3 - 5**0.5)
    radius = (1 - height.square()).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], -1)


class _Wigner(nn.Module):
    """:func:`wigner` of one degree, with its nodes as buffers."""

    nodes: Tensor
    inverse: Tensor

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree
        nodes = _nodes(degree)
        inverse = torch.linalg.pinv(harmonics(nodes, degree))
        dtype = torch.get_default_dtype()
        self.register_buffer("nodes", nodes.to(dtype), persistent=False)
        self.register_buffer("inverse", inverse.to(dtype), persistent=False)

    def forward(self, rotation: Tensor) -> Tensor:
        turned = harmonics(self.nodes @ rotation.mT, self.degree)
        return (self.inverse @ turned).mT


def wigner(rotation: Tensor, degree: int) -> Tensor:
    r"""The matrix :math:`D^l(R)` with :math:`Y_l(R x) = D^l(R) \, Y_l(x)`: (..., 2l+1, 2l+1).

    It is computed from the harmonics at turned nodes, without angles, and so is smooth in R
    everywhere.

    Arguments:
        rotation: Rotation R, with shape (..., 3, 3).
        degree: Degree l, at least 0.
    """
    return _Wigner(degree).to(rotation)(rotation)


class FlatRotation(nn.Module):
    """A decoder that takes the rotation as nine numbers, and has to learn their effect.

    Arguments:
        decoder: Network of the latents and nine further inputs, such as ``MLP([Z, 9], head)``.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    @property
    def head(self) -> Head:
        """The likelihood."""
        return head_of(self.decoder)

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        *content, rotation = inputs
        likelihood: dist.TorchDistribution = self.decoder(*content, rotation.flatten(-2))
        return likelihood


class PointDecoder(nn.Module):
    r"""A cloud of points that is turned in space and projected along the third axis.

    .. math::
        \mathrm{raw}(g) = \frac{b + \sum_k w_k(g) \, c_k}{1 + \sum_k w_k(g)}, \qquad
        w_k(g) = o_k \, e^{\lambda (R p_k)_3 - \|g - (R p_k)_{1, 2}\|^2 / 2 s_k^2}, \qquad
        c_k = \alpha_k + (R n_k)^\top \ell

    Positions :math:`p_k`, opacities :math:`o_k`, widths :math:`s_k`, brightness :math:`\alpha_k`
    and normals :math:`n_k` are functions of z; the light :math:`\ell` and :math:`\lambda > 0`, by
    which near points hide far ones, are the same for all data. If near points hid nothing, a solid
    and its mirror image would look alike, and the rotation could not be identified. Each Gaussian
    is the product of a horizontal and a vertical one, so that an image costs two products of
    matrices.

    Arguments:
        in_features: Number Z of inputs, or the size of each input.
        head: The likelihood, with an event shape (C, H, W).
        points: Number of points K.
        hidden: Sizes of the hidden layers of the network from z to the cloud.
        width: Initial width :math:`s`, in units of half the image's side.

    Raises:
        ArgumentError: If the event shape is not that of an image.
    """

    across: Tensor
    up: Tensor

    def __init__(
        self,
        in_features: int | Sequence[int],
        head: Head,
        *,
        points: int = 64,
        hidden: Sequence[int] = (64,),
        width: float = 0.2,
    ) -> None:
        super().__init__()
        if len(head.event_shape) != 3 or points < 1:
            raise ArgumentError(
                f"PointDecoder: expected images (C, H, W) and at least one point; got "
                f"{head.event_shape} and {points}. Give the head the images' shape."
            )
        channels, height, breadth = head.raw_shape
        # place, normal, width and opacity, and the brightness of each channel
        self.sizes = [3, 3, 1, 1, channels]
        start = torch.randn(points, sum(self.sizes))
        start[:, :3] *= 0.4
        start[:, 3:] *= 0.1
        self.start = nn.Parameter(start / PACE)
        self.cloud = MLP(in_features, Raw(tuple(start.shape)), hidden=hidden)
        self.offset = math.log(math.expm1(width))
        self.hiding = nn.Parameter(torch.tensor(math.log(math.expm1(4.0))))
        self.light = nn.Parameter(torch.tensor([0.0, 0.0, 1.0]))
        self.background = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("across", grid(breadth)[:, 0], persistent=False)
        self.register_buffer("up", -grid(height)[:, 0], persistent=False)
        self.head = head

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        *content, rotation = inputs
        cloud = PACE * self.start + CHANGE * self.cloud(*content).mean
        place, normal, width, opacity, level = cloud.split(self.sizes, -1)
        place, normal = place @ rotation.mT, normal @ rotation.mT  # (..., N, K, 3)
        bright = level + (normal @ self.light).unsqueeze(-1)
        sharpness = -0.5 / positive(width + self.offset).square()
        right, upward = (
            ((place[..., i : i + 1] - axis).square() * sharpness).exp()
            for i, axis in ((0, self.across), (1, self.up))
        )  # (..., N, K, W) and (..., N, K, H)
        near = (functional.softplus(self.hiding) * place[..., 2:] + opacity).clamp(max=LARGEST)
        weight = near.exp() * right
        total = upward.mT @ weight
        seen = (upward.mT.unsqueeze(-3) * bright.mT.unsqueeze(-2)) @ weight.unsqueeze(-3)
        return self.head((self.background + seen) / (1 + total.unsqueeze(-3)))


class IrrepDecoder(nn.Module):
    r"""Irreducible features of z, turned by Wigner matrices, to an image.

    .. math::
        \mathrm{raw} = \mathrm{decoder}\left(\bigoplus_{l = 0}^{L} D^l(R) f_l(z)\right)

    Arguments:
        in_features: Number Z of inputs, or the size of each input.
        decoder: Function from the number of turned features to the network that decodes them, such
            as ``lambda size: MLP(size, head)``.
        degree: Highest degree L.
        channels: Number of features of each degree.
        hidden: Sizes of the hidden layers of the network from z to the features.

    Raises:
        ArgumentError: If ``degree``, ``channels`` or a size of an input is below 1.
    """

    def __init__(
        self,
        in_features: int | Sequence[int],
        decoder: Callable[[int], nn.Module],
        *,
        degree: int = 3,
        channels: int = 8,
        hidden: Sequence[int] = (64,),
    ) -> None:
        super().__init__()
        if degree < 1 or channels < 1:
            raise ArgumentError(
                f"IrrepDecoder: expected degree and channels of at least 1; got {degree} and "
                f"{channels}. Use 3 and 8."
            )
        self.sizes = [2 * level + 1 for level in range(degree + 1)]
        size = (channels, sum(self.sizes))
        self.content = MLP(sizes_of(in_features, "IrrepDecoder"), Raw(size), hidden=hidden)
        self.start = nn.Parameter(torch.randn(size))
        self.turns = nn.ModuleList(_Wigner(level) for level in range(degree + 1))
        self.decoder = decoder(math.prod(size))

    @property
    def head(self) -> Head:
        """The likelihood."""
        return head_of(self.decoder)

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        *content, rotation = inputs
        features = (self.start + self.content(*content).mean).split(self.sizes, -1)
        turned = [
            part @ turn(rotation).mT for part, turn in zip(features, self.turns, strict=True)
        ]
        likelihood: dist.TorchDistribution = self.decoder(torch.cat(turned, -1).flatten(-2))
        return likelihood
