"""What files hold beside columns is left out with a note; columns with a meaning are refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from ppvae import data
from ppvae.errors import DataError

X = np.random.default_rng(0).random((20, 8))
RAGGED = np.array([[1], [2, 3]], object)
# Arrays beside x, and why they are no columns.
BESIDE = {
    "pixel_size": (np.array(0.1), "a single value"),
    "title": (np.array("sample 3"), "a single value"),
    "wavelength": (np.arange(8.0), "shape (8,)"),
    "features": (np.array(list("abcdefgh")), "shape (8,)"),
    "dark": (np.zeros((4, 5)), "shape (4, 5)"),
    "rows": (np.zeros(20, [("a", "f4")]), "no numbers or text"),
}


def _npz(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def _h5(folder, **arrays):
    with h5py.File(folder / "a.h5", "w") as file:
        for name, array in arrays.items():
            text = array.dtype.kind == "U"
            file[name] = (
                array.astype(object) if text and array.ndim else array.tolist() if text else array
            )
    return folder / "a.h5"


def _zarr(folder, **arrays):
    group = pytest.importorskip("zarr").open_group(folder / "a.zarr", mode="w")
    for name, array in arrays.items():
        group.create_array(name, shape=array.shape, dtype=array.dtype)[...] = array
    return folder / "a.zarr"


@pytest.mark.parametrize("save", [_npz, _h5, _zarr])
@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.filterwarnings("ignore:The data type")
def test_what_is_no_column_is_left_out_with_a_note(tmp_path, save, name):
    array, why = BESIDE[name]
    path = save(tmp_path, x=X, age=np.arange(20.0), **{name: array})
    read = data.load(path, seed=None).train
    assert set(read) == {"x", "age"}
    assert any(note.startswith("left out") and f"{name!r} ({why})" in note for note in read.notes)
    np.testing.assert_array_equal(read.batch(slice(None))["x"], X.astype(np.float32))


@pytest.mark.parametrize("save", [_npz, _h5, _zarr])
@pytest.mark.parametrize("name", ["y", "c", "Split", "mask", "view", "object", "batch", "source"])
def test_columns_with_a_meaning_have_the_length_of_x(tmp_path, save, name):
    path = save(tmp_path, x=X, **{name: np.zeros(8, np.int64)})
    with pytest.raises(DataError, match="expected columns of one length"):
        data.load(path)


def test_columns_that_a_run_knows_have_the_length_of_x(tmp_path):
    path = _npz(tmp_path, x=X, age=np.arange(5.0))
    assert set(data.npz(path)) == {"x"}
    with pytest.raises(DataError, match="expected columns of one length"):
        data.npz(path, like={"x": {"shape": [8]}, "age": {"shape": []}})
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "age.npy", np.arange(5.0))
    with pytest.raises(DataError, match="expected columns of one length"):
        data.npy(tmp_path / "x.npy", age=tmp_path / "age.npy")


def test_objects_beside_columns_are_never_read(tmp_path):
    read = data.npz(_npz(tmp_path, x=X, about=np.array({"a": 1}, object), rois=RAGGED))
    assert set(read) == {"x"}
    assert any("left out, as no arrays: 'about', 'rois'" in note for note in read.notes)
    with pytest.raises(DataError, match="Object arrays"):
        data.npz(_npz(tmp_path, x=X, y=RAGGED))


@pytest.mark.parametrize("name", ["x", "y", "rois"])
def test_sets_of_objects_in_hdf5(tmp_path, name):
    columns = {"x": X} if name != "x" else {}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for own, array in columns.items():
            file[own] = array
        file.create_dataset(name, (20,), dtype=h5py.vlen_dtype(np.int32))
        file.create_dataset("places", (20,), dtype=h5py.ref_dtype)
    if name == "rois":
        assert set(data.h5(tmp_path / "a.h5")) == {"x"}
        return
    with pytest.raises(DataError, match=f"expected numbers or text in '{name}'; got objects"):
        data.h5(tmp_path / "a.h5")
