"""Features that by their names divide or number the rows are noted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ppvae import data


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("is_train", [True, False, True, True], "it divides the rows"),
        ("isTest", [0, 1, 0, 0], "it divides the rows"),
        ("fold", [3, 1, 2, 3], "it divides the rows"),
        ("ImageNumber", [5, 5, 6, 7], "a number that CellProfiler gives"),
        ("Nuclei_Parent_Cells", [5, 5, 6, 7], "a number that CellProfiler gives"),
        ("Metadata_Site", [5, 5, 6, 7], "a number that CellProfiler gives"),
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
