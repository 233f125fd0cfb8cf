"""Costs and limits of moves between positions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.borders import expect_fields
from ppvae.errors import ArgumentError

__all__ = ["Moves"]


@dataclass(frozen=True)
class Moves:
    r"""Positions on a sample; a score is reduced by ``price`` per unit of distance.

    The scores of ``log-ei`` and ``max-variance`` are logarithms: with these, a price c divides the
    value by :math:`e^{c d}` at the distance d.

    Arguments:
        positions: Positions with shape (N, 2), in any unit.
        price: Reduction of a score per unit of distance.
        reach: Longest move that is allowed.

    Raises:
        ArgumentError: If a position is not finite, or a number out of range.
    """

    positions: Tensor
    price: float = 0.0
    reach: float = math.inf

    def __post_init__(self) -> None:
        expect_fields(self)
        positions = self.positions
        booleans = positions.dtype == torch.bool
        if positions.dim() != 2 or booleans or not torch.isfinite(positions.double()).all():
            raise ArgumentError(
                f"positions: expected finite numbers with shape (N, 2); got {positions.dtype} "
                f"with shape {tuple(positions.shape)}. Give the row and the column of each place."
            )
        if not self.price >= 0 or not self.reach > 0:
            raise ArgumentError(
                f"moves: expected price >= 0 and reach > 0; got {self.price} and {self.reach}. "
                "Leave them out for moves that cost nothing."
            )

    def distance(self, place: int, others: Tensor) -> Tensor:
        """Distances from a place to others, by number, with shape (M), in float64."""
        at = torch.as_tensor(self.positions).double()
        return (at[others] - at[place]).norm(dim=-1)

    def cost(self, place: int, others: Tensor) -> Tensor:
        """Reductions of the scores by the moves, with shape (M)."""
        return self.price * self.distance(place, others)

    def reachable(self, place: int, others: Tensor) -> Tensor:
        """Mask of those within reach, with shape (M).

        Raises:
            ArgumentError: If there is none.
        """
        within = self.distance(place, others) <= self.reach
        if not within.any():
            raise ArgumentError(
                f"reach: expected a candidate within {self.reach:g} of place {place}; got none "
                "that is not measured. Allow longer moves: --reach."
            )
        return within

    def length(self, places: list[int]) -> float:
        """Length of the path over places in order."""
        at = torch.as_tensor(self.positions).double()[places]
        return float((at[1:] - at[:-1]).norm(dim=-1).sum())
