"""Data files made to do harm: other files' data, pickles, pipes, links in a circle."""

from __future__ import annotations

import os
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

from ppvae import data
from ppvae.data.arrays import _refuse_pickled
from ppvae.errors import DataError


@pytest.mark.parametrize("suffix", ["h5", "h5ad"])
def test_hdf5_that_leads_to_another_file_is_refused(tmp_path, suffix):
    if suffix == "h5ad":
        pytest.importorskip("anndata")
    with h5py.File(tmp_path / "private.h5", "w") as file:
        file["x"] = np.zeros((4, 2))
    with h5py.File(tmp_path / f"d.{suffix}", "w") as file:
        file["x"] = h5py.ExternalLink("private.h5", "/x")
    with pytest.raises(DataError, match="expected data in the file itself; got 'x'"):
        data.load(tmp_path / f"d.{suffix}")


def test_a_circle_of_links_is_refused_in_words(tmp_path):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"] = h5py.SoftLink("/x")
    with pytest.raises(DataError, match="expected an HDF5 file; it cannot be read"):
        data.load(tmp_path / "d.h5")


def test_zarr_2_never_unpickles(tmp_path):
    pickle, plain = SimpleNamespace(codec_id="pickle"), SimpleNamespace(codec_id="blosc")
    for filters, compressor in (([pickle], None), (None, pickle), ([plain, pickle], plain)):
        with pytest.raises(DataError, match="pickled objects, which could run any code"):
            _refuse_pickled(tmp_path, SimpleNamespace(filters=filters, compressor=compressor))
    _refuse_pickled(tmp_path, SimpleNamespace(filters=None, compressor=plain))
    _refuse_pickled(tmp_path, SimpleNamespace(compressors=()))  # That of zarr 3.


def test_a_damaged_chunk_is_named(tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    path = str(tmp_path / "d.zarr")
    x = zarr.create_array(path, shape=(30, 4), chunks=(30, 4), dtype="f4", compressors=None)
    x[:] = 1
    read = data.load(tmp_path / "d.zarr", seed=None).train
    (chunk,) = (p for p in (tmp_path / "d.zarr").rglob("0") if p.is_file())
    chunk.write_bytes(b"\0" * 7)
    with pytest.raises(DataError, match="x: expected chunks that can be read"):
        read["x"][[0, 1]]


def test_a_pipe_among_pictures_is_not_waited_for(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((4, 4), 9 * i, np.uint8)).save(tmp_path / f"{i}.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="got a pipe, a device or a link to nothing, 'pipe.png'"):
        data.load(tmp_path)


@pytest.mark.parametrize("split", [[1, 2, 2, 1], [2, 2, 2, 2], [0, 1, 2, 3]])
def test_a_column_split_has_training_rows_and_no_fourth_part(tmp_path, split):
    np.savez(tmp_path / "d.npz", x=np.ones((4, 2)), split=split)
    with pytest.raises(DataError, match="split"):
        data.load(tmp_path / "d.npz")
