"""A periodic kernel of a column."""

from __future__ import annotations

import math

from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.gp.additive.factors import Factor
from ppvae.gp.features import FeatureMap, FourierFeatures, angular_kernel

__all__ = ["Periodic"]


class Periodic(Factor):
    r"""GPyTorch's periodic kernel with a fixed period.

    Arguments:
        column: Name of the column.
        period: T, in the column's unit.
        lengthscale: Initial lengthscale, in radians of half the phase.
        num_frequencies: K of :class:`~ppvae.gp.FourierFeatures`.

    Raises:
        ArgumentError: If ``period`` is not above 0.
    """

    def __init__(
        self,
        column: str,
        period: float = 2 * math.pi,
        *,
        lengthscale: float = 1.0,
        num_frequencies: int = 6,
    ) -> None:
        super().__init__(column, f"periodic({column}, {period:g})")
        if not period > 0:
            raise ArgumentError(
                f"{self.written}: expected a period > 0; got {period}. Give it in the column's "
                "unit, such as 24 for hours."
            )
        self.features: FeatureMap = FourierFeatures(
            angular_kernel(lengthscale, period), num_frequencies=num_frequencies, period=period
        )
        self.features.name = self.written

    @property
    def num_features(self) -> int:
        """The number of features of the kernel on the circle, 2 K + 1."""
        return self.features.num_features

    def forward(self, values: Tensor) -> Tensor:
        rows: Tensor = self.features(values.double())
        return rows
