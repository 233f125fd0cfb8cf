"""Tables of labels for the files of a folder."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ppvae.data.columns import COLUMNS
from ppvae.data.pillow import PICTURES
from ppvae.data.record import Record, composed, text_of
from ppvae.data.roles import CLASSLIKE, COUNTERS, Roles, counts, is_nameless, roles_of, taken_by
from ppvae.data.tables import column_of, read_table
from ppvae.errors import DataError
from ppvae.typing import Spec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["labels_of"]


def labels_of(
    path: Path,
    folder: Path,
    files: Sequence[Path],
    record: Record,
    like: Spec | None = None,
    given: Mapping[str, str | Sequence[str]] | None = None,
) -> tuple[dict[str, np.ndarray], Record]:
    """Columns for these files from a table, and the record with notes on them.

    The first column is a path in the folder, or a base name where that is unique; or else the one
    column that has such names, or names without a suffix. Of two columns the other one has the
    class, of more one called y, class, label, target or the like; further columns go by their
    names, unless they are given.

    Arguments:
        path: The table.
        folder: Folder of the pictures.
        files: Paths in the folder.
        record: Names and notes so far.
        like: Spec of the columns of a fitted run.
        given: Column of the table, or several, for each dataset column, as the caller named them.

    Raises:
        DataError: If a file has no row, a row in another folder alone, or two rows with different
            labels; if the table lacks a column that is given; or if it is not certain which column
            has the files, or the classes.
    """
    asked: Roles = {
        name: composed(source) if isinstance(source, str) else [composed(c) for c in source]
        for name, source in (given or {}).items()
    }
    own = {name: source for name, source in asked.items() if name not in COLUMNS}
    known = [name for name in like or () if name not in COLUMNS]
    frame, notes = read_table(path, labels=None, own=[*taken_by(own), *known])
    names, found = _names_of_files(path, frame, taken_by(asked), folder, files)
    frame, left = _from_files_on(path, frame, names.column, taken_by(asked))
    notes += [*found, *left]
    if frame.shape[1] < 2:
        raise DataError(
            f"{path.name}: expected the columns file and class; got {list(frame.columns)}. "
            "Give the table a header and two columns."
        )
    wanted, record = _wanted(path, frame, names.column, asked, record, like)
    order, matched = _matched(path, frame, sorted(taken_by(wanted)), folder, files, names)
    columns: dict[str, np.ndarray] = {}
    for name, source in wanted.items():
        parts = []
        for column in [source] if isinstance(source, str) else source:
            part, record = column_of(path.name, name, frame[column].iloc[order], record, like)
            parts.append(part)
        columns[name] = parts[0] if isinstance(source, str) else np.stack(parts, 1)
        record = record if isinstance(source, str) else record.renamed(name, tuple(source))
    unused = {str(column) for column in frame} - taken_by(wanted) - {names.column}
    notes = [note for note in notes if note.partition(": ")[0] not in unused]
    return columns, record.noted(*notes, *matched)


class _Names(NamedTuple):
    """How a table names the files.

    Attributes:
        column: The column.
        bare: Whether its names have no suffix.
    """

    column: str
    bare: bool = False

    def of(self, file: Path) -> tuple[str, ...]:
        """The folders and the name of a file, as far as the table has them."""
        parts = _parts(composed(file.as_posix()))
        if not self.bare:
            return parts
        ends = [end for end in PICTURES if parts[-1].lower().endswith(end)]
        return *parts[:-1], parts[-1][: -len(max(ends, key=len))] if ends else parts[-1]

    def written(self, frame: pd.DataFrame) -> list[tuple[str, ...]]:
        """The folders and names in the table."""
        return [_parts(text_of(value)) for value in frame[self.column]]


def _names_of_files(
    path: Path, frame: pd.DataFrame, asked: set[str], folder: Path, files: Sequence[Path]
) -> tuple[_Names, list[str]]:
    """The column that names the files, and a note unless it is the first one, with suffixes.

    Raises:
        DataError: If there may be two, or names without a suffix stand for several files.
    """
    top = Path(os.path.abspath(folder)).name
    first, *others = [str(column) for column in frame.columns]
    free = [first, *(column for column in others if column not in asked)]

    def known(names: _Names) -> tuple[bool, bool]:
        """Whether some of the texts are files, and whether all files are there."""
        wanted = {names.of(file) for file in files}
        matches, shared, strange = _matches(names.written(frame), wanted, top)
        return bool(matches or shared or strange), wanted <= matches.keys()

    if known(_Names(first))[0]:
        return _Names(first), []
    likely = [_Names(column) for column in free[1:] if known(_Names(column))[0]]
    if not likely:
        bare = {column: known(_Names(column, True)) for column in free}
        likely = [_Names(column, True) for column, (_, every) in bare.items() if every]
        if not likely:  # What is wrong is said where the rows are matched.
            return _Names(first, bare[first][0]), []
        # An index without a name may count as the files do.
        named = [names for names in likely if not is_nameless(names.column)]
        likely = named or likely
    if len(likely) > 1:
        first_two = [names.column for names in likely[:2]]
        raise DataError(
            f"{path.name}: expected one column with the names of the pictures; got {first_two}. "
            "Make the one that is meant the first, with paths in the folder."
        )
    names = likely[0]
    if names.bare:
        owners: dict[tuple[str, ...], Path] = {}
        for file in files:
            other = owners.setdefault(names.of(file), file)
            if other != file:
                raise DataError(
                    f"{path.name}: expected names of pictures with a suffix where it decides; got "
                    f"{'/'.join(names.of(file))!r}, which may be {other.name} or {file.name}. "
                    "Write the names of the files."
                )
    notes = [f"{path.name}: the pictures go by the column {names.column!r}"] * (
        names.column != first
    )
    return names, [*notes, *([f"{path.name}: names without a suffix"] if names.bare else [])]


def _from_files_on(
    path: Path, frame: pd.DataFrame, column: str, asked: set[str]
) -> tuple[pd.DataFrame, list[str]]:
    """The table without an index in front of the column of the files, and notes."""
    notes = []
    for name in list(frame.columns[: list(frame.columns).index(column)]):
        match = COUNTERS.fullmatch(name)
        if name not in asked and match and (is_nameless(name) or counts(frame[name])):
            frame = frame.drop(columns=name)
            notes.append(f"{path.name}: left out: column {name!r}, which numbers the rows")
    return frame, notes


def _wanted(
    path: Path,
    frame: pd.DataFrame,
    of_files: str,
    given: Roles,
    record: Record,
    like: Spec | None,
) -> tuple[Roles, Record]:
    """The table's columns for each dataset column, and the record with notes on them.

    Raises:
        DataError: If columns of pixels are given, if the table lacks a column that is given, or if
            several may have the classes.
    """
    of_pixels = sorted({"x", "mask"} & set(given))
    if of_pixels:
        raise DataError(
            f"{path.name}: expected columns beside the pictures, such as y and c; got "
            f"{of_pixels}, which are of pixels. Leave them out."
        )
    rest = [str(c) for c in frame.columns if c != of_files]
    free = frame[[c for c in frame.columns if c in taken_by(given) or c in rest]]
    wanted, found = roles_of(path.name, free, None, like, given, features_here=False)
    wanted.pop("mask", None)
    lacking = sorted(taken_by(wanted) - {*frame.columns})
    if lacking:
        raise DataError(
            f"{path.name}: expected columns {sorted(taken_by(given))}; missing {lacking[:12]}, "
            f"the table has {list(frame.columns)[:12]}. Name columns that it has."
        )
    others = [c for c in rest if c not in taken_by(wanted)]
    if "y" not in wanted:
        called = [c for c in others if CLASSLIKE.fullmatch(c)]
        classes = called or ([] if wanted.keys() & {*COLUMNS} else others)
        if len(classes) > 1 and not (called and _same(frame[classes])):
            raise DataError(
                f"{path.name}: expected one column of classes; got {classes[:6]}, and none called "
                "y. Name the one that is meant: y=..., on the command line --columns "
                f"y={classes[0]}. Where each class has a column of its own, write their names "
                "into one that is called y."
            )
        if classes:
            wanted["y"] = classes[0]
            found = found.noted(f"y: from the column {classes[0]!r}")
            others = [c for c in others if c != classes[0]]
    if others:
        hint = "" if "y" in wanted else "; one that is called y is read as classes"
        found = found.noted(f"{path.name}: columns {', '.join(others)} left out{hint}")
    return wanted, record.noted(*found.notes)


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
    path: Path,
    frame: pd.DataFrame,
    wanted: list[str],
    folder: Path,
    files: Sequence[Path],
    names: _Names,
) -> tuple[list[int], list[str]]:
    """The row of the table for each file, and notes.

    Raises:
        DataError: If a file has no row, one of another folder alone, or several that differ.
    """
    written, texts = names.written(frame), list(map(text_of, frame[names.column]))
    named = [names.of(file) for file in files]
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
        raise _absent(path, texts, absent, shared, strange)
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
    idle = [text for i, text in enumerate(texts) if i not in used]
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
    texts: Sequence[str],
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
        other = texts[strange[name[-1]]]
        remedy = f"The row for {other} is of another folder: add the row, or remove the file"
    else:
        shown = file.name
        remedy = "Add the rows, or remove the files; the first line is the table's header"
    return DataError(
        f"{path.name}: expected a row for every picture; {len(absent)} have none, such as "
        f"{shown}. {remedy}."
    )
