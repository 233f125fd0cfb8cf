r"""A free covariance over a finite set of values, :math:`k(a, b) = (B B^\top)_{ab}`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import ROWS, at_least
from ppvae.gp.features.feature_map import FeatureMap, finite, single, unit_rows

__all__ = ["FreeFormFeatures"]


class FreeFormFeatures(FeatureMap):
    r"""A covariance of its own over a finite set of Q values: rows of a Cholesky-like factor.

    :math:`k(a, b) = (B B^\top)_{ab}` with rows of B of unit norm. It is defined only for the given
    values; ``check`` refuses others.

    Arguments:
        values: The Q values, with shape (Q).
        rank: Columns of B (default Q).
    """

    @typed(values=ROWS, rank=at_least(1))
    def __init__(self, values: Tensor, *, rank: int | None = None) -> None:
        super().__init__()
        if values.dim() != 1 or len(values.unique()) != len(values):
            raise ArgumentError(
                f"FreeFormFeatures: expected distinct values with shape (Q); got shape "
                f"{tuple(values.shape)}. Pass torch.unique(column)."
            )
        self.num_features = len(values) if rank is None else rank
        order = values.double().sort().values
        self.register_buffer("values", order)
        self.values: Tensor
        eye = torch.eye(len(values), self.num_features)
        self.root = nn.Parameter(eye + 0.1 * torch.randn_like(eye))

    def _codes(self, values: Tensor) -> Tensor:
        after = torch.searchsorted(self.values, values.double()).clamp_max(len(self.values) - 1)
        before = (after - 1).clamp_min(0)
        gap_after = (self.values[after] - values).abs()
        return torch.where((self.values[before] - values).abs() < gap_after, before, after)

    def _tolerance(self) -> float:
        """How far from one of the values another may be: rounded in a file, or by float32."""
        gap = float(self.values.diff().min()) if len(self.values) > 1 else 1.0
        rounding = torch.finfo(torch.float32).eps * float(self.values.abs().max())
        return min(max(1e-3 * gap, rounding), gap / 4)

    def check(self, values: Tensor) -> None:
        single(values)
        finite(values, "views")
        nearest = self.values[self._codes(values)]
        unknown = values[(nearest - values).abs() > self._tolerance()]
        if len(unknown) > 0:
            raise ArgumentError(
                f"views: expected one of the {len(self.values)} values that the free-form kernel "
                f"was made for; got {unknown[:3].tolist()}. Use a kernel that interpolates, such "
                "as FourierFeatures or HilbertFeatures."
            )

    def forward(self, values: Tensor) -> Tensor:
        return unit_rows(self.root)[self._codes(values)]
