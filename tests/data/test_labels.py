"""Tables of labels for pictures: the columns that they give, and the row of each picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ppvae import data
from ppvae.errors import DataError


def _grey():
    buffer = io.BytesIO()
    Image.new("L", (4, 4), 9).save(buffer, format="PNG")
    return buffer.getvalue()


GREY = _grey()

# A table of labels of two pictures, and the columns that it gives or the words of the refusal.
LABELS = {
    "class and split": (
        "file,class,split\n1.png,cat,train\n2.png,dog,test\n",
        {"y": [0, 1], "split": [0, 2]},
    ),
    "class after notes": ("file,notes,Y\n1.png,foo,cat\n2.png,bar,dog\n", {"y": [0, 1]}),
    "label and factor": (
        "file,label,c\n1.png,b,1.5\n2.png,a,2.5\n",
        {"y": [1, 0], "c": [1.5, 2.5]},
    ),
    "class under another name": ("file,animal\n1.png,cat\n2.png,dog\n", {"y": [0, 1]}),
    "a quantity": ("file;C\n1.png;1,5\n2.png;2,5\n", "name the column c if it is a quantity"),
    "no header": ("1.png,cat\n2.png,dog\n", "first line is the table's header"),
    "a class and its number": (
        "file,label,class\n1.png,7,cat\n2.png,3,dog\n",
        {"y": [1, 0]},
    ),
    "two classes": (
        "file,species,diagnosis\n1.png,cat,ill\n2.png,dog,ill\n",
        "--columns y=species",
    ),
    "an age and a class": ("file,age,kind\n1.png,31,cat\n2.png,40,dog\n", "'age', 'kind'"),
    "a column for each class": ("file,cat,dog\n1.png,1,0\n2.png,0,1\n", "of its own, write"),
    "a split and a kind": ("file,kind,split\n1.png,a,train\n2.png,b,test\n", {"split": [0, 2]}),
    "words of a split": (
        "file,y,set\n1.png,a,train\n2.png,b,test\n",
        {"y": [0, 1], "split": [0, 2]},
    ),
    "two labels": ("file,class\n1.png,cat\n1.png,dog\n2.png,dog\n", "one label for 1.png"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_tables_of_labels(tmp_path, kind):
    text, expected = LABELS[kind]
    (tmp_path / "p").mkdir()
    for name in ("1", "2"):
        (tmp_path / "p" / f"{name}.png").write_bytes(GREY)
    (tmp_path / "l.csv").write_text(text)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            data.images(tmp_path / "p", labels=tmp_path / "l.csv")
        return
    read = data.images(tmp_path / "p", labels=tmp_path / "l.csv")
    assert {name: read[name].tolist() for name in read if name != "x"} == expected


# Columns that the caller names, and those that they give or the words of the refusal.
TABLE = "file,age,kind,slide,dose,hour\n1.png,31,cat,a,1,4\n2.png,40,dog,b,2,8\n"
GIVEN = {
    "a class": ({"y": "kind"}, {"y": [0, 1]}),
    "a number as a class": ({"y": "age"}, {"y": [0, 1]}),
    "several factors": (
        {"y": "kind", "c": ["dose", "hour"]},
        {"y": [0, 1], "c": [[1, 4], [2, 8]]},
    ),
    "a column of the user's own": (
        {"y": "kind", "slide": "slide"},
        {"y": [0, 1], "slide": [0, 1]},
    ),
    "the file as the object": ({"object": "file", "y": "kind"}, {"object": [0, 1], "y": [0, 1]}),
    "one that is not there": (
        {"y": "breed"},
        r"missing \['breed'\], the table has \['file', 'age'",
    ),
    "pixels": ({"x": ["age", "dose"]}, "which are of pixels"),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_columns_that_the_caller_names(tmp_path, kind):
    given, expected = GIVEN[kind]
    (tmp_path / "p").mkdir()
    for name in ("1", "2"):
        (tmp_path / "p" / f"{name}.png").write_bytes(GREY)
    (tmp_path / "l.csv").write_text(TABLE)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            data.images(tmp_path / "p", labels=tmp_path / "l.csv", **given)
        return
    read = data.images(tmp_path / "p", labels=tmp_path / "l.csv", **given)
    assert {name: read[name].tolist() for name in read if name != "x"} == expected
    if "c" in given:
        assert read.spec["c"]["names"] == ["dose", "hour"]


def test_new_pictures_have_the_runs_columns_by_their_names(tmp_path):
    """Of a table that has them; one that has not may have the class under another name."""
    (tmp_path / "p").mkdir()
    for name in ("1", "2"):
        (tmp_path / "p" / f"{name}.png").write_bytes(GREY)
    (tmp_path / "l.csv").write_text(TABLE)
    given = {"y": "kind", "c": ["dose", "hour"], "slide": "slide"}
    spec = data.images(tmp_path / "p", labels=tmp_path / "l.csv", **given).spec
    for header, columns in {
        "file,hour,dose,kind,slide": {"y": [1, 0], "c": [[5, 3], [6, 4]], "slide": [1, 0]},
        "file,hour,dose,class,slide": {"y": [1, 0], "c": [[5, 3], [6, 4]], "slide": [1, 0]},
    }.items():
        (tmp_path / "n.csv").write_text(f"{header}\n1.png,3,5,dog,b\n2.png,4,6,cat,a\n")
        new = data.images(tmp_path / "p", labels=tmp_path / "n.csv", like=spec, **given)
        assert {name: new[name].tolist() for name in new if name != "x"} == columns


def test_columns_without_a_table_of_labels_are_refused(tmp_path):
    (tmp_path / "1.png").write_bytes(GREY)
    with pytest.raises(DataError, match=r"table of labels with columns \['y'\].*--label-table"):
        data.load(tmp_path, columns={"y": "kind"})


# Pictures in the folder plate, paths in a table, and the classes or the words of the refusal.
PLACES = {
    "paths": (["a/1", "b/1"], ["a/1", "b/1"], [0, 1]),
    "base names": (["a/1", "b/2"], ["1", "2"], [0, 1]),
    "a base name of two": (["a/1", "b/1"], ["1", "2"], "several files: write paths"),
    "ends of paths": (["train/a/1", "test/b/1"], ["a/1", "b/1"], [0, 1]),
    "an end of two paths": (["train/a/1", "test/a/1"], ["a/1", "b/1"], "several files"),
    "paths of another machine": (["a/1", "b/1"], ["C:\\plate\\a\\1", "C:\\plate\\b\\1"], [0, 1]),
    "with the folder": (["1", "2"], ["./plate/1", "plate/2"], [0, 1]),
    "with its former name": (["1", "2"], ["dish/1", "dish/2"], [0, 1]),
    "further rows": (["a/1"], ["a/1", "b/1"], [0]),
    "another folder": (["a/1", "b/2"], ["b/1", "b/2"], "for b/1.png is of another folder"),
    "another folder, one picture": (["a/1"], ["b/1", "b/2"], "for b/1.png is of another folder"),
    "a folder beside": (["1", "2"], ["dish/1", "plate/2"], "got one in dish for 1.png"),
    "two former names": (["1", "2"], ["dish/1", "bowl/2"], "got one in bowl for 2.png"),
    "a folder that is not there": (["1", "2"], ["1", "dish/2"], "got one in dish for 2.png"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_row_is_of_the_picture_in_its_folder(tmp_path, kind):
    paths, written, expected = PLACES[kind]
    for path in paths:
        (tmp_path / "plate" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plate" / f"{path}.png").write_bytes(GREY)
    rows = [f"{text}.png,{'cd'[row]}\n" for row, text in enumerate(written)]
    (tmp_path / "l.csv").write_text("file,class\n" + "".join(rows))
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            data.images(tmp_path / "plate", labels=tmp_path / "l.csv")
        return
    read = data.images(tmp_path / "plate", labels=tmp_path / "l.csv")
    order = np.argsort(paths)
    named = [read.names["y"][code] for code in read["y"].tolist()]
    assert named == ["cd"[expected[place]] for place in order]
    said = any("paths in dish taken as those in plate" in note for note in read.notes)
    assert said == (kind == "with its former name")


def test_a_table_and_folders_agree_on_the_split(tmp_path):
    for path in ("train/1", "test/1"):
        (tmp_path / "p" / path).parent.mkdir(parents=True)
        (tmp_path / "p" / f"{path}.png").write_bytes(GREY)
    (tmp_path / "l.csv").write_text("file,split\ntrain/1.png,test\ntest/1.png,train\n")
    with pytest.raises(DataError, match=r"l\.csv: expected the split that the names"):
        data.images(tmp_path / "p", labels=tmp_path / "l.csv")
