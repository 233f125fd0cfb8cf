"""Features that by their names divide or number the rows are noted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ppvae import data


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("is_train", [True, False, True, True], "it may divide the rows"),
        ("isTest", [0, 1, 0, 0], "it may divide the rows"),
        ("fold", [3, 1, 2, 3], "it may divide the rows"),
        ("ImageNumber", [5, 5, 6, 7], "CellProfiler gives this number"),
        ("Metadata_Site", [5, 5, 6, 7], "by its name it is no measurement"),
        ("Parent_income", [5, 5, 6, 7], None),
        ("fold_change", [0.5, 0.1, 0.2, 0.3], None),
        ("AreaShape_Area", [5, 5, 6, 7], None),
        ("distrain", [5, 5, 6, 7], None),
    ],
)
def test_features_that_may_be_none_are_noted(tmp_path, name, values, words):
    frame = pd.DataFrame({"a": np.arange(4) / 3, name: values})
    frame.to_csv(tmp_path / "t.csv", index=False)
    read = data.table(tmp_path / "t.csv")
    assert read.names["x"] == ("a", name)
    said = [note for note in read.notes if note.startswith(f"x: column {name!r} is a feature")]
    assert len(said) == (words is not None)
    assert words is None or words in said[0]
    listed = data.table(tmp_path / "t.csv", x=["a", name])  # What is asked for is not doubted.
    assert not any("is a feature" in note for note in listed.notes)


def test_numbers_of_parents_are_noted_beside_those_of_objects(tmp_path):
    names = ["ImageNumber", "Nuclei_Parent_Cells"]
    frame = pd.DataFrame({"a": np.arange(4) / 3, names[0]: [5, 5, 6, 7], names[1]: [1, 2, 1, 1]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    notes = data.table(tmp_path / "t.csv").notes
    for name in names:
        assert any(f"{name!r} is a feature, though CellProfiler gives" in note for note in notes)
