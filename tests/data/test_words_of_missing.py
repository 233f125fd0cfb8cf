"""Words that are read as missing are said where they stand among names of classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ppvae import data

GRADES = ["None", "Mild", "Severe", "None", "", "Mild"]
SAID = "kind: None (2 rows) read as missing; if it is a name, write it in another way"


def _saved(tmp_path, suffix, kinds):
    frame = pd.DataFrame({"a": np.arange(6.0) / 3, "kind": kinds, "other": ["NA", *"uvwxy"]})
    path = tmp_path / f"t.{suffix}"
    if suffix == "xlsx":
        pytest.importorskip("openpyxl")
        frame.to_excel(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_a_class_that_is_read_as_missing_is_said(tmp_path, suffix):
    read = data.table(_saved(tmp_path, suffix, GRADES), y="kind")
    assert read["y"].tolist() == [-1, 0, 1, -1, -1, 0]
    assert [note for note in read.notes if "read as missing" in note] == [SAID]


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_nothing_is_said_of_blanks_numbers_and_words_that_were_named(tmp_path, suffix):
    for kinds, na in (
        (["", "b", "c", "b", "", "c"], []),
        (["NA", "1", "2", "1", "2", "1"], []),
        (["?", "b", "c", "?", "b", "c"], ["?"]),
    ):
        read = data.table(_saved(tmp_path, suffix, kinds), y="kind", na=na)
        assert int((read["y"] == -1).sum()) == kinds.count("") + kinds.count("NA") + kinds.count(
            "?"
        )
        assert not any("read as missing" in note for note in read.notes)


def test_a_column_without_any_name_is_said_to_have_none(tmp_path):
    read = data.table(_saved(tmp_path, "csv", ["None"] * 6), y="kind")
    assert read["y"].tolist() == [-1] * 6
    assert "y: no names" in read.notes


def test_beside_names_of_digits_they_are_said(tmp_path):
    read = data.table(_saved(tmp_path, "csv", ["01", "None", "02", "None", "01", ""]), y="kind")
    assert read.names["y"] == ("01", "02")
    assert [note for note in read.notes if "read as missing" in note] == [SAID]


def test_names_with_signs_of_thousands_may_be_missing(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;y\n1,000;1,2,20\n2,000;1,3,21\n3,000;None\n5,000;1,2,20\n")
    read = data.table(path, thousands=",")
    assert read["y"].tolist() == [0, 1, -1, 0]
    assert read.names["y"] == ("1,2,20", "1,3,21")
    assert any(note.startswith("y: None (1 row) read as missing") for note in read.notes)


def test_of_a_table_of_labels_only_columns_in_use_are_said(tmp_path):
    for i in range(6):
        Image.fromarray(np.full((4, 4), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    frame = pd.DataFrame({"file": [f"{i}.png" for i in range(6)], "kind": GRADES})
    frame["comment"] = ["NA", *"uvwxy"]
    frame.to_csv(tmp_path / "labels.csv", index=False)
    read = data.images(tmp_path, labels=tmp_path / "labels.csv", y="kind")
    assert [note for note in read.notes if "read as missing" in note] == [SAID]


def test_in_files_that_keep_the_words_they_are_said_too(tmp_path):
    pytest.importorskip("pyarrow")
    x, words = np.arange(12.0).reshape(6, 2), "; None (2 rows) read as missing; if it is a name"
    np.savez(tmp_path / "a.npz", x=x, y=np.array(GRADES))
    frame = pd.DataFrame(x, columns=["a", "b"]).assign(y=pd.Categorical(GRADES))
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.npz", "a.parquet"):
        read = data.load(tmp_path / name, seed=None).train
        assert read["y"].tolist() == [-1, 0, 1, -1, -1, 0]
        assert any(words in note for note in read.notes)
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["a", "b", "", "-1", "a", "b"]))
    notes = data.load(tmp_path / "a.npz", seed=None).train.notes
    assert not any("read as missing" in note for note in notes)
