r"""Uniform priors on manifolds: directions in Z dimensions, and rotations in three.

.. math::
    p(z) = 1 / |S^{Z - 1}| \quad \text{or} \quad p(z) = 1 / |\mathrm{SO}(3)|

References:
    | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018)
    | https://arxiv.org/abs/1804.00891
    | Explorations in Homeomorphic Variational Auto-Encoding (Falorsi et al., 2018)
    | https://arxiv.org/abs/1807.04689
"""

from __future__ import annotations

import pyro.distributions as dist

from ppvae.distributions import RotationUniform, SphericalUniform
from ppvae.nets.priors.prior import Unconditional

__all__ = ["AnyDirection", "AnyRotation"]


class AnyDirection(Unconditional):
    """Uniform on the unit sphere in Z dimensions, 2 or more."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self()  # refuses one dimension

    def forward(self) -> dist.TorchDistribution:
        return SphericalUniform(len(self.zero), like=self.zero)


class AnyRotation(Unconditional):
    """Uniform over the rotations in three dimensions, as matrices (3, 3)."""

    def __init__(self) -> None:
        super().__init__(3)

    def forward(self) -> dist.TorchDistribution:
        return RotationUniform(like=self.zero)
