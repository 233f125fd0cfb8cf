"""Rows of a sparse matrix: kept sparse, made dense a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import DTypeLike

from ppvae.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import spmatrix

# What numbers rows of an array: numbers, a mask or a slice.
Rows: TypeAlias = "np.ndarray | slice | list[int] | int"

__all__ = ["Rows", "SparseRows", "is_sparse"]


def is_sparse(value: object) -> TypeGuard[spmatrix]:
    """Whether a value is a sparse matrix or array of scipy's."""
    # By the classes' names, so that scipy is not imported for what is dense.
    return any(base.__module__.startswith("scipy.sparse") for base in type(value).__mro__)


class SparseRows:
    """A column that is a sparse matrix, such as cells by genes; indexing gives dense rows.

    Arguments:
        matrix: A sparse matrix of scipy's with shape (N, D), kept by rows (CSR).

    Raises:
        DataError: If values are no numbers, or NaN or infinite.
    """

    def __init__(self, matrix: object) -> None:
        from scipy.sparse import csr_array

        rows = csr_array(matrix)
        if rows.dtype.kind not in "buif":
            raise DataError(
                f"sparse matrix: expected numbers; got dtype {rows.dtype}. Convert it first."
            )
        if rows.dtype.kind == "f" and not np.isfinite(rows.data).all():
            raise DataError(
                "sparse matrix: expected finite numbers; got NaN or infinity among its values. "
                "Remove these rows, or pass a dense array with NaN where values are missing."
            )
        if rows.dtype.kind in "bu":
            rows = rows.astype(np.int64)
        self.matrix = rows

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def __getitem__(self, rows: Rows) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            return np.asarray(self.matrix[[int(rows)]].toarray())[0]
        return np.asarray(self.matrix[rows].toarray())

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.matrix.toarray(), dtype=dtype)

    def take(self, rows: Rows) -> SparseRows:
        """These rows, sparse."""
        new = SparseRows.__new__(SparseRows)
        new.matrix = self.matrix[np.asarray(rows)]
        return new

    @property
    def values(self) -> np.ndarray:
        """What is stored: all values but zeros."""
        return np.asarray(self.matrix.data)

    @property
    def shape(self) -> tuple[int, ...]:
        """As a dense array has it."""
        return tuple(int(size) for size in self.matrix.shape)

    @property
    def dtype(self) -> np.dtype:
        """The matrix's."""
        return np.dtype(self.matrix.dtype)

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        m = self.matrix
        return int(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes)
