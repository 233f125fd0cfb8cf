"""A free correlation of the categories of a column, as of tasks or conditions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppvae.gp.additive.factors import Categorical, Factor
from ppvae.gp.features import unit_rows

__all__ = ["FreeForm"]


class FreeForm(Factor):
    r""":math:`k(a, b) = (B B^\top)_{ab}`, B with unit rows: any correlation of Q categories.

    ``FreeForm("task") * Categorical("id")`` gives each subject effects of her own that are
    correlated between tasks, the same way in all subjects. B is learned, and begins with
    correlations of about a fifth. Its size is that of the training data's categories.

    Arguments:
        column: Name of the column.

    Raises:
        DataError: In prediction, if a category has no training data.
    """

    sized_by_data = ("root",)

    def __init__(self, column: str) -> None:
        super().__init__(column, f"free({column})")
        self.categories = Categorical(column)
        self.root = nn.Parameter(torch.zeros(0, 0))

    @property
    def num_features(self) -> int:
        """The number of categories in the training data; 0 before training."""
        return self.categories.num_features

    def prepare(self, values: Tensor) -> None:
        self.categories.prepare(values)
        if len(self.root) == 0:
            self.root.data = torch.eye(self.num_features).to(self.root) + 0.1

    def check(self, values: Tensor) -> None:
        self.categories.check(values)

    def correlation(self) -> Tensor:
        """Correlations (Q, Q) of the categories in ascending order, in float64."""
        rows = unit_rows(self.root)
        return rows @ rows.mT

    def forward(self, values: Tensor) -> Tensor:
        return self.categories(values) @ unit_rows(self.root)
