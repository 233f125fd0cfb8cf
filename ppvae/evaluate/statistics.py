"""Test statistics: one number per image, spectrum or vector, to compare data with replicates.

A statistic is any function from values with shape (M, ...) to numbers with shape (M).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import Tensor

__all__ = ["STATISTICS", "Statistic", "area", "contrast", "edges", "intensity"]

Statistic: TypeAlias = Callable[[Tensor], Tensor]


def intensity(x: Tensor) -> Tensor:
    """The mean of all elements."""
    return x.flatten(1).mean(1)


def contrast(x: Tensor) -> Tensor:
    """The standard deviation over elements."""
    return x.flatten(1).std(1, correction=0)


def area(x: Tensor) -> Tensor:
    """The share of elements above a half."""
    return (x.flatten(1) > 0.5).to(x).mean(1)


def edges(x: Tensor) -> Tensor:
    """The mean absolute difference of neighbours, along rows and, in images, columns.

    A dimension with a single entry has no neighbours and adds nothing; where the last one (the
    last two, of images) has none, the last dimension with several entries is used.
    """
    event = range(1, x.dim())
    dims = [dim for dim in event[-2 if x.dim() == 4 else -1 :] if x.size(dim) > 1]
    dims = dims or [dim for dim in event if x.size(dim) > 1][-1:]
    total = x.new_zeros(len(x))
    for dim in dims:
        total = total + x.diff(dim=dim).abs().flatten(1).mean(1)
    return total


STATISTICS: Mapping[str, Statistic] = {
    "intensity": intensity,
    "contrast": contrast,
    "edges": edges,
    "area": area,
}
