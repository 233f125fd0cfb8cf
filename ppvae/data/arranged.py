"""Arrays of a file as columns of a dataset: text as numbers, channels of pictures first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from ppvae.data.columns import COLUMNS, found_as, kind_of, known_as
from ppvae.data.dataset import Dataset
from ppvae.data.mapped import MappedRows
from ppvae.data.record import Record, coded, known_names, known_unit
from ppvae.data.words import coded_names, factor_of_text, own_text, split_codes
from ppvae.errors import DataError
from ppvae.typing import Spec

__all__ = ["Layout", "channels_first", "dataset_of"]

Layout: TypeAlias = Literal["auto", "first", "last"]


def dataset_of(
    path: Path,
    columns: Mapping[str, np.ndarray | MappedRows],
    missing_ok: Sequence[str],
    layout: Layout,
    like: Spec | None,
) -> Dataset:
    """A dataset of the arrays of a file, by the rules of :func:`ppvae.data.npz`.

    Arguments:
        path: Path of the file.
        columns: Array by name.
        missing_ok: Columns that may hold NaN.
        layout: Where the channels of ``x`` are.
        like: Spec of the columns of a fitted run.

    Raises:
        DataError: If the columns cannot be used.
    """
    record = Record()
    arrays: dict[str, np.ndarray | MappedRows] = {}
    for given, array in columns.items():
        name = given if found_as(known_as(given), columns) != given else known_as(given)
        if name != given:
            record = record.noted(f"{name}: from the array {given!r}")
        kind = kind_of(name)
        if isinstance(array, MappedRows):
            arrays[name] = array
            continue
        if array.dtype.kind in "US" and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
            record = record.noted(f"{name}: shape (N, 1) taken as (N)")
        if kind.kind == "split":
            arrays[name], note = split_codes(array, path.name)
            record = record.noted(note)
        elif kind.coded and array.ndim == 1 and array.dtype.kind in "iufbUS":
            arrays[name], names, note = coded(name, array, known_names(like, name))
            record = record.noted(note)
            record = record if names is None else record.renamed(name, names)
        elif kind.measured and array.ndim == 1 and array.dtype.kind in "US":
            arrays[name], unit = factor_of_text(name, array)
            known_unit(like, name, unit)
            record = Record(record.names, {**record.units, **unit}, record.notes)
        elif (
            name not in COLUMNS
            and array.ndim == 1
            and (array.dtype.kind in "US" or coded_names(like, name) is not None)
        ):
            arrays[name], record = own_text(name, array, record, like)
        else:
            arrays[name] = array
    whole = arrays.get("x")
    if whole is not None and not isinstance(whole, MappedRows) and whole.ndim == 1:
        arrays["x"] = whole = whole[:, None]
        record = record.noted("x: shape (N) taken as (N, 1)")
    shape = None if whole is None else whole.shape
    for name in ("source", "mask", "x"):
        values = arrays.get(name)
        if values is None or isinstance(values, MappedRows):
            continue
        if name != "mask" or values.shape == shape:  # The axes of a mask are those of x.
            arrays[name], note = channels_first(np.asanyarray(values), layout, name)
            record = record.noted(note)
    return Dataset(arrays, missing_ok=missing_ok, record=record)


def channels_first(x: np.ndarray, layout: Layout, name: str = "x") -> tuple[np.ndarray, str]:
    """Pictures with channels first, and a note; a memory-mapped array stays mapped.

    Arguments:
        x: Pictures with shape (N, H, W), (N, C, H, W) or (N, H, W, C); others stay as they are.
        layout: ``"first"`` or ``"last"``, the axis of the channels, in place of the rule.
        name: Name of the column.

    Raises:
        DataError: If there is no such layout.
    """
    if layout not in ("auto", "first", "last"):
        raise DataError(f"layout: expected 'auto', 'first' or 'last'; got {layout!r}. Use 'auto'.")
    if x.ndim == 3 and x.shape[1] > 4 and layout == "auto":
        return x[:, None], (
            f"{name}: pictures with shape (N, {x.shape[1]}, {x.shape[2]}), one channel"
        )
    if x.ndim != 4 or layout == "first":
        return x, ""
    first, middle, last = x.shape[1:]
    if layout == "last" or (first > 4 and last < min(first, middle)):
        moved = x.transpose(0, 3, 1, 2)
        mapped = isinstance(x, np.memmap)
        return moved if mapped else np.ascontiguousarray(moved), (
            f"{name}: channels last, (N, {first}, {middle}, {last}), taken as (N, {last}, "
            f"{first}, {middle})"
        )
    unusual = layout == "auto" and (first > 4 or last <= 4)
    note = (
        f"{name}: channels first, {first} of {middle} x {last}; --layout last takes the last axis"
    )
    return x, note if unusual else ""
