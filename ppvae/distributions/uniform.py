r"""Uniform distributions on compact spaces: the circle, spheres, rotations.

.. math::
    p(x) = 1 / \mathrm{vol}

They are uninformative priors for posteriors on the same space.

References:
    | Directional Statistics (Mardia and Jupp, 2000), chapters 3 and 9
    | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018), where it is the prior
    | https://arxiv.org/abs/1804.00891
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from ppvae.distributions.supports import unit_vector
from ppvae.errors import ArgumentError

__all__ = ["CircularUniform", "SphericalUniform", "log_sphere_area"]


def log_sphere_area(dim: int) -> float:
    r""":math:`\log 2 \pi^{D/2} / \Gamma(D/2)`, of the unit sphere in D dimensions."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


class Uniform(TorchDistribution):
    """The constant density on a space of finite volume; a sub-class draws from it.

    Arguments:
        log_volume: Logarithm of the volume of the space.
        batch_shape: Batch shape of the distribution.
        event_shape: Shape of a point.
        like: A tensor with the dtype and device of draws; torch's defaults without one.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def __init__(
        self,
        log_volume: float,
        batch_shape: Sequence[int],
        event_shape: Sequence[int],
        like: Tensor | None,
    ) -> None:
        self.log_volume = log_volume
        self.like = torch.empty(0) if like is None else like.detach()
        super().__init__(Size(batch_shape), Size(event_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        leading = value.shape[: value.dim() - len(self.event_shape)]
        return value.new_full(torch.broadcast_shapes(leading, self.batch_shape), -self.log_volume)

    def entropy(self) -> Tensor:
        return self.like.new_full(self.batch_shape, self.log_volume)


class CircularUniform(Uniform):
    r"""The uniform distribution of angles: :math:`p(\gamma) = 1 / 2 \pi`.

    Any real number is scored, as an angle modulo a full turn; draws are in [-pi, pi).

    Arguments:
        batch_shape: Batch shape of the distribution.
        like: A tensor of any shape with the dtype and device of draws.
    """

    support = constraints.real

    def __init__(self, batch_shape: Sequence[int] = (), *, like: Tensor | None = None) -> None:
        super().__init__(math.log(2 * math.pi), batch_shape, (), like)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> CircularUniform:
        return CircularUniform(batch_shape, like=self.like)

    @property
    def mean(self) -> Tensor:
        """Zero: no angle is more central than another."""
        return self.like.new_zeros(self.batch_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        return (2 * torch.rand(shape, dtype=self.like.dtype, device=self.like.device) - 1) * (
            math.pi
        )


class SphericalUniform(Uniform):
    r"""A direction of which nothing is known:
    :math:`p(x) = \Gamma(D / 2) / 2 \pi^{D/2}` for unit vectors x.

    Arguments:
        dim: Length D of a vector; draws are on the sphere of D - 1 dimensions.
        batch_shape: Batch shape of the distribution.
        like: A tensor of any shape with the dtype and device of draws.

    Raises:
        ArgumentError: If D is below 2.
    """

    support = unit_vector

    def __init__(
        self, dim: int, batch_shape: Sequence[int] = (), *, like: Tensor | None = None
    ) -> None:
        if dim < 2:
            raise ArgumentError(f"dim: expected at least 2; got {dim}. Use 2 for the circle.")
        super().__init__(log_sphere_area(dim), batch_shape, (dim,), like)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> SphericalUniform:
        return SphericalUniform(self.event_shape[0], batch_shape, like=self.like)

    @property
    def mean(self) -> Tensor:
        """The first axis: no direction is more central than another."""
        axis = self.like.new_zeros(self._extended_shape())
        axis[..., 0] = 1
        return axis

    @property
    def variance(self) -> Tensor:
        """1 / D of each coordinate, about zero, the Euclidean mean."""
        return self.like.new_full(self._extended_shape(), 1 / self.event_shape[0])

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        drawn = torch.randn(shape, dtype=self.like.dtype, device=self.like.device)
        return drawn / drawn.norm(dim=-1, keepdim=True)
