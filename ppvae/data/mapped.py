"""Rows of an array on disk, memory-mapped or zarr, which are read when they are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from ppvae.data.sparse import Rows, SparseRows

__all__ = ["Column", "Columns", "ColumnsLike", "MappedRows", "Source", "rows_of", "spans"]

# Elements of a column that are looked at together: few enough for a processor's cache to be of
# use, where a pass computes several things of them.
BUDGET = 2**20


class Source(Protocol):
    """An array on the disk, such as ``numpy.memmap`` or ``zarr.Array``."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def ndim(self) -> int: ...

    def __getitem__(self, rows: np.ndarray, /) -> object: ...


class MappedRows:
    """Selected rows of an array on disk, in a given order; they are read when indexed.

    Arguments:
        source: The array.
        rows: Row numbers in it.
    """

    def __init__(self, source: Source, rows: np.ndarray) -> None:
        self.source = source
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Rows) -> np.ndarray:
        return np.asarray(self.source[self.rows[rows]])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def take(self, rows: np.ndarray) -> MappedRows:
        """Some of these rows, by their positions here."""
        return MappedRows(self.source, self.rows[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an array with these rows."""
        return (len(self.rows), *self.source.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the array."""
        return self.source.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions of the array."""
        return self.source.ndim

    @property
    def nbytes(self) -> int:
        """Size in bytes of these rows on the disk."""
        size = 1
        for length in self.shape:
            size *= length
        return size * self.dtype.itemsize


# Dtypes of row numbers.
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8)
Column: TypeAlias = Tensor | np.memmap | MappedRows | SparseRows
# Checked columns by name, such as a Dataset; and unchecked columns: a Dataset, tensors, arrays,
# lists.
Columns: TypeAlias = Mapping[str, Column]
ColumnsLike: TypeAlias = Mapping[str, object]


def spans(column: Column, budget: int = BUDGET) -> Iterator[slice]:
    """Slices that cover the rows in order, each of about as many elements as the budget says.

    Arguments:
        column: A column with shape (N, ...).
        budget: Elements in a slice; one row at least.
    """
    step = max(1, budget // max(1, math.prod(column.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(column), step))


def rows_of(column: Column, rows: Tensor | slice) -> Tensor:
    """Rows of a column in memory, in a dtype that torch computes with."""
    if isinstance(column, Tensor):
        if isinstance(rows, slice):
            return column[rows]
        rows = rows.to(column.device)
        if column.dim() > 1 and rows.is_cpu and rows.dtype == torch.int64 and rows.dim() == 1:
            return column.index_select(0, rows)  # Copies each row as one piece of memory.
        return column[rows]
    picked = np.array(column[rows if isinstance(rows, slice) else rows.cpu().numpy()])
    return torch.from_numpy(native(picked))


def native(array: np.ndarray) -> np.ndarray:
    """The array in this machine's byte order, as a dtype that torch computes with."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
