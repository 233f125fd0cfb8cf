"""Readers of a user's own data, chosen by suffix: arrays, tables, folders of pictures."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ppvae.borders import typed
from ppvae.data.annotated import h5ad
from ppvae.data.arrays import h5, npy, npz, zarr
from ppvae.data.columns import MEASURED, SPLIT, kind_of
from ppvae.data.dataset import Dataset
from ppvae.data.describe import statistics
from ppvae.data.mapped import Column
from ppvae.data.paths import PathLike, existing
from ppvae.data.pictures import images
from ppvae.data.pillow import PICTURES
from ppvae.data.splits import Splits, split_rows
from ppvae.data.tables import TABLES, table
from ppvae.errors import DataError
from ppvae.expected import at_least
from ppvae.typing import Keywords, Spec

__all__ = [
    "compare_values",
    "compared_scale",
    "divided",
    "load",
    "ranges_of",
    "refuse_mixed_bytes",
    "refuse_unlike",
    "rows",
    "suiting",
    "table_columns",
    "warn_far",
]

logger = logging.getLogger(__name__)

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
        columns: Column of a table, or several, for each dataset column; also as keyword arguments.
        options: Further arguments of the reader.

    Raises:
        DataError: If there is no reader, or the data cannot be used.
    """
    path = existing(path)
    return divided(rows(path, like=like, columns=columns, **options), path.name, seed)


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
            f"{path.name}: expected options of ppvae.data.{reader.__name__}; got "
            f"{sorted({*options, *(columns or ())})}. Leave out those that are not for this kind "
            "of file."
        ) from error


def table_columns(path: PathLike, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Options by which a table's reader takes these columns as they are called; else none."""
    is_table = bool(names) and str(path).lower().endswith(TABLES)
    return {"columns": {name: name for name in names}} if is_table else {}


def suiting(path: PathLike, options: Keywords) -> Keywords:
    """The options that the reader of this file or folder has, except paths of further files."""
    reader = _reader(existing(path))
    names = set(inspect.signature(reader).parameters) - {"labels", "columns"}
    if reader in (table, h5ad):
        names.add("columns")
    return {name: value for name, value in options.items() if name in names}


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


def ranges_of(data: Splits) -> dict[str, tuple[float, float]]:
    """Smallest and largest number of ``x``, ``source``, ``c``, ``view``, as a model gets them."""
    found = {name: statistics(data, name) for name in MEASURED if name in data.train}
    return {
        name: (facts.least, facts.most)
        for name, facts in found.items()
        if math.isfinite(facts.least) and math.isfinite(facts.most)
    }


def compared_scale(
    source: str, data: Dataset, spec: Spec, ranges: Mapping[str, Sequence[float]]
) -> list[str]:
    """Notes on values much larger or smaller than those that a run was fitted to.

    Arguments:
        source: Name of the data's source, for messages.
        data: New data.
        spec: Spec of the columns of the run.
        ranges: Smallest and largest number of the run's columns (:func:`ranges_of`).

    Raises:
        DataError: If one of them, the run or the data, has bytes that are scaled to [0, 1] and
            the other has not; or if the data are whole numbers, such as counts, and the run was
            fitted with smaller fractions, such as their logarithms.
    """
    notes = []
    for name in [name for name in data if name in spec and name in ("x", "source")]:
        names, others = spec[name].get("names"), data.names.get(name)
        if (names is None) != (others is None):
            whose = "the data" if others is None else "the run"
            notes.append(f"{name}: {whose} without names of features; matched by their order")
        were_bytes = spec[name].get("dtype") == "uint8"
        are_bytes = str(data[name].dtype).endswith("uint8")
        known = [0.0, 1.0] if were_bytes else list(ranges.get(name, ()))
        facts = statistics(data, name)
        if not known or facts.least != facts.least:
            continue
        got = f"{str(data[name].dtype).removeprefix('torch.')} from {facts.least:g} to "
        got += f"{facts.most:g}"
        fitted = f"{known[0]:g} to {known[1]:g}"
        if were_bytes and not are_bytes and not _near_unit(facts.least, facts.most):
            raise DataError(
                f"{source}: expected {name} as uint8, or as numbers in [0, 1], as the run was "
                f"fitted with; got {got}. Divide by 255, or save as uint8."
            )
        if are_bytes and not were_bytes and not _near_unit(*known):
            raise DataError(
                f"{source}: expected {name} with numbers such as {fitted}, as the run was fitted "
                "with; got uint8, which is scaled to [0, 1]. Save it as floating-point numbers."
            )
        size, before = (max(map(abs, ends)) for ends in ((facts.least, facts.most), known))
        counts = facts.whole and not facts.binary and facts.least >= 0
        fractions = any(not float(end).is_integer() for end in known)
        if counts and fractions and size > 3 * before:
            raise DataError(
                f"{source}: expected {name} with numbers such as {fitted}, as the run was fitted "
                f"with; got whole numbers from {facts.least:g} to {facts.most:g}. Transform them "
                "as the run's data were, such as by a logarithm."
            )
        if "library" in spec[name] and not facts.whole:
            notes.append(
                f"{name}: numbers with fractions, where the run was fitted with whole numbers; "
                "check whether they were transformed"
            )
        if size > 10 * before or 10 * size < before:
            notes.append(
                f"{name}: {got}, where the run was fitted with {fitted}; check the unit or scale"
            )
    return [*notes, *_far(data, ranges)]


def _far(data: Mapping[str, Column], ranges: Mapping[str, Sequence[float]]) -> list[str]:
    """Notes on known factors and views that are beyond those of a run by more than their range."""
    notes = []
    for name in [n for n in data if n in ranges and kind_of(n).kind in ("factor", "view")]:
        values, (low, high) = torch.as_tensor(data[name]).double(), ranges[name]
        beyond = torch.maximum(low - values, values - high).nan_to_num(-1)
        if bool((beyond > high - low).any()):
            notes.append(
                f"{name}: values from {float(values.min()):g} to {float(values.max()):g}, where "
                f"the run was fitted with {low:g} to {high:g}; check the unit, as a model knows "
                "little so far from its data"
            )
    return notes


def _near_unit(least: float, most: float) -> bool:
    """Whether numbers lie in [0, 1], up to the little by which decoded means exceed it."""
    return -0.3 < least <= most < 1.3


def refuse_mixed_bytes(
    source: str, data: Dataset, spec: Spec, ranges: Callable[[], Mapping[str, Sequence[float]]]
) -> None:
    """Refuse uint8 for a run fitted to other numbers, and the reverse, unless all are in [0, 1].

    Arguments:
        source: Name of the data's source, for messages.
        data: New data; no value is read where types agree.
        spec: Dtype of each column that there was.
        ranges: Function of no arguments that returns their smallest and largest numbers.

    Raises:
        DataError: If one is scaled to [0, 1], and the other is not.
    """
    mixed = [
        name
        for name in data
        if name in spec
        and kind_of(name).intensity
        and (spec[name].get("dtype") == "uint8") != str(data[name].dtype).endswith("uint8")
    ]
    if mixed:
        compared_scale(source, data.select(*mixed), spec, ranges())


def compare_values(data: Dataset, spec: Spec, ranges: Mapping[str, Sequence[float]]) -> None:
    """Compare new data with those that a run was fitted to, as far as both are in memory.

    The log warns of values more than ten times as large as all of the training data, and of
    factors and views far from theirs (:func:`warn_far`).

    Arguments:
        data: New data.
        spec: Spec of the columns of the run.
        ranges: Smallest and largest number of the run's columns (:func:`ranges_of`).

    Raises:
        DataError: As :func:`refuse_mixed_bytes`.
    """
    refuse_mixed_bytes("data", data, spec, lambda: ranges)
    known = [name for name in ("x", "source") if name in ranges]
    for name in [name for name in known if isinstance(data.get(name), torch.Tensor)]:
        facts, (low, high) = statistics(data, name), ranges[name]
        if max(-facts.least, facts.most) > 10 * max(abs(low), abs(high)):
            logger.warning(
                f"{name}: values from {facts.least:g} to {facts.most:g}, where the run was fitted "
                f"with {low:g} to {high:g}; check the unit or scale"
            )
    warn_far(data, ranges)


def warn_far(data: Mapping[str, Column], ranges: Mapping[str, Sequence[float]]) -> None:
    """Warn of factors and views far from those that a run was fitted to.

    Arguments:
        data: New columns.
        ranges: Smallest and largest number of the run's columns (:func:`ranges_of`).
    """
    for note in _far(data, ranges):
        logger.warning(note)


def _reader(path: Path) -> Callable[..., Dataset]:
    suffix = path.suffix.lower()
    if (path.is_dir() and suffix != ".zarr") or path.name.lower().endswith(PICTURES):
        return images
    if suffix in ARRAYS:
        return ARRAYS[suffix]
    if path.name.lower().endswith(TABLES):
        return table
    raise DataError(
        f"{path.name}: expected a folder or a file of pictures, or one of "
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
    train, *others = [[row.tobytes() for row in column.numpy()] for column in resident]
    known = set(train)
    repeated = sum(row in known for rows in others for row in rows)
    total = sum(map(len, others))
    note = f"x: {repeated} of {total} rows of validation and test are rows of training, too"
    return splits._replace(train=splits.train.noted(note)) if repeated else splits
