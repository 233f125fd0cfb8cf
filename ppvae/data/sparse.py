"""Rows of a sparse matrix: kept sparse, made dense a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import DTypeLike

from ppvae.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import spmatrix

# An index of rows of an array: numbers, a mask or a slice.
Rows: TypeAlias = "np.ndarray | slice | list[int] | int"

__all__ = ["Rows", "SparseRows", "is_sparse"]


def is_sparse(value: object) -> TypeGuard[spmatrix]:
    """Whether a value is a sparse matrix or array of scipy."""
    # Classes are compared by name, so that scipy is not imported for dense values.
    return any(base.__module__.startswith("scipy.sparse") for base in type(value).__mro__)


class SparseRows:
    """A column that is a sparse matrix, such as cells by genes; indexing gives dense rows.

    Arguments:
        matrix: Sparse matrix of scipy with shape (N, D), stored by rows (CSR).

    Raises:
        DataError: If the values are not numbers, or some are NaN or infinite.
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
        if rows.dtype.kind == "u" and rows.data.size and int(rows.data.max()) >= 2**63:
            raise DataError(
                f"sparse matrix: expected whole numbers below 2**63; got {int(rows.data.max())}. "
                "Convert them to floating-point numbers."
            )
        if rows.dtype.kind == "f" and rows.dtype.itemsize > 8:
            rows = rows.astype(np.float64)
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
        """Some rows, as a sparse column."""
        new = SparseRows.__new__(SparseRows)
        new.matrix = self.matrix[np.asarray(rows)]
        return new

    @property
    def values(self) -> np.ndarray:
        """The stored values, which are all but the zeros."""
        return np.asarray(self.matrix.data)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the matrix."""
        return tuple(int(size) for size in self.matrix.shape)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the matrix."""
        return np.dtype(self.matrix.dtype)

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        m = self.matrix
        return int(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes)
