"""Rows of a dataset as batches for a module: with its dtype and on its device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ppvae.borders import typed
from ppvae.data import Dataset, as_dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.expected import expect, integer

__all__ = ["as_columns", "batch_for", "batches", "on_one_device", "placed", "placement"]

P = ParamSpec("P")
R = TypeVar("R")
Column = TypeVar("Column", Tensor, Tensor | int)


def placement(module: nn.Module) -> Tensor:
    """A tensor with shape (0), of the dtype and on the device of a module's batches."""
    floating = (p for p in module.parameters() if p.is_floating_point())
    parameters = (p for p in floating if not is_lazy(p))
    like = next(parameters, None)
    return torch.empty(0) if like is None else like.new_empty(0)


def placed(module: nn.Module, columns: Mapping[str, Column]) -> dict[str, Column]:
    """Columns on the device of a module, with the dtypes that they have; numbers stay as they are.

    Arguments:
        module: Module whose parameters determine the device.
        columns: Tensors or numbers by name.
    """
    device = placement(module).device
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in columns.items()
    }


def on_one_device(function: Callable[P, R]) -> Callable[P, R]:
    """Move the tensors that a function is given to the device of the first of them.

    Results of a run on a GPU then go together with data on the CPU. Tensors within containers
    stay where they are.

    Arguments:
        function: The function.
    """

    @functools.wraps(function)
    def moved(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if len({tensor.device for tensor in tensors}) < 2 or any(t.is_meta for t in tensors):
            return function(*args, **kwargs)
        ours = [v.to(tensors[0].device) if isinstance(v, Tensor) else v for v in args]
        named = {
            n: v.to(tensors[0].device) if isinstance(v, Tensor) else v for n, v in kwargs.items()
        }
        return function(*ours, **named)  # type: ignore[arg-type]

    return moved


def batch_for(
    module: nn.Module, data: Dataset, rows: Tensor | slice = slice(None)
) -> dict[str, Tensor]:
    """Rows of a dataset, all by default, with the dtype and on the device that ``module`` has.

    Arguments:
        module: Module whose parameters determine dtype and device.
        data: A dataset.
        rows: Slice or row numbers; all rows by default.
    """
    like = placement(module)
    return data.batch(rows, dtype=like.dtype, device=like.device)


@typed()
def as_columns(module: nn.Module, columns: ColumnsLike) -> dict[str, Tensor]:
    """Tensors, arrays, lists or numbers as tensors with the dtype and on the device of a module.

    Floating-point numbers get the module's dtype, integers become int64, and a single number
    becomes a column of one row. ``x``, ``c``, ``view`` and ``source`` are floating-point.

    Arguments:
        module: Module whose parameters determine dtype and device.
        columns: Columns by name; they may differ in length.

    Raises:
        DataError: If a column does not hold finite numbers.
    """
    ready: dict[str, Tensor] = {}
    for name, value in columns.items():
        single = isinstance(value, int | float) or getattr(value, "ndim", 1) == 0
        column = Dataset({name: [value] if single else value}, missing_ok=[name])
        ready |= batch_for(module, column)
    return ready


def batches(module: nn.Module, data: ColumnsLike, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """The rows of ``data`` in order, in batches with the dtype and on the device of ``module``.

    Arguments:
        module: Module whose parameters determine dtype and device.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        batch_size: Rows per batch.

    Yields:
        Columns by name, each with shape (B, ...), B the rows of the batch.

    Raises:
        ArgumentError: If ``batch_size`` is below 1.
    """
    expect(integer(1), "Use 128.", batch_size=batch_size)
    columns = as_dataset(data)
    for start in range(0, columns.num_rows, batch_size):
        rows = slice(start, min(start + batch_size, columns.num_rows))
        yield batch_for(module, columns, rows)
