"""Tables of labels for the files of a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from ppvae.data.columns import COLUMNS, found_as
from ppvae.data.record import Record, composed
from ppvae.data.roles import CLASSLIKE
from ppvae.data.tables import column_of, read_table
from ppvae.errors import DataError
from ppvae.typing import Spec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["labels_of"]


def labels_of(
    path: Path, files: Sequence[Path], record: Record, like: Spec | None
) -> tuple[dict[str, np.ndarray], Record]:
    """Columns for these files from a table, and the record with notes on them.

    The first column is a path in the folder, or a base name where that is unique. A table of two
    columns has the class in the second, others in one called y, class, label, target or the like;
    further columns go by their names.

    Raises:
        DataError: If a file has no row, or two rows with different labels.
    """
    frame, notes = read_table(path, labels=None)
    if frame.shape[1] < 2:
        raise DataError(
            f"{path.name}: expected the columns file and class; got {list(frame.columns)}. "
            "Give the table a header and two columns."
        )
    wanted, noted = _wanted(frame)
    notes += noted
    paths = {file.as_posix() for file in files} | {file.name for file in files}
    written = [str(text).strip().replace("\\", "/") for text in frame.iloc[:, 0]]
    idle = [text for text in written if not {text, PurePosixPath(text).name} & paths]
    if idle:
        notes = [*notes, f"{path.name}: {len(idle)} rows without a picture, such as {idle[0]}"]
    left = [str(c) for c in frame.columns[1:] if c not in wanted.values()]
    if left:
        notes = [*notes, f"{path.name}: columns {', '.join(left)} left out"]
    order = _matched(path, frame, [*wanted.values()], files)
    columns: dict[str, np.ndarray] = {}
    for name, source in wanted.items():
        columns[name], record = column_of(path.name, name, frame[source].iloc[order], record, like)
    return columns, record.noted(*notes)


def _wanted(frame: pd.DataFrame) -> tuple[dict[str, str], list[str]]:
    """The table's column for each dataset column, and notes."""
    rest = [str(c) for c in frame.columns[1:]]
    found = {name: found_as(name, rest) for name in COLUMNS if name not in ("x", "mask")}
    wanted = {name: column for name, column in found.items() if column is not None}
    if "y" not in wanted:
        others = [c for c in rest if c not in wanted.values()]
        classes = [c for c in others if CLASSLIKE.fullmatch(c)] or ([] if wanted else others)
        if classes:
            wanted["y"] = classes[0]
    notes = [f"{name}: from the column {c!r}" for name, c in wanted.items() if c != name]
    return wanted, notes


def _matched(
    path: Path, frame: pd.DataFrame, wanted: list[str], files: Sequence[Path]
) -> list[int]:
    """The row of the table for each file."""
    by_path: dict[str, list[int]] = defaultdict(list)
    by_name: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(frame.iloc[:, 0]):
        written = PurePosixPath(composed(str(text)).strip().replace("\\", "/"))
        by_path[written.as_posix()].append(row)
        by_name[written.name].append(row)
    shared = defaultdict(set)
    for file in files:
        shared[file.name].add(file)
    order, absent = [], []
    for file in files:
        rows = by_path.get(composed(file.as_posix())) or []
        if not rows and len(shared[file.name]) == 1:
            rows = by_name.get(composed(file.name)) or []
        if not rows:
            absent.append(file)
            continue
        if len(frame.iloc[rows][wanted].astype(str).drop_duplicates()) > 1:
            raise DataError(
                f"{path.name}: expected one label for {file.as_posix()}; got rows {rows} with "
                "different ones. Remove all but one, or write paths in the folder."
            )
        order.append(rows[0])
    if absent:
        twice = len(shared[absent[0].name]) > 1
        raise DataError(
            f"{path.name}: expected a row for every picture; {len(absent)} have none, such as "
            f"{absent[0].as_posix() if twice else absent[0].name}. "
            + (
                "Its base name stands for several files: write paths in the folder."
                if twice
                else "Add the rows, or remove the files; the first line is the table's header."
            )
        )
    return order
