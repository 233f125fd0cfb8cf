"""Numbers such as -999 are named in any column, whatever it comes from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from ppvae import data
from ppvae.data import Dataset
from ppvae.data.stand_ins import stand_ins

N = 60
RNG = np.random.default_rng(0)
X = RNG.random((N, 4))
X[::7, 1] = -999


def _npz(path):
    np.savez(path / "t.npz", x=X)
    return data.npz(path / "t.npz")


def _npy(path):
    np.save(path / "t.npy", X)
    return data.npy(path / "t.npy")


def _h5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "t.h5", "w") as file:
        file["x"] = X
    return data.h5(path / "t.h5")


def _zarr(path):
    zarr = pytest.importorskip("zarr")
    zarr.save(str(path / "t.zarr"), x=X)
    return data.zarr(path / "t.zarr")


def _cells(path):
    anndata = pytest.importorskip("anndata")
    return data.from_anndata(anndata.AnnData(X))


def _csv(path, **columns):
    frame = pd.DataFrame({"a": RNG.random(N), "b": RNG.random(N), **columns})
    frame.to_csv(path / "t.csv", index=False)
    own = {name: name for name in columns if name == "age"}
    return data.table(path / "t.csv", x=["a", "b"], **own)


def _tiff(path):
    tifffile = pytest.importorskip("tifffile")
    pictures = RNG.random((4, 8, 8)).astype(np.float32)
    pictures[:, 3, 3] = -9999
    tifffile.imwrite(path / "t.tif", pictures, photometric="minisblack")
    return data.images(path / "t.tif")


ONES = np.ones((N, 1))
# What holds the numbers, a function that reads it, and the words of the note.
DOORS = {
    "x of .npz": (_npz, "x: far from all other values of a column: feature 1 -999 (9 rows)"),
    "x of .npy": (_npy, "feature 1 -999 (9 rows)"),
    "x of .h5": (_h5, "feature 1 -999 (9 rows)"),
    "x of .zarr": (_zarr, "feature 1 -999 (9 rows)"),
    "x of AnnData": (_cells, "x: far from all other values of a column: 1 -999 (9 rows)"),
    "pictures": (_tiff, "-9999 (4 values)"),
    "c of a table": (lambda p: _csv(p, c=X[:, 1]), "c: far from all other values of a column: -9"),
    "view of a table": (lambda p: _csv(p, view=X[:, 1]), "view: far from"),
    "a column of one's own": (lambda p: _csv(p, age=X[:, 1]), "age: far from"),
    "arrays": (lambda _: Dataset({"x": ONES, "c": X}), "c: far from all other values of a column"),
    "a tensor": (lambda _: Dataset({"x": torch.tensor(X)}), "feature 1 -999 (9 rows)"),
    "whole numbers": (lambda _: Dataset({"x": X.astype(np.int16)}), "feature 1 -999 (9 rows)"),
    "a sparse matrix": (lambda _: Dataset({"x": csr_matrix(X)}), "-999 (9 values)"),
    "missing values": (
        lambda _: Dataset({"x": np.where(X > 0, X, np.nan)}, missing_ok=["x"]),
        None,
    ),
    "classes": (lambda _: Dataset({"x": ONES, "y": np.array([1, 999] * (N // 2))}), None),
    "subjects": (lambda _: Dataset({"x": ONES, "id": np.array([1, 999] * (N // 2))}), None),
    "intensities": (lambda _: Dataset({"x": np.full((N, 1, 2, 2), 99, np.uint8)}), None),
}


@pytest.mark.parametrize("door", DOORS)
def test_numbers_that_may_stand_for_missing_values_are_named(tmp_path, door):
    read, said = DOORS[door]
    made = read(tmp_path)
    notes = [note for note in made.notes if "far from all other values" in note]
    assert len(notes) == (said is not None)
    if said is not None:
        assert said in notes[0]
        again = made.with_columns(y=torch.zeros(made.num_rows, dtype=torch.int64))
        assert sum("far from" in note for note in again.notes) == 1


def test_some_rows_of_a_large_file_are_looked_at(tmp_path, monkeypatch):
    x = np.zeros((4000, 3), np.int32)
    x[::2, 2] = -99
    np.save(tmp_path / "t.npy", x)
    monkeypatch.setattr("ppvae.data.stand_ins.PIECES", 2)
    monkeypatch.setattr("ppvae.data.stand_ins.spans", lambda column: _spans(column, 300))
    noted = stand_ins("x", np.load(tmp_path / "t.npy", mmap_mode="r"))
    assert "(in 200 of 4,000 rows): feature 2 -99 (100 rows)" in noted


def _spans(column, budget):
    step = budget // column.shape[1]
    return [slice(start, start + step) for start in range(0, len(column), step)]


def test_a_long_tail_of_counts_is_no_doubt():
    counts = RNG.poisson(1.0, (50, 200))
    counts[3, 7], counts[4, 9] = 99, 400
    assert stand_ins("x", torch.from_numpy(counts)) == ""
    counts[5, 7] = 99  # twice
    assert "feature 7 99 (2 rows)" in stand_ins("x", torch.from_numpy(counts))
    assert "feature 7 99 (1 row)" in stand_ins("x", torch.from_numpy(counts[:5, :20]))
