"""Supports that torch lacks: unit vectors, and rotations in three dimensions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

__all__ = ["on_reals", "rotation_matrix", "support_of", "unit_vector"]

# Of what rounding to float32, and to a file's digits, leaves.
TOLERANCE = 2e-3


class _UnitVector(Constraint):
    """Vectors of length one; a zero vector is none."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value.norm(dim=-1) - 1).abs() < TOLERANCE


class _RotationMatrix(Constraint):
    """Orthogonal matrices (3, 3) of determinant 1; a reflection is none."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        gap = (value @ value.mT - torch.eye(3).to(value)).abs().amax((-2, -1))
        return (gap < TOLERANCE) & (torch.linalg.det(value) > 0)


def support_of(fn: Distribution) -> Constraint | None:
    """The support of a distribution, without declared event dimensions; None where it has none."""
    try:
        support: Constraint | None = fn.support
    except NotImplementedError:
        return None
    while support is not None and hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def on_reals(fn: Distribution) -> bool:
    """Whether a distribution is of real numbers, or of vectors of them."""
    return support_of(fn) in (constraints.real, constraints.real_vector)


unit_vector = _UnitVector()
rotation_matrix = _RotationMatrix()
