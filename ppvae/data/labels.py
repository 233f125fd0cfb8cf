"""Tables of labels for the files of a folder."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

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
    path: Path, folder: Path, files: Sequence[Path], record: Record, like: Spec | None
) -> tuple[dict[str, np.ndarray], Record]:
    """Columns for these files from a table, and the record with notes on them.

    The first column is a path in the folder, or a base name where that is unique. A table of two
    columns has the class in the second, others in one called y, class, label, target or the like;
    further columns go by their names.

    Arguments:
        path: The table.
        folder: Folder of the pictures.
        files: Paths in the folder.
        record: Names and notes so far.
        like: Spec of the columns of a fitted run.

    Raises:
        DataError: If a file has no row, a row in another folder alone, or two rows with different
            labels; or if it is not certain which column has the classes.
    """
    frame, notes = read_table(path, labels=None)
    if frame.shape[1] < 2:
        raise DataError(
            f"{path.name}: expected the columns file and class; got {list(frame.columns)}. "
            "Give the table a header and two columns."
        )
    wanted, noted = _wanted(path, frame)
    order, matched = _matched(path, frame, [*wanted.values()], folder, files)
    notes += [*noted, *matched]
    columns: dict[str, np.ndarray] = {}
    for name, source in wanted.items():
        columns[name], record = column_of(path.name, name, frame[source].iloc[order], record, like)
    return columns, record.noted(*notes)


def _wanted(path: Path, frame: pd.DataFrame) -> tuple[dict[str, str], list[str]]:
    """The table's column for each dataset column, and notes.

    Raises:
        DataError: If several columns may have the classes.
    """
    rest = [str(c) for c in frame.columns[1:]]
    found = {name: found_as(name, rest) for name in COLUMNS if name not in ("x", "mask")}
    wanted = {name: column for name, column in found.items() if column is not None}
    others = [c for c in rest if c not in wanted.values()]
    if "y" not in wanted:
        called = [c for c in others if CLASSLIKE.fullmatch(c)]
        classes = called or ([] if wanted else others)
        if len(classes) > 1 and not (called and _same(frame[classes])):
            raise DataError(
                f"{path.name}: expected one column of classes; got {classes[:6]}, and none called "
                "y. Call the one that is meant y. Where each class has a column of its own, write "
                "their names into one that is called y."
            )
        if classes:
            wanted["y"] = classes[0]
    notes = [f"{name}: from the column {c!r}" for name, c in wanted.items() if c != name]
    left = [c for c in others if c != wanted.get("y")]
    if left:
        hint = "" if "y" in wanted else "; one that is called y is read as classes"
        notes.append(f"{path.name}: columns {', '.join(left)} left out{hint}")
    return wanted, notes


def _same(frame: pd.DataFrame) -> bool:
    """Whether all columns divide the rows in the same way, such as classes and their numbers."""
    pairs = len(frame.drop_duplicates())
    return all(pairs == frame[name].nunique(dropna=False) for name in frame)


class _Match(NamedTuple):
    """A row of the table for a file.

    Attributes:
        rank: 0 for the same path in the folder, 1 for a part of the whole path, 2 where a folder
            of another name stands in the place of the pictures' folder.
        row: Number of the row.
        lead: Folders of the written path in front of the path in the folder.
    """

    rank: int
    row: int
    lead: tuple[str, ...] = ()


def _matched(
    path: Path, frame: pd.DataFrame, wanted: list[str], folder: Path, files: Sequence[Path]
) -> tuple[list[int], list[str]]:
    """The row of the table for each file, and notes.

    Raises:
        DataError: If a file has no row, one of another folder alone, or several that differ.
    """
    written = [_parts(composed(str(text)).strip()) for text in frame.iloc[:, 0]]
    named = [_parts(composed(file.as_posix())) for file in files]
    matches, shared, strange = _matches(written, set(named), Path(os.path.abspath(folder)).name)
    order: list[int] = []
    absent = []
    leads: dict[tuple[str, ...], str] = {}
    foreign: set[tuple[str, ...]] = set()
    for file, name in zip(files, named, strict=True):
        found = matches.get(name, [])
        least = min((match.rank for match in found), default=0)
        best = [match for match in found if match.rank == least]
        rows = [match.row for match in best]
        if not rows:
            absent.append((file, name))
            continue
        if len(rows) > 1 and len(frame.iloc[rows][wanted].astype(str).drop_duplicates()) > 1:
            raise DataError(
                f"{path.name}: expected one label for {file.as_posix()}; got rows {rows} with "
                "different ones. Remove all but one, or write paths in the folder."
            )
        order.append(rows[0])
        leads |= {match.lead: file.as_posix() for match in best}
        foreign |= {match.lead for match in best if match.rank == 2}
    if absent:
        raise _absent(path, frame, absent, shared, strange)
    if foreign and len(leads) > 1:
        other = min(foreign)
        raise DataError(
            f"{path.name}: expected paths in the folder {folder.name}; got one in "
            f"{'/'.join(other)} for {leads[other]}, and others elsewhere. Write the paths as they "
            "are in the folder, or names of files alone."
        )
    notes = [
        f"{path.name}: paths in {'/'.join(lead)} taken as those in {folder.name}"
        for lead in foreign
    ]
    used = {match.row for found in matches.values() for match in found}
    used |= {row for rows in shared.values() for row in rows}
    idle = [str(text).strip() for i, text in enumerate(frame.iloc[:, 0]) if i not in used]
    if idle:
        notes.append(f"{path.name}: {len(idle)} rows without a picture, such as {idle[0]}")
    return order, notes


def _parts(text: str) -> tuple[str, ...]:
    """The folders and the name of a file as written, without what stands for a root."""
    parts = PurePosixPath(text.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", ".", ".."))


def _matches(
    written: Sequence[tuple[str, ...]], files: set[tuple[str, ...]], folder: str
) -> tuple[
    dict[tuple[str, ...], list[_Match]],
    dict[tuple[str, ...], list[int]],
    dict[str, int],
]:
    """The rows that may stand for each file, whose folders do not contradict the file's.

    Returns:
        The rows for each file; the rows that stand for several files, by what is written; and
        by the name of a file a row for one of that name in another folder.
    """
    ends: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for file in files:
        for start in range(1, len(file)):
            ends[file[start:]].append(file)
    matches: dict[tuple[str, ...], list[_Match]] = defaultdict(list)
    shared: dict[tuple[str, ...], list[int]] = defaultdict(list)
    strange: dict[str, int] = {}
    names = {file[-1] for file in files}
    for row, text in enumerate(written):
        below = ends.get(text, [])
        if text in files:
            matches[text].append(_Match(0, row))
            continue
        if below:
            if len(below) == 1:
                matches[below[0]].append(_Match(1, row))
            else:
                shared[text].append(row)
            continue
        tails = [start for start in range(1, len(text)) if text[start:] in files]
        if tails:
            start = tails[0]
            rank = 1 if text[start - 1] == folder else 2
            matches[text[start:]].append(_Match(rank, row, text[:start]))
        elif text and text[-1] in names:
            strange.setdefault(text[-1], row)
    return matches, shared, strange


def _absent(
    path: Path,
    frame: pd.DataFrame,
    absent: Sequence[tuple[Path, tuple[str, ...]]],
    shared: dict[tuple[str, ...], list[int]],
    strange: dict[str, int],
) -> DataError:
    """The error on files that have no row."""
    file, name = absent[0]
    shown = file.as_posix()
    if any(name[start:] in shared for start in range(len(name))):
        remedy = "Its base name stands for several files: write paths in the folder"
    elif name[-1] in strange:
        other = str(frame.iloc[strange[name[-1]], 0]).strip()
        remedy = f"The row for {other} is of another folder: add the row, or remove the file"
    else:
        shown = file.name
        remedy = "Add the rows, or remove the files; the first line is the table's header"
    return DataError(
        f"{path.name}: expected a row for every picture; {len(absent)} have none, such as "
        f"{shown}. {remedy}."
    )
