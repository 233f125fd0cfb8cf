"""A dataset: named columns of one length N, tensors or memory-mapped arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ppvae.errors import DataError

__all__ = ["DataError", "Dataset", "Splits", "as_splits", "split_rows"]

Column: TypeAlias = "Tensor | np.memmap[Any, Any]"
IDS = ("y", "object")
# Columns that models take as floating-point numbers even where a file has whole ones.
MEASURED = ("x", "c", "view", "source")


class Dataset(Mapping[str, Column]):
    """Named columns of one length N.

    The names are the arguments of models and guides: ``x`` what is observed, ``y`` a class
    (int64, -1 where missing), ``c`` a known continuous factor, ``object`` and ``view`` for GP
    priors. Images have shape (N, C, H, W). A uint8 column holds intensities from 0 to 255 and
    stays uint8 until :meth:`batch` scales it to [0, 1].

    Arguments:
        columns: Tensors, arrays or memory-mapped arrays, by name.
        missing_ok: Names of floating-point columns that may hold NaN, for a missing value.

    Raises:
        DataError: If columns differ in length, are empty, of a kind that cannot be used, hold
            NaN or infinity, or if ``y`` or ``object`` are not whole numbers.
    """

    def __init__(self, columns: Mapping[str, Any], *, missing_ok: Sequence[str] = ()) -> None:
        if not columns:
            raise DataError("dataset: expected at least one column; got none. Pass x=... .")
        self._columns = {name: _column(name, value) for name, value in columns.items()}
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(
                f"dataset: expected columns of one length; got {lengths}. "
                "Give every column one row a datum."
            )
        self.num_rows = next(iter(lengths.values()))
        if self.num_rows == 0:
            raise DataError("dataset: expected at least one row; got 0. Check the selection.")
        for name, column in self._columns.items():
            if name not in missing_ok:
                _refuse_non_finite(name, column)
        self.missing_ok = tuple(missing_ok)

    @classmethod
    def _trusted(cls, columns: dict[str, Column], like: Dataset) -> Dataset:
        """Rows or columns of a dataset that was checked before."""
        new = cls.__new__(cls)
        new._columns = columns
        new.num_rows = len(next(iter(columns.values())))
        new.missing_ok = like.missing_ok
        return new

    def __getitem__(self, name: str) -> Column:
        try:
            return self._columns[name]
        except KeyError:
            raise DataError(
                f"dataset: expected a column {name!r}; got columns {list(self._columns)}. "
                "Add the column, or choose a model that does not need it."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __repr__(self) -> str:
        columns = ", ".join(
            f"{name} {tuple(column.shape[1:])} {str(column.dtype).removeprefix('torch.')}"
            for name, column in self._columns.items()
        )
        return f"Dataset({self.num_rows:,} rows: {columns})"

    @property
    def mapped(self) -> bool:
        """Whether some column is memory-mapped rather than resident."""
        return any(isinstance(column, np.memmap) for column in self._columns.values())

    @property
    def spec(self) -> dict[str, dict[str, Any]]:
        """What a model must know to be built: shape a row, dtype, number of ids; JSON-able."""
        spec = {}
        for name, column in self._columns.items():
            ids = name in IDS
            spec[name] = {
                "shape": list(column.shape[1:]),
                "dtype": str(column.dtype).removeprefix("torch."),
                "classes": int(column.max()) + 1 if ids else None,
            }
        return spec

    def take(self, rows: Tensor) -> Dataset:
        """The rows with these numbers, or where a mask (N) is true, in memory."""
        rows = torch.as_tensor(rows)
        if rows.dtype == torch.bool:
            rows = rows.nonzero().squeeze(1)
        if len(rows) == 0:
            raise DataError("dataset: expected at least one row; got 0. Check the selection.")
        return self._trusted({k: _rows(v, rows) for k, v in self._columns.items()}, self)

    def select(self, *names: str) -> Dataset:
        """The columns with these names."""
        return self._trusted({name: self[name] for name in names}, self)

    def with_columns(self, **columns: Any) -> Dataset:
        """These columns added, or in place of those with the same names."""
        return Dataset({**self._columns, **columns}, missing_ok=self.missing_ok)

    def to(self, device: torch.device | str) -> Dataset:
        """Resident columns on ``device``; memory-mapped ones stay on the disk."""
        columns = {
            name: column.to(device) if isinstance(column, Tensor) else column
            for name, column in self._columns.items()
        }
        return self._trusted(columns, self)

    def batch(
        self,
        rows: Tensor | slice,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """The rows as a model takes them: uint8 scaled to [0, 1], floats in ``dtype``, ids int64.

        Whole numbers in ``x``, ``c``, ``view`` and ``source``, such as counts, become floats.

        No value is read back from the device.

        Arguments:
            rows: Row numbers, with shape (B), or a slice; numbers on another device than a
                column's are moved there first.
            dtype: Of the floating-point columns.
            device: Where to put them; where they are by default.
        """
        batch = {}
        for name, column in self._columns.items():
            values = _rows(column, rows)
            values = values.to(device, non_blocking=True) if device is not None else values
            if values.dtype == torch.uint8:
                values = values.to(dtype) / 255
            elif values.is_floating_point() or name in MEASURED:
                values = values.to(dtype)
            batch[name] = values
        return batch


def _rows(column: Column, rows: Tensor | slice) -> Tensor:
    if isinstance(column, Tensor):
        return column[rows if isinstance(rows, slice) else rows.to(column.device)]
    picked = column[rows if isinstance(rows, slice) else rows.cpu().numpy()]
    return torch.from_numpy(np.array(picked))


def _column(name: str, value: Any) -> Column:
    if isinstance(value, np.memmap):
        column: Column = value
    elif isinstance(value, Tensor):
        column = value.detach()
    else:
        array = np.asarray(value)
        if array.dtype.kind not in "buif":
            raise DataError(
                f"column {name!r}: expected numbers; got dtype {array.dtype}. "
                "Encode names as numbers first."
            )
        if array.dtype.byteorder == ">" or not array.flags.writeable:
            array = array.astype(array.dtype.newbyteorder("="), copy=True)
        if array.dtype.kind == "u" and array.dtype != np.uint8:
            array = array.astype(np.int64)
        column = torch.from_numpy(np.require(array, requirements="C"))
    if column.ndim == 0:
        raise DataError(
            f"column {name!r}: expected one row a datum; got a single number. "
            "Give it the shape (N, ...)."
        )
    if isinstance(column, Tensor) and name in IDS:
        return _ids(name, column)
    if isinstance(column, Tensor) and column.dtype in (torch.bool, torch.int32, torch.int16):
        return column.long()
    return column


def _ids(name: str, column: Tensor) -> Tensor:
    whole = column.long()
    if column.is_floating_point() and not torch.equal(whole.to(column.dtype), column):
        raise DataError(
            f"column {name!r}: expected whole numbers (ids from 0); got {column.dtype} with "
            "fractions or NaN. Encode it as integers; -1 is a missing class."
        )
    least = -1 if name == "y" else 0
    if len(whole) and int(whole.min()) < least:
        raise DataError(
            f"column {name!r}: expected ids from {least}; got {int(whole.min())}. "
            "Number them from 0."
        )
    return whole


def _refuse_non_finite(name: str, column: Column) -> None:
    floating = column.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64) or (
        isinstance(column, np.memmap) and column.dtype.kind == "f"
    )
    if not floating:
        return
    for start in range(0, len(column), 65536):
        chunk = _rows(column, slice(start, start + 65536))
        bad = ~torch.isfinite(chunk).reshape(len(chunk), -1).all(1)
        if bad.any():
            row = start + int(bad.nonzero()[0])
            raise DataError(
                f"column {name!r}: expected finite numbers; got NaN or infinity in row {row}. "
                "Remove the row, or name the column in missing_ok if the model takes missing "
                "values."
            )


class Splits(NamedTuple):
    """Data to train on, to validate on, and to test on."""

    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None

    @property
    def held_out(self) -> Dataset:
        """The test data, else those to validate on, else those to train on."""
        return self.test or self.validation or self.train


def as_splits(data: Splits | Dataset | Mapping[str, Any]) -> Splits:
    """Splits as they are; a dataset, or a mapping of columns, as the training data."""
    if isinstance(data, Splits):
        return data
    return Splits(data if isinstance(data, Dataset) else Dataset(data))


def split_rows(
    data: Dataset, *, validation: float = 0.1, test: float = 0.1, seed: int = 0
) -> Splits:
    """Random rows for validation and test, the rest for training.

    Arguments:
        data: All rows.
        validation: The share of rows to validate on.
        test: The share of rows to test on.
        seed: Of the split's own generator.
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise DataError(
            f"split: expected shares that leave rows to train on; got validation {validation}, "
            f"test {test}. Use 0.1 and 0.1."
        )
    order = torch.randperm(data.num_rows, generator=torch.Generator().manual_seed(seed))
    counts = [round(data.num_rows * share) for share in (validation, test)]
    picked = [order[: counts[0]], order[counts[0] : sum(counts)], order[sum(counts) :]]
    parts = [data.take(rows.sort().values) if len(rows) else None for rows in picked]
    assert parts[2] is not None
    return Splits(parts[2], parts[0], parts[1])
