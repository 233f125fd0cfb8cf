"""Labels of rows and of classes that pandas would lose: index labels, zeros at the front."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ppvae import data
from ppvae.data import Dataset, Splits, as_splits
from ppvae.errors import DataError

X = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [0.5, 1, 2, 8]}, index=list("pqrs"))


def y(index):
    return pd.Series([0, 1, 0, 1], index=index)


@pytest.mark.parametrize(
    ("x", "index", "message"),
    [
        (X, list("sqrp"), r"got 'p' and 's' in row 0, the same labels in another order\. Put"),
        (X, list("pqst"), r"got 'r' and 's' in row 2\. Put them .*y\.loc\[x\.index\]"),
        (X.reset_index(drop=True), [1, 0, 2, 3], "got 0 and 1 in row 0, the same labels"),
        (X.set_axis([3, 5, 6, 9]), [3, 5, 6, 8], "got 9 and 8 in row 3"),
        (X.set_axis(pd.MultiIndex.from_product([list("uv"), [1, 2]])), list("pqrs"), "in row 0"),
    ],
)
def test_columns_of_pandas_with_other_rows_are_refused(x, index, message):
    for make in (Dataset, as_splits, lambda columns: Splits(Dataset(columns))):
        with pytest.raises(DataError, match=message):
            make({"x": x, "y": y(index)})
    # Arrays have no labels.
    assert Dataset({"x": x, "y": y(index).to_numpy()})["y"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("x", "index"),
    [
        (X, list("pqrs")),
        (X, range(4)),
        (X.reset_index(drop=True), list("pqrs")),
        (X.set_axis(list("ppqq")), list("ppqq")),
        (X.set_axis([3, 5, 6, 9]), range(4)),
    ],
)
def test_columns_of_pandas_with_the_same_rows_are_paired(x, index):
    made = Dataset({"x": x, "y": y(index), "c": np.arange(4.0)})
    assert made["x"][:, 0].tolist() == [1, 2, 3, 4]
    assert made["y"].tolist() == [0, 1, 0, 1]


def table(tmp_path, text, **options):
    (tmp_path / "t.csv").write_text(text)
    return data.table(tmp_path / "t.csv", **options)


@pytest.mark.parametrize("name", ["y", "object", "site"])
@pytest.mark.parametrize(("gap", "codes"), [("10", [0, 1, 2, 0]), ("", None)])
def test_labels_that_begin_with_a_zero_keep_it(tmp_path, name, gap, codes):
    given = {"y": "site"} if name == "site" else {}
    column = "object" if name == "object" else "y"
    if name == "object" and codes is None:
        gap, codes = "2", [0, 1, 2, 0]  # An object is never missing.
    made = table(tmp_path, f"a,{name}\n1.5,01\n2,1\n3,{gap}\n4,01\n", **given)
    assert made[column].tolist() == (codes or [0, 1, -1, 0])
    assert made.names[column][:2] == ("01", "1")
    assert f"{name}: read as text, as some begin with 0" in made.record.notes


@pytest.mark.parametrize(
    ("name", "encoding"), [("t.csv", "utf-16"), ("t.csv.gz", "utf-8"), ("t.txt", "utf-8")]
)
def test_zeros_are_seen_in_any_file(tmp_path, name, encoding):
    text = "a\ty\n1.5\t1\n2\t007\n"
    path = tmp_path / name
    path.write_bytes(
        gzip.compress(text.encode()) if name.endswith("gz") else text.encode(encoding)
    )
    assert data.table(path).names["y"] == ("007", "1")


@pytest.mark.parametrize("piece", range(1, 12))
def test_zeros_are_seen_between_two_pieces(tmp_path, monkeypatch, piece):
    monkeypatch.setattr("ppvae.data.identifiers.PIECE", piece)
    assert table(tmp_path, "a,y\n1.5,1\n2,007\n").names["y"] == ("007", "1")


@pytest.mark.parametrize("values", [("0", "1", "2"), ("0", "1", "0.5e1"), ("0", "-0", "1")])
def test_other_whole_numbers_stay_numbers(tmp_path, values):
    made = table(tmp_path, "a,y\n" + "".join(f"1.{i},{v}\n" for i, v in enumerate(values)))
    assert not any("begin with 0" in note for note in made.record.notes)
    # A feature is a number, whatever it begins with.
    assert table(tmp_path, "a,b\n01,1\n02,3\n")["x"].tolist() == [[1, 1], [2, 3]]


def test_labels_of_pictures_keep_their_zeros(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "labels.csv").write_text("file,class,c\n0.png,01,05\n1.png,1,5\n2.png,01,7\n")
    made = data.images(tmp_path, labels=tmp_path / "labels.csv")
    assert made["y"].tolist() == [0, 1, 0]
    assert made["c"].tolist() == [5, 5, 7]
    assert made.names["y"] == ("01", "1")
