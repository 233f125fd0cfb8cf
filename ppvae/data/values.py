"""Properties of the values of a column: their range, whether they are integers, what is missing.

They are computed in one pass, by chunks. A likelihood is chosen from them, and models are built
from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppvae.data.mapped import Column, MappedRows, rows_of, spans
from ppvae.data.sparse import SparseRows
from ppvae.errors import DataError
from ppvae.typing import ColumnSpec

__all__ = [
    "Values",
    "chunks_of",
    "describe_values",
    "facts_of",
    "masked_rows",
    "values_of",
    "with_missing",
]


@dataclass(frozen=True)
class Values:
    """Properties of a column's values, without the missing ones.

    Attributes:
        low: Smallest value.
        high: Largest value.
        whole: Whether all values are integers.
        binary: Whether all values are 0 or 1.
        missing: Number of missing values (NaN).
        mean: Mean of each feature, if rows are vectors; else the mean of all values.
        sd: Standard deviation of each feature, or of all values, as for ``mean``.
        log_total: Mean and standard deviation of the logarithm of the rows' totals, where all
            are whole numbers from 0.
    """

    low: float
    high: float
    whole: bool
    binary: bool
    missing: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    log_total: tuple[float, float] | None

    @property
    def is_count(self) -> bool:
        """Whether the values are integers of at least 0, some of them above 1."""
        return self.whole and self.low >= 0 and self.high > 1


def chunks_of(column: Column) -> Iterator[Tensor]:
    """The rows in float64, some at a time; uint8 intensities scaled to [0, 1]."""
    for span in spans(column):
        rows = column[span]
        chunk = rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))
        yield chunk.double() / 255 if chunk.dtype == torch.uint8 else chunk.double()


def describe_values(column: Column) -> Values:
    """The :class:`Values` of a column, read by chunks.

    Arguments:
        column: Tensor, or another object that is indexed by slices of rows, with shape (N, ...).
    """
    if isinstance(column, SparseRows):
        return _sparse_values(column)
    return values_of(chunks_of(column), flat=len(column.shape) == 2)


def values_of(chunks: Iterable[Tensor], *, flat: bool) -> Values:
    """The :class:`Values` of rows that come some at a time.

    Arguments:
        chunks: Rows with shape (n, ...) each, in float64, NaN where a value is missing.
        flat: Whether there is a mean per feature, of rows with shape (n, D).
    """
    low, high, integral, binary, missing = math.inf, -math.inf, True, True, 0
    count: Tensor | float = 0.0
    total: Tensor | float = 0.0
    square: Tensor | float = 0.0
    logs: list[Tensor] = []
    for chunk in chunks:
        chunk = chunk.reshape(len(chunk), -1)
        absent = chunk.isnan()
        gaps = int(absent.sum())
        missing += gaps
        # A copy without the missing values only where there are some: columns may be large.
        known = chunk[~absent] if gaps else chunk
        filled = chunk.masked_fill(absent, 0.0) if gaps else chunk
        if known.numel():
            low, high = min(low, float(known.min())), max(high, float(known.max()))
            integral = integral and bool((known == known.round()).all())
            binary = binary and bool(((known == 0) | (known == 1)).all())
        if integral and low >= 0:
            logs.append(filled.sum(1).clamp_min(1).log())
        if flat:
            count = count + (len(chunk) - absent.sum(0))
            total, square = total + filled.sum(0), square + filled.square().sum(0)
        else:
            count = count + (chunk.numel() - gaps)
            total, square = total + filled.sum(), square + filled.square().sum()
    n = torch.as_tensor(count).clamp_min(1)
    mean = torch.as_tensor(total) / n
    sd = (torch.as_tensor(square) / n - mean.square()).clamp_min(0).sqrt()
    log_total = None
    if integral and low >= 0 and logs:
        joined = torch.cat(logs)
        log_total = (float(joined.mean()), float(joined.std(correction=0)))
    return Values(
        low,
        high,
        integral,
        binary,
        missing,
        tuple(mean.reshape(-1).tolist()),
        tuple(sd.reshape(-1).tolist()),
        log_total,
    )


def _log_totals(column: SparseRows) -> tuple[float, float]:
    logs = np.log(np.maximum(np.asarray(column.matrix.sum(1), np.float64), 1))
    return float(logs.mean()), float(logs.std())


def _sparse_values(column: SparseRows) -> Values:
    """The values of a sparse matrix, computed from its stored elements."""
    matrix, stored = column.matrix, column.values
    filled = stored.size == matrix.shape[0] * matrix.shape[1]
    ends = stored if filled else np.append(stored, 0)
    low, high = float(ends.min()), float(ends.max())
    integral = bool((stored == np.round(stored)).all())
    mean = np.asarray(matrix.mean(0), np.float64).ravel()
    squares = matrix.copy()
    squares.data = squares.data.astype(np.float64) ** 2
    square = np.asarray(squares.mean(0)).ravel()
    log_total = _log_totals(column) if integral and low >= 0 else None
    return Values(
        low,
        high,
        integral,
        bool(((stored == 0) | (stored == 1)).all()),
        0,
        tuple(mean.tolist()),
        tuple(np.sqrt(np.maximum(square - mean**2, 0)).tolist()),
        log_total,
    )


def _any(column: Column, check: Callable[[Tensor], Tensor]) -> bool:
    if isinstance(column, SparseRows):
        return bool(check(torch.from_numpy(column.values)).any())
    return any(bool(check(chunk).any()) for chunk in chunks_of(column))


def facts_of(name: str, column: Column, *, missing_ok: bool) -> ColumnSpec:
    """The entries of :attr:`ppvae.data.Dataset.spec` that depend on the values.

    These are ``missing``, if some values are NaN, and ``library``, the mean and standard deviation
    of the logarithm of the totals, if ``x`` holds counts.
    """
    if name not in ("x", "source") or column.dtype in (torch.uint8, np.dtype("uint8")):
        return {}
    facts: ColumnSpec = {}
    if missing_ok and _any(column, torch.isnan):
        facts["missing"] = True
    if name == "x" and not _any(column, lambda v: (v < 0) | ((v != v.round()) & ~v.isnan())):
        if isinstance(column, SparseRows):
            if column.values.size and column.values.max() > 1:
                facts["library"] = list(_log_totals(column))
            return facts
        values = describe_values(column)
        if values.is_count and values.log_total is not None:
            facts["library"] = list(values.log_total)
    return facts


class _Masked:
    """An array on the disk, NaN where a mask is 0; rows of both are read when they are needed."""

    def __init__(self, x: np.memmap | MappedRows, mask: Column) -> None:
        self.x, self.mask = x, mask
        row = self[np.zeros(1, np.int64)]
        self.shape: tuple[int, ...] = (len(x), *row.shape[1:])
        self.dtype = row.dtype
        self.ndim = row.ndim

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        picked = torch.from_numpy(np.reshape(rows, -1).astype(np.int64))
        values = with_missing(rows_of(self.x, picked), rows_of(self.mask, picked)).numpy()
        return values if np.ndim(rows) else values[0]


def masked_rows(x: np.memmap | MappedRows, mask: Column) -> MappedRows:
    """Rows of an array on the disk, with NaN where a mask is 0 (:func:`with_missing`).

    Arguments:
        x: Values with shape (N, ...).
        mask: True where a value was observed; it may be on the disk, too.

    Raises:
        DataError: If the shapes do not match.
    """
    return MappedRows(_Masked(x, mask), np.arange(len(x)))


def with_missing(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` with NaN where ``mask`` is 0 or false; uint8 intensities become float32 in [0, 1].

    Arguments:
        x: Values with shape (N, ...).
        mask: True where a value was observed, with the shape of x, or (N) for entire data. Axes
            of size 1 are expanded; for pictures (N, C, H, W), a mask (N, H, W) holds for all
            channels.

    Raises:
        DataError: If the shapes do not match.
    """
    shape = tuple(mask.shape)
    if mask.dim() == x.dim() - 1 == 3 and shape[1:] == tuple(x.shape[2:]):
        mask = mask[:, None]
    elif mask.dim() == 1:
        mask = mask.reshape(mask.shape + (1,) * (x.dim() - 1))
    if mask.dim() != x.dim() or any(
        m not in (1, n) for m, n in zip(mask.shape, x.shape, strict=True)
    ):
        raise DataError(
            f"column 'mask': expected the shape of x, {tuple(x.shape)}, or (N); got {shape}. "
            "Give each value of x its own 0 or 1."
        )
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    return torch.where(mask.bool(), x, torch.full_like(x, math.nan))
