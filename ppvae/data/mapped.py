"""Rows of a memory-mapped array: chosen by number, read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from ppvae.data.sparse import Rows, SparseRows

__all__ = ["Column", "Columns", "ColumnsLike", "MappedRows", "rows_of"]


class MappedRows:
    """Some rows of a memory-mapped array, in an order; nothing is copied until it is indexed.

    Arguments:
        source: The memory-mapped array.
        rows: Row numbers in it.
    """

    def __init__(self, source: np.memmap, rows: np.ndarray) -> None:
        self.source = source
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Rows) -> np.ndarray:
        return np.asarray(self.source[self.rows[rows]])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def take(self, rows: np.ndarray) -> MappedRows:
        """These rows of the rows."""
        return MappedRows(self.source, self.rows[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array with these rows has it."""
        return (len(self.rows), *self.source.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """The array's."""
        return self.source.dtype

    @property
    def ndim(self) -> int:
        """The array's."""
        return self.source.ndim

    @property
    def nbytes(self) -> int:
        """Bytes of these rows, on the disk."""
        size = 1
        for length in self.shape:
            size *= length
        return size * self.dtype.itemsize


Column: TypeAlias = "Tensor | np.memmap | MappedRows | SparseRows"
# Checked columns by name, such as a Dataset, and columns as people have them: a Dataset, tensors,
# arrays, lists.
Columns: TypeAlias = Mapping[str, Column]
ColumnsLike: TypeAlias = Mapping[str, object]


def rows_of(column: Column, rows: Tensor | slice) -> Tensor:
    """Rows of a column in memory, in a dtype that torch computes with."""
    if isinstance(column, Tensor):
        return column[rows if isinstance(rows, slice) else rows.to(column.device)]
    picked = np.array(column[rows if isinstance(rows, slice) else rows.cpu().numpy()])
    return torch.from_numpy(native(picked))


def native(array: np.ndarray) -> np.ndarray:
    """The array in this machine's byte order, as a dtype that torch computes with."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
