r"""Kernels made of kernels: of one column among several, products and sums.

    views = ProductFeatures(
        Column(FourierFeatures(), 0),                                   # angle
        Column(HilbertFeatures(MaternKernel(nu=2.5), (0.0, 10.0)), 1),  # time
    )

makes object x view x time of a GP prior over object x view, ``view`` being (N, 2).
"""

from __future__ import annotations

from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.gp.features.feature_map import FeatureMap, fixed_number

__all__ = ["Composition"]


class Composition(FeatureMap):
    """Two kernels or more on the same values, each with a fixed number of features.

    Arguments:
        parts: The kernels.

    Raises:
        ArgumentError: If there are fewer than two, or one is :class:`~ppvae.gp.ExactFeatures`.
    """

    def __init__(self, *parts: FeatureMap) -> None:
        super().__init__()
        if len(parts) < 2:
            raise ArgumentError(
                f"{type(self).__name__}: expected two kernels or more; got {len(parts)}. "
                "Use the kernel alone."
            )
        fixed_number(type(self).__name__, *parts)
        self.parts = nn.ModuleList(parts)

    def check(self, values: Tensor) -> None:
        for part in self.parts:
            part.check(values)  # type: ignore[operator]

    def check_training(self, values: Tensor) -> None:
        for part in self.parts:
            part.check_training(values)  # type: ignore[operator]
