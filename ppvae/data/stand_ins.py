"""Numbers such as -999 that often stand for missing values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ppvae.data.columns import kind_of
from ppvae.data.identifiers import is_identifier
from ppvae.data.mapped import BUDGET, Column, rows_of, spans
from ppvae.data.sparse import SparseRows

__all__ = ["stand_ins"]

# Sizes of numbers that files have in place of missing values: digits that are all 9, and others.
NINES = [10.0**digits - 1 for digits in range(2, 8)]
FILLS = np.array([1e20, 1e30, 1e36, 1e37, 32768.0, 2.0**31])
# Pieces of a column, each of BUDGET numbers, that are looked at.
PIECES = 16
# Number of features from which on a single large count among them is no doubt.
MANY = 100


def stand_ins(name: str, column: Column, names: Sequence[str] = ()) -> str:
    """A note on numbers such as -999, far from all others of their feature; empty without any.

    Such a number often stands for a missing value. It has two or more digits, all of them 9, or
    is in :data:`FILLS`, and its distance from the next value exceeds the range of all others. Of
    a large column on the disk some rows are looked at, spread evenly; the values of a sparse
    matrix are those of one feature.

    Arguments:
        name: Name of the dataset column.
        column: Numbers with shape (N), (N, D) or (N, C, ...).
        names: Names of the D features, or of the classes that the numbers stand for.
    """
    kind, coded = kind_of(name), len(column.shape) == 1 and bool(names)
    if kind.coded or kind.kind in ("split", "mask") or coded or is_identifier(name):
        return ""
    if str(column.dtype).removeprefix("torch.") in ("uint8", "bool"):
        return ""  # Intensities and flags.
    looked, is_sparse = _some_rows(column), isinstance(column, SparseRows)
    if not looked.size:
        return ""
    rows = looked.reshape(len(looked), looked.shape[1] if looked.ndim > 1 else 1, -1)
    doubts, number = [], 0.0
    ends = [np.fmin.reduce(rows, (0, 2)), np.fmax.reduce(rows, (0, 2))]
    crowd = rows.shape[1] >= MANY and not (ends[0] < 0).any()
    for end in ends:
        for i in np.flatnonzero(_is_fill(end)).tolist():
            values = rows[:, i]
            found = values == end[i]
            count = int(found.sum())
            if crowd and count == 1 and end[i] < np.nanmax(ends[1]):
                continue  # Counts have long tails.
            others = values[~found & ~np.isnan(values)].astype(np.float64)
            if len(others) and np.abs(others - end[i]).min() > np.ptp(others):
                number = float(end[i])
                what = "row" if values.shape[1] == 1 and not is_sparse else "value"
                where = f"{_feature(column, names, i)}{number:.7g}"
                doubts.append(f"{where} ({count} {what}{'s' * (count > 1)})")
    if not doubts:
        return ""
    more = f" and {len(doubts) - 6} more" if len(doubts) > 6 else ""
    some = ""
    if len(looked) < len(column) and not is_sparse:
        some = f" (in {len(looked):,} of {len(column):,} rows)"
    return (
        f"{name}: far from all other values of a column{some}: {', '.join(doubts[:6])}{more}; "
        f"--na={number:.7g} reads such a number in a table as missing, in arrays write NaN"
    )


def _some_rows(column: Column) -> np.ndarray:
    """All rows, or some of a column on the disk; of a sparse matrix its values and a zero."""
    if isinstance(column, SparseRows):
        values = column.values
        return np.append(values[:: 1 + len(values) // (PIECES * BUDGET)], 0)
    if isinstance(column, Tensor) and column.is_cpu and column.is_contiguous():
        return _array(column)
    pieces = list(spans(column))
    if len(pieces) > PIECES:
        pieces = [pieces[i * (len(pieces) - 1) // (PIECES - 1)] for i in range(PIECES)]
    return _array(torch.cat([rows_of(column, rows) for rows in pieces]))


def _array(values: Tensor) -> np.ndarray:
    plain = values.detach().cpu()
    return np.asarray((plain.float() if plain.dtype == torch.bfloat16 else plain).numpy())


def _is_fill(numbers: np.ndarray) -> np.ndarray:
    """Which numbers are some that files use for missing values."""
    size = np.abs(numbers.astype(np.float64))
    near = np.abs(size[:, None] - FILLS) <= 1e-6 * FILLS
    return np.asarray(np.isin(size, NINES) | near.any(1))


def _feature(column: Column, names: Sequence[str], i: int) -> str:
    """The name of a feature before its number, where there are several."""
    if len(column.shape) < 2 or isinstance(column, SparseRows):
        return ""
    if len(names) == column.shape[1]:
        return f"{names[i]} "
    if column.shape[1] == 1:
        return ""
    return f"feature {i} " if len(column.shape) == 2 else f"channel {i} "
