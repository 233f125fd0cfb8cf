"""Workbooks of Excel: the first sheet as a table, and what of it is not in the cells."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ppvae.data.record import text_of
from ppvae.data.sniff import LINES, check_header, names_of
from ppvae.errors import DataError
from ppvae.expected import expect_package

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_workbook"]

# Marks of a formula and of merged cells in the XML of a sheet, with or without a namespace.
FURTHER = re.compile(rb"[<:](?:f|mergeCell)[ />]")


def read_workbook(
    path: Path, adjust: Callable[[pd.DataFrame, Callable[[list[int]], pd.DataFrame]], list[str]]
) -> tuple[pd.DataFrame, list[str]]:
    """The first sheet as a DataFrame, with notes.

    Arguments:
        path: The workbook.
        adjust: Changes the table, given a function that reads columns at some places as objects,
            and returns notes; merged cells are filled after it.

    Raises:
        DataError: If the sheet has no rows or no line of names, or has formulas without values.
    """
    import pandas as pd

    with pd.ExcelFile(path) as book:
        first, *others = map(str, book.sheet_names)
        read = partial(pd.read_excel, book, sheet_name=first)
        frame = read()
        if not len(frame) and others:
            raise DataError(
                f"{path.name}: expected a table in the first sheet, {first}; got none. Make the "
                f"sheet that is meant the first, of {', '.join(others[:6])}, or save it as .csv."
            )
        top = read(header=None, nrows=LINES, dtype=object)
        rows = [[text_of(None if pd.isna(v) else v) for v in row] for row in top.to_numpy()]
        header = tuple(rows[0]) if rows else ()
        check_header(path, header, rows[1:])
        written = partial(read, dtype=object, keep_default_na=False)
        notes = adjust(frame, lambda places: written(usecols=places))
    taken = names_of(header)
    named = f"{path.name}: {taken}" if taken else ""
    if others:
        named = f"{path.name}: sheet {first} read; left out: sheets {', '.join(others[:6])}"
        named += f"; {taken}" if taken else ""
    lacking = frame.isna().to_numpy().any() and _has_further(path)
    merged = _filled(path, first, frame) if lacking else ""
    return frame, [note for note in (named, *notes, merged) if note]


def _has_further(path: Path) -> bool:
    """Whether a sheet has formulas or merged cells, for which the workbook is read once more."""
    with zipfile.ZipFile(path) as book:
        for name in book.namelist():
            if not name.startswith("xl/worksheets/"):
                continue
            with book.open(name) as file:
                end = b""
                while part := file.read(2**20):
                    if FURTHER.search(end + part):
                        return True
                    end = part[-20:]
    return False


def _filled(path: Path, sheet: str, frame: pd.DataFrame) -> str:
    """Give each row of merged cells their value, which the file has in the first; and a note.

    Raises:
        DataError: If no formula has a value.
    """
    package = expect_package(path.name, "openpyxl", "tables")
    cells = package.load_workbook(path)[sheet]
    blank = frame.isna().to_numpy()
    formulas = {
        cell.coordinate: bool(blank[cell.row - 2, cell.column - 1])
        for row in cells.iter_rows(2, len(frame) + 1, 1, frame.shape[1])
        for cell in row
        if cell.data_type == "f"
    }
    if formulas and all(formulas.values()):
        values = package.load_workbook(path, data_only=True)[sheet]
        # Errors and empty texts are values, of types of their own.
        if all(values[place].data_type == "n" for place in formulas):
            raise DataError(
                f"{path.name}: expected the values of formulas; got formulas alone, such as that "
                f"in {next(iter(formulas))}, as in a file that a program wrote. Open it in a "
                "spreadsheet program and save it again."
            )
    done = []
    for merged in sorted(cells.merged_cells.ranges, key=lambda cell: cell.bounds):
        top, below, column = merged.min_row - 2, merged.max_row - 1, merged.min_col - 1
        if top < 0 or column != merged.max_col - 1 or column >= frame.shape[1]:
            continue
        values = frame.iloc[:, column].to_numpy(copy=True)
        if below - top > 1 and blank[top + 1 : below, column].all() and not blank[top, column]:
            values[top:below] = values[top]
            frame.isetitem(column, values)
            done.append(str(merged.coord))
    more = ", ..." if len(done) > 4 else ""
    shown = ", ".join(done[:4]) + more
    return f"{path.name}: merged cells {shown} taken as the same in each row" if done else ""
