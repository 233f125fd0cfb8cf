"""Fewer rows of a dataset, evenly spaced, so that every part of it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ppvae.data import Dataset, as_splits
from ppvae.errors import ArgumentError

__all__ = ["thinned"]


def thinned(data: Mapping[str, Any], max_rows: int | None) -> tuple[Dataset, Tensor]:
    """At most ``max_rows`` rows, and their numbers; all of them for None.

    Raises:
        ArgumentError: If ``max_rows`` is below 1.
    """
    if max_rows is not None and max_rows < 1:
        raise ArgumentError(
            f"max_rows: expected an integer >= 1, or None; got {max_rows}. Use 1000."
        )
    columns = as_splits(data).train
    if max_rows is None or columns.num_rows <= max_rows:
        return columns, torch.arange(columns.num_rows)
    rows = torch.arange(max_rows) * columns.num_rows // max_rows
    return columns.take(rows), rows
