"""Large Parquet files: refused where small ones are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ppvae import data
from ppvae.errors import DataError

BIG = 2**53
# Whole numbers, their type, and whether float64 makes different ones equal.
WHOLE = {
    "one apart": ([BIG, BIG + 1, 3], "int64", True),
    "one apart below zero": ([-BIG, -BIG - 1, 3], "int64", True),
    "in batches of their own": ([BIG + 1, 3, 3, BIG], "int64", True),
    "unsigned": (np.array([2**63 + 1, 2**63, 3], np.uint64), "uint64", True),
    "beside a missing one": ([BIG, BIG + 1, None], "Int64", True),
    "two apart": ([BIG, BIG + 2, 3], "int64", False),
    "the same twice": ([BIG + 1, BIG + 1, 3], "int64", False),
}


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_that_float64_makes_equal_are_refused(tmp_path, monkeypatch, kind, is_large):
    pytest.importorskip("pyarrow")
    values, dtype, refused = WHOLE[kind]
    frame = pd.DataFrame({"a": pd.array(values, dtype=dtype), "b": np.arange(len(values)) / 7})
    frame.to_parquet(tmp_path / "t.parquet")
    if is_large:
        monkeypatch.setattr("ppvae.data.parquet.LARGE", 0)
        monkeypatch.setattr("ppvae.data.parquet.BATCH", 4)
    if refused:
        with pytest.raises(DataError, match=r"numbers in column 'a' that float64 tells apart"):
            data.table(tmp_path / "t.parquet", missing_ok=("x",))
        assert data.table(tmp_path / "t.parquet", x=["b"]).num_rows == len(values)
        return
    read = data.table(tmp_path / "t.parquet")
    assert any("rows at a time" in note for note in read.notes) == is_large
    assert read["x"][:, 0].tolist() == [float(v) for v in values]
