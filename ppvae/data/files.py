"""Readers of a user's own data, chosen by suffix: arrays, tables, folders of pictures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ppvae.borders import typed
from ppvae.data.annotated import h5ad
from ppvae.data.arrays import h5, npy, npz, zarr
from ppvae.data.columns import SPLIT
from ppvae.data.dataset import Dataset
from ppvae.data.paths import PathLike, existing, name_of
from ppvae.data.pictures import images
from ppvae.data.pillow import PICTURES
from ppvae.data.splits import Splits, split_rows
from ppvae.data.tables import TABLES, table
from ppvae.errors import DataError
from ppvae.expected import at_least
from ppvae.typing import Keywords, Spec

__all__ = [
    "are_pictures",
    "divided",
    "load",
    "refuse_unlike",
    "rows",
    "suiting",
    "table_columns",
]

# Least number of values per row for which rows that are equal are the same datum.
LONG = 16

ARRAYS: dict[str, Callable[..., Dataset]] = {
    ".npz": npz,
    ".npy": npy,
    ".h5ad": h5ad,
    ".h5": h5,
    ".hdf5": h5,
    ".zarr": zarr,
}


@typed(seed=at_least(0))
def load(
    path: PathLike,
    *,
    seed: int | None = 0,
    like: Spec | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    **options: Any,
) -> Splits:
    """Read a file or a folder as splits; the reader is chosen by the suffix.

    A folder is read by :func:`images`, ``.npz`` by :func:`npz`, ``.npy`` by :func:`npy`,
    ``.zarr`` by :func:`zarr`,
    ``.h5ad`` by :func:`h5ad`, ``.h5`` by :func:`h5`, tables (``.csv``, ``.tsv``,
    ``.parquet`` and others) by :func:`table`. A column ``split`` (0 or train, 1 or validation, 2
    or test), or folders with
    these names, divide the rows; without them they are divided 80 / 10 / 10 at random.

    Arguments:
        path: Path of a file or a folder.
        seed: Random seed of the division; with None all rows are training data.
        like: Spec of the columns of a fitted run (``run.config["data"]["columns"]``): features
            are matched by name, and classes and identifiers get their numbers in the run.
        columns: Column of a table, or of pictures' table of labels, or several, for each dataset
            column; also as keyword arguments.
        options: Further arguments of the reader.

    Raises:
        DataError: If there is no reader, or the data cannot be used.
    """
    path = existing(path)
    return divided(rows(path, like=like, columns=columns, **options), name_of(path), seed)


def rows(
    path: PathLike,
    *,
    like: Spec | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    **options: Any,
) -> Dataset:
    """Read all rows of a file or a folder, undivided; the arguments are those of :func:`load`.

    Raises:
        DataError: If there is no reader, or the data cannot be used.
    """
    path = existing(path)
    reader = _reader(path)
    try:
        return reader(path, like=like, **options, **(columns or {}))
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise DataError(
            f"{name_of(path)}: expected options of ppvae.data.{reader.__name__}; got "
            f"{sorted({*options, *(columns or ())})}. Leave out those that are not for this kind "
            "of file."
        ) from error


def table_columns(
    path: PathLike, names: Sequence[str], *, labels: PathLike | None = None
) -> dict[str, dict[str, str]]:
    """Options by which the reader of a table, or of an AnnData's obs, takes these columns.

    So does that of pictures with a table of labels. None for other files, whose columns all go by
    their own names.
    """
    is_table = labels is not None or str(path).lower().endswith((*TABLES, ".h5ad"))
    return {"columns": {name: name for name in names}} if names and is_table else {}


def are_pictures(path: PathLike) -> bool:
    """Whether a file or a folder is read as pictures."""
    return _reader(existing(path)) is images


def suiting(path: PathLike, options: Keywords, *, labels: str | Path | None = None) -> Keywords:
    """The options that the reader of this file or folder has, except paths of further files.

    Arguments:
        path: The file or folder.
        options: Options of a fitted run.
        labels: Table of labels for these pictures; that of the run is of its own.

    Raises:
        DataError: If there is no reader, or a table of labels for what is no picture.
    """
    reader = _reader(existing(path))
    if labels is not None and reader is not images:
        raise DataError(
            f"labels: expected pictures with a table of labels; got {name_of(path)}. Leave it "
            "out, on the command line --label-table; other files have the class in a column y."
        )
    names = set(inspect.signature(reader).parameters) - {"labels", "columns"}
    if reader in (table, h5ad) or labels is not None:
        names.add("columns")
    suited = {name: value for name, value in options.items() if name in names}
    return suited if labels is None else {**suited, "labels": labels}


def refuse_unlike(source: str, data: Dataset, spec: Spec) -> None:
    """Refuse columns that do not suit a fitted run: rows of another shape, further classes.

    Arguments:
        source: Name of the data's source, for messages.
        data: New data.
        spec: Spec of the columns of the run.

    Raises:
        DataError: If a column differs from the run's in shape, or has further classes.
    """
    for name in [name for name in data if name in spec]:
        shape, fitted = list(data[name].shape[1:]), list(spec[name].get("shape") or [])
        if shape != fitted:
            remedy = "Give it the same shape"
            if len(fitted) == 3 and name == "x":
                size = f"--size {fitted[1]} {fitted[2]}"
                remedy += f"; files of pictures are resized if the run is fitted with {size}"
            raise DataError(
                f"{source}: expected {name} with shape {fitted} per datum, as the run was fitted "
                f"with; got {shape}. {remedy}."
            )
        classes = spec[name].get("classes")
        if classes is not None and int(torch.as_tensor(data[name]).max()) >= classes:
            raise DataError(
                f"{source}: expected numbers of {name} below {classes}, as the run was fitted "
                f"with; got {int(torch.as_tensor(data[name]).max())}. Leave out these rows, or "
                "fit a run with them."
            )


def _reader(path: Path) -> Callable[..., Dataset]:
    suffix = path.suffix.lower()
    if (path.is_dir() and suffix != ".zarr") or path.name.lower().endswith(PICTURES):
        return images
    if suffix in ARRAYS:
        return ARRAYS[suffix]
    if path.name.lower().endswith(TABLES):
        return table
    raise DataError(
        f"{name_of(path)}: expected a folder or a file of pictures, or one of "
        f"{sorted([*ARRAYS, *TABLES])}; got {path.suffix or 'no suffix'!r}. "
        "Save the arrays with numpy.savez."
    )


def divided(data: Dataset, source: str, seed: int | None) -> Splits:
    """Rows divided by their column ``split``, or at random; all for training if seed is None."""
    if SPLIT not in data:
        if seed is None:
            return Splits(data)
        note = f"rows: divided 80 / 10 / 10 % at random with seed {seed}"
        if round(data.num_rows / 10) == 0:
            note = f"rows: all {data.num_rows} are training data, as they are too few to divide"
        return _compared(split_rows(data.noted(note), seed=seed))
    codes = torch.as_tensor(data[SPLIT]).long()
    strange = sorted(set(codes.unique().tolist()) - {0, 1, 2})
    if strange or not (codes == 0).any():
        raise DataError(
            f"{source}: expected a column 'split' of 0 (train), 1 (validation), 2 (test) with "
            f"some 0; got values {codes.unique().tolist()}. Correct or remove the column."
        )
    rest = data.select(*[name for name in data if name != SPLIT])
    parts = [rest.take(codes == part) if (codes == part).any() else None for part in range(3)]
    assert parts[0] is not None
    return _compared(Splits(parts[0], parts[1], parts[2]))


def _compared(splits: Splits) -> Splits:
    """The splits, with a note if pictures or long rows of x are in training and beyond it."""
    parts = [part for part in splits if part is not None]
    columns = [part.get("x") for part in parts]
    resident = [c for c in columns if isinstance(c, torch.Tensor) and c[0].numel() >= LONG]
    if len(resident) < max(2, len(parts)):
        return splits
    # Hashes, of which a row takes a few bytes however long it is.
    train, *others = [[hash(row.tobytes()) for row in column.numpy()] for column in resident]
    known = set(train)
    repeated = sum(row in known for rows in others for row in rows)
    total = sum(map(len, others))
    note = f"x: {repeated} of {total} rows of validation and test are rows of training, too"
    return splits._replace(train=splits.train.noted(note)) if repeated else splits
