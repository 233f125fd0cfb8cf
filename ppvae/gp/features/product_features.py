r"""Products of kernels, :math:`k(a, b) = \prod_i k_i(a, b)`."""

from __future__ import annotations

from torch import Tensor

from ppvae.gp.features.composition import Composition
from ppvae.gp.features.feature_map import FeatureMap, kronecker_rows

__all__ = ["ProductFeatures"]


class ProductFeatures(Composition):
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
