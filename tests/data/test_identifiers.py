"""Classes and identifiers that are written as numbers stay apart, whatever file they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ppvae import data
from ppvae.errors import DataError

ZEROS = ["007", "7", "010", "10"]
# A column's name, its texts, and its names by number, its numbers or the words of the refusal.
OWN = {
    "zeros": ("id", ZEROS, ("007", "010", "10", "7")),
    "powers": ("well", ["1E1", "10", "2E5", "3"], ("10", "1E1", "2E5", "3")),
    "versions": ("plate_id", ["1.1", "1.10", "2.0", "2"], ("1.1", "1.10", "2", "2.0")),
    "zeros, all distinct": ("subjectID", ["01", "2", "3", "10"], ("01", "10", "2", "3")),
    "numbers": ("id", ["7", "1", "3", "10"], [7, 1, 3, 10]),
    "numbers with decimals": ("id", ["7", "7.0", "3", "10"], [7, 7, 3, 10]),
    "zeros of a quantity": ("month", ["01", "02", "10", "11"], [1, 2, 10, 11]),
    "zeros, or a quantity": ("month", ["01", "1", "10", "11"], "got '01' and '1'.*month_id"),
    "decimals of a quantity": ("age", ["1.5", "1.50", "2", "3"], [1.5, 1.5, 2, 3]),
    "long": ("id", [f"900719925474099{i}" for i in range(4)], 4),
    "long quantities": ("count", ["9007199254740993", "9007199254740992"] * 2, "one number"),
}


def _frame(name, texts):
    return pd.DataFrame({"a": [0.5, 1.5, 0.7, 0.9], name: texts})


def _read(how, path, frame, name, **options):
    if how == "npz":
        columns = {"x": frame[["a"]].to_numpy(), name: frame[name].to_numpy(dtype="U20")}
        np.savez(path / "t.npz", **columns)
        return data.npz(path / "t.npz", **options)
    if how == "xlsx":
        pytest.importorskip("openpyxl")
        frame.to_excel(path / "t.xlsx", index=False)
    else:
        frame.to_csv(path / "t.csv", index=False)
    given = {} if name == "y" else {name: name}
    return data.table(path / f"t.{how}", x=["a"], **given, **options)


@pytest.mark.parametrize("how", ["npz", "csv", "xlsx"])
@pytest.mark.parametrize("kind", OWN)
def test_identifiers_of_ones_own_are_told_apart(tmp_path, kind, how):
    name, texts, expected = OWN[kind]
    frame = _frame(name, texts)
    if kind == "long quantities" and how != "npz":
        assert len(set(_read(how, tmp_path, frame, name)[name].tolist())) == 2  # in 64 bits
        return
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            _read(how, tmp_path, frame, name)
        return
    read = _read(how, tmp_path, frame, name)
    if isinstance(expected, int):
        assert len(set(read[name].tolist())) == expected
    elif isinstance(expected, list):
        assert read[name].tolist() == expected
        led = texts[0].startswith("0")
        assert any("read as numbers, 01 as 1" in note for note in read.notes) == led
    else:
        assert read.names[name] == expected
        assert [expected[int(code)] for code in read[name]] == texts
        assert sum(f"{name}: read as text, as" in note for note in read.notes) == 1


def test_text_cells_of_a_workbook_are_classes(tmp_path):
    read = _read("xlsx", tmp_path, _frame("y", ["01", "1", "02", None]), "y")
    assert read["y"].tolist() == [0, 2, 1, -1]
    assert read.names["y"] == ("01", "02", "1")
    assert "y: read as text, as some begin with 0" in read.notes
    mixed = _read("xlsx", tmp_path, _frame("y", ["01", 1, 2, 1]), "y")
    assert mixed["y"].tolist() == [0, 1, 2, 1]
    plain = _read("xlsx", tmp_path, _frame("y", ["0", "1", "2", "1"]), "y")
    assert plain["y"].tolist() == [0, 1, 2, 1]
    # A feature is a number, in whatever cell.
    assert _read("xlsx", tmp_path, _frame("a", ["01", "1", "02", 2]), "y")["x"].shape == (4, 1)


@pytest.mark.parametrize("how", ["npz", "csv", "xlsx"])
def test_new_data_have_the_names_of_the_run(tmp_path, how):
    like = _read(how, tmp_path, _frame("id", ZEROS), "id").spec
    new = _read(how, tmp_path, _frame("id", ["7", "10", "-1", "10"]), "id", like=like)
    assert new["id"].tolist() == [3, 2, -1, 2]
    new = _read(how, tmp_path, _frame("id", ["7", "007", "10", "010"]), "id", like=like)
    assert new["id"].tolist() == [3, 0, 2, 1]
    with pytest.raises(DataError, match="expected the names 007, 010, 10, 7"):
        _read(how, tmp_path, _frame("id", ["7", "10", "8", "10"]), "id", like=like)
    numbers = {"id": {"shape": [], "classes": None}}
    new = _read(how, tmp_path, _frame("id", ["7", "007", "10", "010"]), "id", like=numbers)
    assert new["id"].tolist() == [7, 7, 10, 10]
    with pytest.raises(DataError, match="expected numbers, with one unit or none; got 'u'"):
        _read(how, tmp_path, _frame("id", ["7", "u", "10", "010"]), "id", like=numbers)


def test_numbers_are_matched_with_the_names_of_the_run(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((3, 1)), id=np.array(["u", "20", "7"]))
    like = data.npz(tmp_path / "a.npz").spec
    np.savez(tmp_path / "b.npz", x=np.ones((3, 1)), id=np.array([7, 20, -1]))
    assert data.npz(tmp_path / "b.npz", like=like)["id"].tolist() == [1, 0, -1]
    # Names of the parts of one column are no names of its numbers.
    frame = pd.DataFrame({"a": [1.5, 2], "u": [0.5, 1], "v": [2, 3]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    first = data.table(tmp_path / "t.csv", pos=["u", "v"])
    again = data.table(tmp_path / "t.csv", like=first.spec)
    assert again["pos"].tolist() == first["pos"].tolist() == [[0.5, 2], [1, 3]]


def test_columns_of_a_run_are_read_from_large_files(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {"a": [1.5, 2, 3], "age": [3.5, 4, 5], "dose": [1.0, 2, 3], "t": [5, 6, 7]}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    fitted = data.table(tmp_path / "t.parquet", x=["a"], age="age", c=["dose", "t"])
    monkeypatch.setattr("ppvae.data.parquet.LARGE", 0)
    new = data.table(tmp_path / "t.parquet", like=fitted.spec)
    assert new["age"].tolist() == [3.5, 4, 5]
    assert new["c"].tolist() == [[1, 5], [2, 6], [3, 7]]
