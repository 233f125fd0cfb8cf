"""Workbooks and blank rows: what spreadsheet programs leave in tables beside values."""

from __future__ import annotations

import re
import zipfile

import numpy as np
import pandas as pd
import pytest

from ppvae import data
from ppvae.errors import DataError

openpyxl = pytest.importorskip("openpyxl")
FRAME = pd.DataFrame(
    {
        "patient": np.repeat(["p2", "p1", "p3"], 3),
        "visit": np.tile([0, 1, 2], 3),
        "a": np.arange(9) / 2,
        "b": np.arange(9)[::-1] * 1.5,
    }
)


def _saved(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_merged_cells_are_the_same_in_each_row(tmp_path):
    path = tmp_path / "t.xlsx"
    FRAME.set_index(["patient", "visit"]).to_excel(path)  # pandas merges the levels of an index.
    read = data.table(path, object="patient", view="visit")
    assert read["object"].tolist() == [1, 1, 1, 0, 0, 0, 2, 2, 2]
    assert read.names["object"] == ("p1", "p2", "p3")
    assert read["view"].tolist() == FRAME["visit"].tolist()
    assert any("merged cells A2:A4, A5:A7, A8:A10 taken as the same" in n for n in read.notes)
    # Identifiers such as 01 stay text, and cells that are not merged stay blank.
    FRAME.assign(patient=np.repeat(["02", "01", "1"], 3)).set_index(["patient", "visit"]).to_excel(
        path
    )
    assert data.table(path, y="patient").names["y"] == ("01", "02", "1")
    FRAME.assign(patient=["p2", None, *FRAME.patient[2:]]).to_excel(path, index=False)
    assert data.table(path, y="patient")["y"].tolist()[:3] == [1, -1, 1]


def test_formulas_that_were_never_computed_are_refused(tmp_path):
    rows = [["a", "b", "sum"], *([i, i / 2, f"=A{i}+B{i}"] for i in range(2, 9))]
    with pytest.raises(
        DataError, match=r"values of formulas; got formulas alone, such as that in"
    ):
        data.table(_saved(tmp_path / "t.xlsx", rows), missing_ok=["x"])


@pytest.mark.parametrize("value", ['t="e"><f>A2/B2</f><v>#DIV/0!', 't="str"><f>A2/B2</f><v>'])
def test_formulas_whose_values_are_errors_or_empty_are_missing(tmp_path, value):
    rows = [["a", "b", "ratio"], [1, 0, "=A2/B2"], [1, 0.5, 2], [3, 2, 1.5]]
    with (
        zipfile.ZipFile(_saved(tmp_path / "written.xlsx", rows)) as book,
        zipfile.ZipFile(tmp_path / "t.xlsx", "w") as computed,
    ):
        for name in book.namelist():
            cell = re.sub(
                r"><f>A2/B2</f><v ?/?>(</v>)?", f" {value}</v>", book.read(name).decode()
            )
            computed.writestr(name, cell)
    read = data.table(tmp_path / "t.xlsx", missing_ok=["x"])
    assert read["x"].isnan().tolist() == [[False, False, True], *[[False] * 3] * 2]


def test_a_workbook_of_cells_alone_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "t.xlsx"
    _saved(path, [["a", "b"], [1, 2], [None, 4], [5, 6]])
    loaded = []
    load = openpyxl.load_workbook
    monkeypatch.setattr(
        openpyxl, "load_workbook", lambda *a, **k: loaded.append(a) or load(*a, **k)
    )
    assert data.table(path, missing_ok=["x"])["x"].isnan().sum() == 1
    assert len(loaded) == 1


@pytest.mark.parametrize(
    ("first", "match"),
    [
        ([5.1, 3.5, 1.4, "setosa"], "got a row like those below it"),
        ([5.1, 1.4, 3.5, 0.2], "got numbers"),
    ],
)
def test_a_row_of_values_is_none_of_names(tmp_path, first, match):
    rows = [first, *([5 + i / 10, 3.6 - i / 10, 1.3 + i / 10, first[3]] for i in range(6))]
    with pytest.raises(DataError, match=match):
        data.table(_saved(tmp_path / "t.xlsx", rows))
    named = data.table(
        _saved(tmp_path / "t.xlsx", [[2019, 2020, 2022], *([i] * 3 for i in range(4))])
    )
    assert named.names["x"] == ("2019", "2020", "2022")
    assert any("the first line, 2019 to 2022, taken as names" in n for n in named.notes)


def test_a_first_sheet_without_rows_names_the_others(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["about this file"])
    book.active.title = "notes"
    book.create_sheet("cells").append(["a"])
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match="a table in the first sheet, notes; got none.*cells"):
        data.table(tmp_path / "t.xlsx")


def test_blank_rows_at_the_end_of_a_text_table_are_left_out(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3,\n,\n4,5\n,\n , \n")
    read = data.table(path, missing_ok=["x"])
    assert read["x"].shape == (4, 2)  # A blank row between others stays.
    assert "left out: 2 blank rows at the end" in read.notes
    # A row that is named as missing has a place in the table.
    path.write_text("a,b\n1,2\n3,4\nNA,NA\n")
    assert data.table(path, missing_ok=["x"])["x"].shape == (3, 2)
