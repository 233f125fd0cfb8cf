r"""Priors of z: a network without an input, whose forward returns a Distribution.

Hand one to a model, and a head of the same event shape to its guide, and the latent space is
another: a sphere, or the rotations in three dimensions.

References:
    | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018)
    | https://arxiv.org/abs/1804.00891
    | Explorations in Homeomorphic Variational Auto-Encoding (Falorsi et al., 2018)
    | https://arxiv.org/abs/1807.04689
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.distributions import RotationUniform, SphericalUniform
from ppvae.errors import ArgumentError

__all__ = ["AnyDirection", "AnyRotation", "Prior", "StandardNormal"]


class Prior(nn.Module, ABC):
    """Base: ``zero``, with shape (Z), has the dtype and device of the model."""

    zero: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise ArgumentError(f"latent_dim: expected at least 1; got {dim}. Use 2 or more.")
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    @abstractmethod
    def forward(self) -> dist.TorchDistribution:
        """The distribution of one datum's z, with batch shape ()."""


class StandardNormal(Prior):
    """N(0, I) in Z dimensions."""

    def forward(self) -> dist.TorchDistribution:
        return dist.Normal(self.zero, 1.0).to_event(1)


class AnyDirection(Prior):
    """Uniform on the unit sphere in Z dimensions, 2 or more."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self()  # refuses one dimension

    def forward(self) -> dist.TorchDistribution:
        return SphericalUniform(len(self.zero), like=self.zero)


class AnyRotation(Prior):
    """Uniform over the rotations in three dimensions, as matrices (3, 3)."""

    def __init__(self) -> None:
        super().__init__(3)

    def forward(self) -> dist.TorchDistribution:
        return RotationUniform(like=self.zero)
