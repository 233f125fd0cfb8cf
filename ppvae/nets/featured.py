"""Networks in two parts: features for the last layer, and the distribution from them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
from torch import Tensor, nn

from ppvae.nets.heads import Head

__all__ = ["FeatureNetwork"]


class FeatureNetwork(nn.Module, ABC):
    """A network that ends in a layer and a head, and gives access to the inputs of that layer.

    Attributes:
        feature_shape: Shape of one datum's input to the last layer.
        head: Head from the layer's output to a distribution.
    """

    feature_shape: tuple[int, ...]
    head: Head

    @abstractmethod
    def features(self, *inputs: Tensor) -> Tensor:
        """Inputs of the last layer, with shape (..., *feature_shape)."""

    @abstractmethod
    def emit(self, features: Tensor) -> dist.TorchDistribution:
        """The distribution from :meth:`features`."""

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        return self.emit(self.features(*inputs))
