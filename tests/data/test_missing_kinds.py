"""Missing values in types of pandas whose numpy counterparts have none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ppvae.data import load
from ppvae.data.tables import from_frame
from ppvae.errors import DataError

# A column with a missing value in the second row, and its numbers.
MISSING = {
    "whole numbers": (pd.Categorical([1, None, 5]), [1, np.nan, 5]),
    "flags": (pd.Categorical([True, None, False]), [1, np.nan, 0]),
    "fractions": (pd.Categorical([0.5, None, 2.5]), [0.5, np.nan, 2.5]),
    "nullable numbers": (
        pd.Categorical(pd.array([1, None, 5], dtype="Int64")),
        [1, np.nan, 5],
    ),
}


@pytest.mark.parametrize("suffix", [None, ".parquet", ".feather"])
@pytest.mark.parametrize("kind", MISSING)
def test_categories_of_numbers_may_be_missing(tmp_path, kind, suffix):
    values, numbers = MISSING[kind]
    frame = pd.DataFrame({"a": values, "b": [0.5, 1.5, 2.5]})
    if suffix is None:
        found = from_frame(frame, missing_ok=("x",))
    else:
        pytest.importorskip("pyarrow")
        path = tmp_path / f"t{suffix}"
        getattr(frame, f"to_{suffix[1:]}")(path)
        found = load(path, missing_ok=("x",), seed=None).train
    np.testing.assert_array_equal(found["x"][:, 0].numpy(), numbers)


def test_categories_that_float64_makes_equal_are_refused_beside_missing_ones():
    frame = pd.DataFrame({"a": pd.Categorical([2**60, 2**60 + 1, None]), "b": [0.5, 1.5, 2.5]})
    with pytest.raises(DataError, match="that float64 tells apart"):
        from_frame(frame, missing_ok=("x",))


@pytest.mark.parametrize("name", ["id", "index"])
def test_numbers_of_rows_whose_first_is_missing_are_read(name):
    numbers = pd.array([None, 1, 2, 3], dtype="Int64")
    frame = pd.DataFrame({name: numbers, "b": [0.5, 1.5, 2.5, 3.5]})
    found = from_frame(frame, missing_ok=("x",))
    assert any(f"'{name}'" in note for note in found.notes)
