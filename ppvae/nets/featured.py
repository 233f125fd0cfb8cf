"""Networks in two parts: what their last layer sees, and the distribution that it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
from torch import Tensor, nn

from ppvae.nets.heads import Head

__all__ = ["FeatureNetwork"]


class FeatureNetwork(nn.Module, ABC):
    """A network that ends in a layer and a head, and shows what that layer sees.

    Attributes:
        feature_shape: Shape of what the last layer sees of one datum.
        head: From its output to a distribution.
    """

    feature_shape: tuple[int, ...]
    head: Head

    @abstractmethod
    def features(self, *inputs: Tensor) -> Tensor:
        """What the last layer sees, with shape (..., *feature_shape)."""

    @abstractmethod
    def emit(self, features: Tensor) -> dist.TorchDistribution:
        """The distribution from :meth:`features`."""

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        return self.emit(self.features(*inputs))
