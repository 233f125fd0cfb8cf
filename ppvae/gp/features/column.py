r"""A kernel of one column among several, :math:`k(a, b) = k_i(a_i, b_i)`."""

from __future__ import annotations

from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.gp.features.feature_map import FeatureMap, fixed_number

__all__ = ["Column"]


class Column(FeatureMap):
    """A kernel of one column of values (N, V).

    Arguments:
        features: The kernel of that column, values (N).
        index: Which column, from 0.

    Raises:
        ArgumentError: If ``index`` is negative, or the kernel is
            :class:`~ppvae.gp.ExactFeatures`; when called, if there is no such column.
    """

    @typed(index=at_least(0))
    def __init__(self, features: FeatureMap, index: int) -> None:
        super().__init__()
        fixed_number("Column", features)
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
