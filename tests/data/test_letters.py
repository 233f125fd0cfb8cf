"""Columns of one letter that have a role, beside the letters that they go on with."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ppvae import data
from ppvae.data.tables import from_frame
from ppvae.errors import DataError

ROWS = np.arange(8)
HALVES = ROWS / 2

# Columns of a table, and what a note on one of one letter begins with; empty without any.
LETTERS = {
    "coordinates": ({"x": ROWS * 7, "y": ROWS % 5, "mass": HALVES}, "y: column 'y' is read as cl"),
    "blanks": ({"x": HALVES, "y": [np.nan, *range(7)]}, "y: column 'y' is read as cl"),
    "y and z": ({"y": ROWS, "z": HALVES}, "y: column 'y' is read as cl"),
    "letters": ({"a": HALVES, "b": HALVES, "c": HALVES}, "c: column 'c' is read as a factor"),
    "names of classes": ({"x": HALVES, "y": list("abababab")}, ""),
    "flags": ({"x": HALVES, "y": [True, False] * 4}, ""),
    "no neighbour": ({"a": HALVES, "y": ROWS % 2, "c": HALVES}, ""),
    "a text beside": ({"x": list("abababab"), "y": ROWS % 2, "a": HALVES}, ""),
}


@pytest.mark.parametrize("kind", LETTERS)
def test_numbers_whose_letter_has_a_role_are_noted(tmp_path, kind):
    columns, said = LETTERS[kind]
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    notes = [n for n in data.load(tmp_path / "t.csv", seed=None).train.notes if "beside" in n]
    assert len(notes) == bool(said)
    if said:
        assert notes[0].startswith(said)
        assert "--columns x=" in notes[0]


def test_the_remedy_of_the_note_reads_both_as_features():
    frame = pd.DataFrame({"x": ROWS * 7, "y": ROWS % 5, "mass": HALVES})
    for x in (["x", "y", "mass"], ["x", "mass"]):
        found = from_frame(frame, x=x)
        assert found.names["x"] == tuple(x)
        assert ("y" in found) == ("y" not in x)
    named = from_frame(frame, columns={"y": "y"})
    assert not any("beside" in note for note in named.notes)


def test_coordinates_with_fractions_are_refused_as_classes():
    frame = pd.DataFrame({"x": HALVES, "y": HALVES, "mass": HALVES})
    with pytest.raises(DataError, match=r"got 0\.5, beside a column 'x'.*--columns x=x,y,NAME"):
        from_frame(frame)
    assert from_frame(frame, x=["x", "y"]).names["x"] == ("x", "y")


def test_coordinates_in_tables_beside_the_features_are_noted(tmp_path):
    (tmp_path / "p").mkdir()
    for i in ROWS:
        Image.new("L", (4, 4), int(i)).save(tmp_path / "p" / f"{i}.png")
    table = {"file": [f"{i}.png" for i in ROWS], "x": ROWS * 7, "y": ROWS % 5}
    pd.DataFrame(table).to_csv(tmp_path / "l.csv", index=False)
    found = data.load(tmp_path / "p", labels=tmp_path / "l.csv", seed=None).train
    assert any("--columns y=NAME names another" in note for note in found.notes)
