"""A dataset: named columns of equal length N, tensors or memory-mapped arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ppvae.data.columns import CODED, COLUMNS, OWN, kind_of
from ppvae.data.convert import as_column, expect_names, refuse_non_finite
from ppvae.data.dim import dim_bytes
from ppvae.data.mapped import INTEGERS, Column, ColumnsLike, MappedRows, rows_of
from ppvae.data.pairing import refuse_other_rows
from ppvae.data.record import Record
from ppvae.data.renumber import renumbered
from ppvae.data.sparse import SparseRows
from ppvae.data.stand_ins import stand_ins
from ppvae.data.values import facts_of, masked_rows, with_missing
from ppvae.errors import DataError
from ppvae.expected import SEQUENCE, expect
from ppvae.typing import ColumnSpec

__all__ = ["Dataset"]


class Dataset(Mapping[str, Column]):
    """Named columns of equal length N.

    The names are the arguments of models and guides (:data:`ppvae.data.columns.COLUMNS`): ``x``
    for the observation, ``y`` for a class (int64, -1 where missing), ``c`` for a known continuous
    factor, ``object`` and ``view`` for GP priors. Images have shape (N, C, H, W). If ``x`` or
    ``source`` is uint8, it holds intensities from 0 to 255 and stays uint8 until :meth:`batch`
    scales it to [0, 1]; integers in other columns are not scaled. Booleans become 0 and 1, which
    is noted, as are numbers such as -999, which often stand for missing values.

    Arguments:
        columns: Tensors, arrays, masked or memory-mapped arrays, by column name.
        missing_ok: Names of floating-point columns that may hold NaN, for a missing value; ``"*"``
            stands for all columns of other names than those of :data:`ppvae.data.columns.COLUMNS`.
        record: Names, units and notes that are kept with the columns.
        row_names: Names of the rows, such as the paths of pictures.

    Raises:
        DataError: If columns differ in length, are empty, have a dtype that cannot be used or hold
            NaN or infinity, if ``y`` or ``object`` are not integers, or if the rows of columns of
            pandas have other labels.
    """

    def __init__(
        self,
        columns: ColumnsLike,
        *,
        missing_ok: Sequence[str] = (),
        record: Record | None = None,
        row_names: Sequence[str] | np.ndarray | None = None,
    ) -> None:
        if not isinstance(missing_ok, str):
            expect(SEQUENCE, "Use ['x'].", missing_ok=missing_ok)
            expect_names("missing_ok", missing_ok)
        if not isinstance(columns, Mapping):
            raise DataError(
                f"dataset: expected columns by name; got {str(columns)[:60]!r}. Pass "
                "{'x': values}."
            )
        expect_names("dataset", columns)
        if not columns:
            raise DataError("dataset: expected at least one column; got none. Pass x=... .")
        refuse_other_rows(columns)
        named = [missing_ok] if isinstance(missing_ok, str) else missing_ok
        allowed = [name for name in named if name != OWN]
        if OWN in named:
            allowed += [name for name in columns if name not in COLUMNS]
        if "x" in columns and "mask" in columns:
            allowed.append("x")
        pairs = {k: as_column(k, v, missing_ok=k in allowed) for k, v in columns.items()}
        self._columns = {name: column for name, (column, _) in pairs.items()}
        kept = Record() if record is None else record
        x = columns.get("x")
        frame = getattr(x, "column_names", getattr(x, "columns", None))  # of Arrow, of pandas
        if record is None and frame is not None and len(frame) == len(set(map(str, frame))):
            kept = kept.renamed("x", tuple(map(str, frame)))
        self.record = kept.noted(*(note for _, note in pairs.values()))
        # Before a mask, which makes floating-point numbers of bytes.
        dim = [dim_bytes(name, column) for name, column in self._columns.items()]
        self.record = self.record.noted(*(note for note in dim if note not in kept.notes))
        if "x" in self._columns and "mask" in self._columns:
            self._mask()
        self.row_names = None if row_names is None else np.asarray(row_names, dtype=object)
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(
                f"dataset: expected columns of one length; got {lengths}. "
                "Give every column one row per datum."
            )
        self.num_rows = next(iter(lengths.values()))
        if self.num_rows == 0:
            raise DataError("dataset: expected at least one row; got 0. Check the selection.")
        for name, column in self._columns.items():
            features = self.record.names.get(name, ())
            missing = refuse_non_finite(
                name, column, missing_ok=name in allowed, features=features
            )
            if missing:
                total = math.prod(column.shape)
                note = f"{name}: {missing:,} of {total:,} values are missing"
                self.record = self.record.noted(note * (note not in self.record.notes))
            if not any(note.startswith(f"{name}: far from") for note in self.record.notes):
                self.record = self.record.noted(stand_ins(name, column, features))
        self.missing_ok = tuple(dict.fromkeys(allowed))
        if self.row_names is not None and len(self.row_names) != self.num_rows:
            raise DataError(
                f"row_names: expected {self.num_rows} names; got {len(self.row_names)}. "
                "Give every row one name."
            )

    def _mask(self) -> None:
        """Set values of x to NaN where the mask is 0, and remove the column ``mask``."""
        x, mask = self._columns["x"], self._columns["mask"]
        if len(x) != len(mask):
            return
        del self._columns["mask"]
        if isinstance(x, np.memmap | MappedRows):
            self._columns["x"] = masked_rows(x, mask)
        else:
            values = x if isinstance(x, Tensor) else torch.from_numpy(np.asarray(x))
            self._columns["x"] = with_missing(values, torch.as_tensor(np.asarray(mask)))
        self.record = self.record.noted("x: values where mask is 0 are missing (NaN)")

    @classmethod
    def _trusted(
        cls,
        columns: dict[str, Column],
        like: Dataset,
        *,
        row_names: np.ndarray | None = None,
        record: Record | None = None,
    ) -> Dataset:
        """Rows or columns of a dataset that was checked before."""
        new = cls.__new__(cls)
        new._columns = columns
        new.num_rows = len(next(iter(columns.values())))
        new.missing_ok = like.missing_ok
        new.record = like.record if record is None else record
        new.row_names = row_names
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
        return any(not isinstance(column, Tensor) for column in self._columns.values())

    @property
    def spec(self) -> dict[str, ColumnSpec]:
        """The properties of the columns that a model is built from, as JSON: shape, dtype, ids.

        Columns with names or a unit also have ``names``, by number, and ``unit``.
        """
        spec: dict[str, ColumnSpec] = {}
        for name, column in self._columns.items():
            names = self.record.names.get(name)
            count = None
            if name in CODED:
                count = int(torch.as_tensor(column).max()) + 1 if names is None else len(names)
            spec[name] = {
                "shape": list(column.shape[1:]),
                "dtype": str(column.dtype).removeprefix("torch."),
                "classes": count,
                **facts_of(name, column, missing_ok=name in self.missing_ok),
            }
            if names is not None:
                spec[name]["names"] = list(names)
            if name in self.record.units:
                spec[name]["unit"] = self.record.units[name]
        return spec

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Names by column: of the features of ``x``, the classes of ``y``, and the objects."""
        return dict(self.record.names)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was done to the columns in reading and conversion."""
        return self.record.notes

    def take(self, rows: Tensor | np.ndarray | Sequence[int]) -> Dataset:
        """The rows with the given numbers, or those where a mask (N) is true.

        Resident columns are copied; memory-mapped ones stay on the disk.

        Raises:
            DataError: If there is no row, or a number is not from 0 to N - 1.
        """
        rows = self._row_numbers(rows)
        numbers = rows.cpu().numpy()
        columns: dict[str, Column] = {}
        for name, column in self._columns.items():
            if isinstance(column, Tensor):
                columns[name] = rows_of(column, rows)
            elif isinstance(column, MappedRows | SparseRows):
                columns[name] = column.take(numbers)
            else:
                columns[name] = MappedRows(column, numbers)
        names = None if self.row_names is None else self.row_names[numbers]
        return self._trusted(columns, self, row_names=names)

    def _row_numbers(self, rows: Tensor | np.ndarray | Sequence[int]) -> Tensor:
        try:
            numbers = torch.as_tensor(rows)
            if numbers.is_meta:
                numbers = torch.zeros(())
            elif numbers.dtype in (torch.uint16, torch.uint32, torch.uint64):
                numbers = numbers.long()
        except (RuntimeError, TypeError, ValueError):
            numbers = torch.zeros(())
        if numbers.dtype == torch.bool and tuple(numbers.shape) == (self.num_rows,):
            numbers = numbers.nonzero().squeeze(1)
        if numbers.dim() == 1 and len(numbers) == 0:
            raise DataError("dataset: expected at least one row; got 0. Check the selection.")
        whole = numbers.dtype != torch.bool and not (
            numbers.is_floating_point() or numbers.is_complex()
        )
        if not whole or numbers.dim() != 1:
            raise DataError(
                f"rows: expected row numbers, or a mask ({self.num_rows}); got "
                f"{str(rows)[:60]}. Pass a list of integers."
            )
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high >= self.num_rows:
            raise DataError(
                f"rows: expected numbers from 0 to {self.num_rows - 1}; got "
                f"{low if low < 0 else high}. Count from 0."
            )
        return numbers.long()

    def select(self, *names: str) -> Dataset:
        """The columns with these names."""
        expect_names("select", names)
        columns = {name: self[name] for name in names}
        return self._trusted(columns, self, row_names=self.row_names)

    def read(self, rows: Tensor | slice) -> dict[str, Tensor]:
        """Some rows, as they are stored, in memory."""
        return {name: rows_of(column, rows) for name, column in self._columns.items()}

    def with_columns(self, **columns: object) -> Dataset:
        """A dataset with further columns, which replace those with the same names."""
        merged: dict[str, object] = {**self._columns, **columns}
        return Dataset(
            merged, missing_ok=self.missing_ok, record=self.record, row_names=self.row_names
        )

    def noted(self, *notes: str) -> Dataset:
        """A dataset with the same columns and further notes."""
        return self._trusted(
            self._columns, self, row_names=self.row_names, record=self.record.noted(*notes)
        )

    def named_like(self, other: Dataset) -> Dataset:
        """A dataset with classes, identifiers and names in columns of your own as in ``other``.

        Raises:
            DataError: If ``other`` lacks a name, or a column of your own has names in one of both
                alone.
        """
        columns, record = dict(self._columns), self.record
        for name in self._columns:
            numbered = kind_of(name).coded or name not in COLUMNS
            if not numbered or name not in other or len(other[name].shape) != 1:
                continue
            mine, its = self.record.names.get(name), other.record.names.get(name)
            if mine == its:
                continue
            columns[name], its = renumbered(name, (self[name], mine), (other[name], its))
            record = record.renamed(name, its)
        return self._trusted(columns, self, row_names=self.row_names, record=record)

    def to(self, device: torch.device | str) -> Dataset:
        """Resident columns on ``device``; memory-mapped ones stay on the disk."""
        columns = {
            name: column.to(device) if isinstance(column, Tensor) else column
            for name, column in self._columns.items()
        }
        return self._trusted(columns, self, row_names=self.row_names)

    def batch(
        self,
        rows: Tensor | slice,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Some rows as input of a model: uint8 scaled to [0, 1], floats in ``dtype``, ids int64.

        Whole numbers in ``x``, ``c``, ``view`` and ``source``, such as counts, become floats. No
        value is read back from the device.

        Arguments:
            rows: Row numbers, with shape (B), or a slice; numbers on another device than a
                column's are moved there first.
            dtype: Dtype of the floating-point columns.
            device: Device of the result; by default the device of the columns.

        Raises:
            DataError: If ``rows`` are no numbers of rows.
        """
        numbers = isinstance(rows, Tensor) and rows.dim() == 1 and rows.dtype in INTEGERS
        numbers = numbers and not (isinstance(rows, Tensor) and rows.is_meta)
        if not (numbers or isinstance(rows, slice)) or not isinstance(dtype, torch.dtype):
            raise DataError(
                f"batch: expected a slice or a tensor (B) of row numbers, and a dtype; got "
                f"{str(rows)[:60]} and {dtype}. Pass torch.tensor([0, 1])."
            )
        if isinstance(rows, Tensor) and rows.device.type == "cpu" and len(rows):
            rows = self._row_numbers(rows)
        return self._batch(rows, dtype, device)

    def _batch(
        self, rows: Tensor | slice, dtype: torch.dtype, device: torch.device | str | None
    ) -> dict[str, Tensor]:
        """:meth:`batch` of row numbers that are known to be right; nothing is read from them."""
        batch = {}
        for name, column in self._columns.items():
            values = rows_of(column, rows)
            values = values.to(device, non_blocking=True) if device is not None else values
            kind = kind_of(name)
            if values.dtype == torch.uint8:
                values = values.to(dtype) / 255 if kind.intensity else values.long()
            if values.is_floating_point() or kind.measured:
                values = values.to(dtype)
            batch[name] = values
        return batch
