"""Known factors in units of their own, brought to the size that networks train with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.data.mapped import Column
from ppvae.data.scales import far_from_unit
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.programs.hooks import FitHooks

__all__ = ["FactorScaling"]


class FactorScaling(FitHooks):
    r"""The column ``c`` as an input of networks: :math:`(c - m) / s`.

    In a first fit m and s become the mean and the standard deviation of each factor, in its unit,
    that is far from -2 to 2 in the training data (years, doses; see
    :func:`ppvae.data.scales.far_from_unit`). All others stay as they are, with m = 0 and s = 1.
    Later fits, predictions and evaluations keep them, so that ``c`` is always passed in its units.

    Arguments:
        factor_dim: Number of factors C.

    Raises:
        ArgumentError: If ``factor_dim`` is below 1; when called, if ``c`` has another number of
            factors.
    """

    center: Tensor
    unit: Tensor
    fitted: Tensor
    standardizes = ("c",)
    absent_in_older: ClassVar[Mapping[str, float]] = {"center": 0.0, "unit": 1.0, "fitted": 1.0}

    @typed(factor_dim=at_least(1))
    def __init__(self, factor_dim: int) -> None:
        super().__init__()
        self.factor_dim = factor_dim
        self.register_buffer("center", torch.zeros(factor_dim))
        self.register_buffer("unit", torch.ones(factor_dim))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: object, **kwargs: object
    ) -> None:
        for name, value in self.absent_in_older.items():
            if prefix + name not in state_dict:
                state_dict[prefix + name] = torch.full_like(getattr(self, name), value)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        return str(self.factor_dim)

    def prepare(self, data: Mapping[str, Column]) -> None:
        """Learn m and s from the training data, once."""
        if bool(self.fitted) or "c" not in data:
            return
        for i, (center, unit) in far_from_unit(torch.as_tensor(data["c"])).items():
            self.center[i], self.unit[i] = center, unit
        self.fitted.fill_(True)

    def forward(self, c: Tensor) -> Tensor:
        """The scaled factors, with shape (..., N, C), from ``c``, or from (N) if C is 1."""
        c = c.unsqueeze(-1) if c.dim() == 1 else c
        if c.size(-1) != self.factor_dim:
            raise ArgumentError(
                f"c: expected shape (..., {self.factor_dim}); got {tuple(c.shape)}. "
                "Set factor_dim to the number of factors."
            )
        return (c - self.center) / self.unit
