r"""Sums of kernels, :math:`k(a, b) = \sum_i a_i k_i(a, b)`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppvae.gp.features.composition import Composition
from ppvae.gp.features.feature_map import FeatureMap

__all__ = ["SumFeatures"]


class SumFeatures(Composition):
    r""":math:`k(a, b) = \sum_i a_i k_i(a, b)`, the shares :math:`a_i` learned and adding to one.

    Arguments:
        parts: Kernels with :math:`R_i` features; there are :math:`\sum_i R_i`.
    """

    def __init__(self, *parts: FeatureMap) -> None:
        super().__init__(*parts)
        self.num_features = sum(part.num_features for part in parts)
        self.raw_shares = nn.Parameter(torch.zeros(len(parts)))

    def shares(self) -> Tensor:
        """:math:`a`, with shape (I), in float64."""
        return self.raw_shares.double().softmax(0)

    def forward(self, values: Tensor) -> Tensor:
        scales = self.shares().sqrt()
        rows = [scale * part(values) for scale, part in zip(scales, self.parts, strict=True)]
        return torch.cat(rows, -1)
