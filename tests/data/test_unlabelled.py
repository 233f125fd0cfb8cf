"""Data without a label beside classes that have names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ppvae import data
from ppvae.errors import DataError

# Classes as text, and their numbers.
CLASSES = {
    "names": (["T", "B", "-1", "T"], [1, 0, -1, 1]),
    "zeros in front": (["01", "02", "-1", "01"], [0, 1, -1, 0]),
    "a number with a point": (["T", "B", "-1.0", "T"], [1, 0, -1, 1]),
    "flags": (["True", "False", "-1", "True"], [1, 0, -1, 1]),
}


def _read(tmp_path, how, texts, like=None):
    """Rows with these classes, as each door reads them."""
    lines = "".join(f"{i / 2},{text}\n" for i, text in enumerate(texts))
    if how == "csv":
        (tmp_path / "t.csv").write_text(f"a,y\n{lines}")
        return data.load(tmp_path / "t.csv", seed=None, like=like).train
    if how == "npz":
        np.savez(tmp_path / "t.npz", x=np.eye(len(texts), 1), y=np.array(texts))
        return data.load(tmp_path / "t.npz", seed=None, like=like).train
    if how == "frame":
        frame = pd.DataFrame({"a": np.arange(len(texts)) / 2, "y": pd.Categorical(texts)})
        return data.as_splits(frame).train if like is None else data.as_dataset(frame, like)
    if how == "anndata":
        anndata = pytest.importorskip("anndata")
        obs = pd.DataFrame({"y": pd.Categorical(texts)}, index=[f"cell {i}" for i in range(4)])
        return data.from_anndata(anndata.AnnData(np.eye(4, 1, dtype="f4"), obs=obs), like=like)
    (tmp_path / "p").mkdir()
    for i in range(len(texts)):
        Image.new("L", (4, 4), i).save(tmp_path / "p" / f"{i}.png")
    rows = "".join(f"{i}.png,{text}\n" for i, text in enumerate(texts))
    (tmp_path / "l.csv").write_text(f"file,y\n{rows}")
    return data.load(tmp_path / "p", labels=tmp_path / "l.csv", seed=None, like=like).train


@pytest.mark.parametrize("how", ["csv", "npz", "frame", "anndata", "labels"])
@pytest.mark.parametrize("kind", CLASSES)
def test_minus_one_beside_names_is_no_class(tmp_path, kind, how):
    texts, numbers = CLASSES[kind]
    found = _read(tmp_path, how, texts)
    assert found["y"].tolist() == numbers
    assert found.spec["y"]["classes"] == 2


@pytest.mark.parametrize("how", ["csv", "npz"])
def test_new_data_of_a_run_have_rows_without_a_label(tmp_path, how):
    like = {"x": {"shape": [1]}, "y": {"names": ["B", "T"], "classes": 2, "shape": []}}
    assert _read(tmp_path, how, ["T", "-1"], like)["y"].tolist() == [1, -1]
    # Runs of older versions have a class of that name.
    like["y"] = {"names": ["-1", "B", "T"], "classes": 3, "shape": []}
    assert _read(tmp_path, how, ["T", "-1"], like)["y"].tolist() == [2, 0]


@pytest.mark.parametrize("text", ["Unknown", "unlabelled", "not_assigned", "no label", "?", "-"])
def test_classes_that_may_mark_missing_ones_are_named(tmp_path, text):
    found = _read(tmp_path, "csv", ["T", "B", text])
    assert found.spec["y"]["classes"] == 3
    [note] = [note for note in found.notes if repr(text) in note]
    option = note.split("--na")[1].split(" where")[0].strip(" =").strip("'")
    again = data.load(tmp_path / "t.csv", seed=None, na=[option]).train
    assert again["y"].tolist() == [1, 0, -1]
    assert not any("without a label have" in note for note in again.notes)


@pytest.mark.parametrize("text", ["C", "unipolar", "known", "a-b"])
def test_other_classes_are_not_named(tmp_path, text):
    found = _read(tmp_path, "csv", ["T", "B", text])
    assert not any("without a label" in note for note in found.notes)


def test_folders_of_pictures_without_a_label_are_named(tmp_path):
    for name in ("cat", "dog", "unlabeled"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "1.png")
    found = data.load(tmp_path, seed=None).train
    assert any("beside the folders of classes" in note for note in found.notes)
    (tmp_path / "unlabeled" / "1.png").rename(tmp_path / "1.png")
    (tmp_path / "unlabeled").rmdir()
    assert data.load(tmp_path, seed=None).train["y"].tolist() == [-1, 0, 1]


def test_batches_have_no_missing_value(tmp_path):
    (tmp_path / "t.csv").write_text("a,batch\n0.5,0\n1.5,-1\n2.5,1\n")
    with pytest.raises(DataError, match="batch"):
        data.load(tmp_path / "t.csv", seed=None)
