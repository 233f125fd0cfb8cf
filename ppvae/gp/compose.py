r"""Kernels made of kernels: of one column among several, products and sums.

    views = ProductFeatures(
        Column(FourierFeatures(), 0),                                   # angle
        Column(HilbertFeatures(MaternKernel(nu=2.5), (0.0, 10.0)), 1),  # time
    )

makes object x view x time of a GP prior over object x view, ``view`` being (N, 2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.gp.features import FeatureMap, kronecker_rows

__all__ = ["Column", "ProductFeatures", "SumFeatures"]


class Column(FeatureMap):
    """A kernel of one column of values (N, V).

    Arguments:
        features: The kernel of that column, values (N).
        index: Which column, from 0.
    """

    def __init__(self, features: FeatureMap, index: int) -> None:
        super().__init__()
        self.features = features
        self.index = index
        self.num_features = features.num_features

    def check(self, values: Tensor) -> None:
        self.features.check(self._pick(values))

    def check_training(self, values: Tensor) -> None:
        self.features.check_training(self._pick(values))

    def forward(self, values: Tensor) -> Tensor:
        rows: Tensor = self.features(self._pick(values))
        return rows

    def _pick(self, values: Tensor) -> Tensor:
        if values.dim() < 2 or not 0 <= self.index < values.size(-1):
            raise ArgumentError(
                f"Column: expected values (N, V) with V > {self.index}; got shape "
                f"{tuple(values.shape)}. Stack the columns, or use the inner kernel alone."
            )
        return values[..., self.index]


class _Composition(FeatureMap):
    """Two kernels or more on the same values."""

    def __init__(self, *parts: FeatureMap) -> None:
        super().__init__()
        if len(parts) < 2:
            raise ArgumentError(
                f"{type(self).__name__}: expected two kernels or more; got {len(parts)}. "
                "Use the kernel alone."
            )
        self.parts = nn.ModuleList(parts)

    def check(self, values: Tensor) -> None:
        for part in self.parts:
            part.check(values)  # type: ignore[operator]

    def check_training(self, values: Tensor) -> None:
        for part in self.parts:
            part.check_training(values)  # type: ignore[operator]


class ProductFeatures(_Composition):
    r""":math:`k(a, b) = \prod_i k_i(a, b)`: the Kronecker product of the features.

    Arguments:
        parts: Kernels with :math:`R_i` features; there are :math:`\prod_i R_i`.
    """

    def __init__(self, *parts: FeatureMap) -> None:
        super().__init__(*parts)
        self.num_features = 1
        for part in parts:
            self.num_features *= part.num_features

    def forward(self, values: Tensor) -> Tensor:
        rows = self.parts[0](values)
        for part in list(self.parts)[1:]:
            rows = kronecker_rows(rows, part(values))
        return rows


class SumFeatures(_Composition):
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
