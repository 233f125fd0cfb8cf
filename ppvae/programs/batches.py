"""Rows of a dataset as the batches that a module takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ppvae.data import Dataset, as_splits
from ppvae.errors import ArgumentError

__all__ = ["batch_for", "batches", "placement"]


def placement(module: nn.Module) -> Tensor:
    """An empty tensor of the dtype and on the device that a module's batches must have."""
    parameters = (p for p in module.parameters() if p.is_floating_point())
    like = next(parameters, None)
    return torch.empty(0) if like is None else like.new_empty(0)


def batch_for(module: nn.Module, data: Dataset, rows: Any = slice(None)) -> dict[str, Tensor]:
    """Rows of a dataset, all by default, with the dtype and on the device that ``module`` has."""
    like = placement(module)
    return data.batch(rows, dtype=like.dtype, device=like.device)


def batches(
    module: nn.Module, data: Mapping[str, Any], batch_size: int
) -> Iterator[dict[str, Tensor]]:
    """The rows of ``data`` in order, as ``module`` takes them.

    Arguments:
        module: Says dtype and device.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        batch_size: Rows at a time.

    Raises:
        ArgumentError: If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ArgumentError(f"batch_size: expected an integer >= 1; got {batch_size}. Use 128.")
    columns: Dataset = as_splits(data).train
    for start in range(0, columns.num_rows, batch_size):
        rows = slice(start, min(start + batch_size, columns.num_rows))
        yield batch_for(module, columns, rows)
