"""How files store arrays: packed numbers are refused, pieces that were never written are noted."""

from __future__ import annotations

import unicodedata

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ppvae import data
from ppvae.errors import DataError

X = np.arange(80, dtype=np.int16).reshape(20, 4)
ATTRIBUTES = {
    "a scale": ({"scale_factor": 0.01}, r"packed ones, as its attributes scale_factor=0.01"),
    "an offset": ({"add_offset": np.array([5.0])}, "add_offset=5"),
    "a missing value": ({"_FillValue": np.int16(7)}, "_FillValue=7, which stands for it"),
    "one of another name": ({"missing_value": 79.0}, "missing_value=79"),
    "an absent one": ({"_FillValue": -999}, None),
    "none": ({"scale_factor": 1.0, "add_offset": 0, "_FillValue": np.nan, "units": "K"}, None),
}


def write(path, attributes):
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["x"] = X
            file["x"].attrs.update(attributes)
    else:
        zarr = pytest.importorskip("zarr", minversion="3")
        array = zarr.create_array(str(path), data=X, chunks=(6, 4))
        array.attrs.update({k: np.asarray(v).item() for k, v in attributes.items() if k != "_"})


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
@pytest.mark.parametrize("case", ATTRIBUTES)
def test_attributes_that_change_the_numbers_are_refused(tmp_path, suffix, case):
    attributes, words = ATTRIBUTES[case]
    path = tmp_path / f"d{suffix}"
    write(path, attributes)
    if words is None:
        read = data.load(path, seed=None).train.batch(slice(None))["x"]
        np.testing.assert_array_equal(read.numpy(), X)
    else:
        with pytest.raises(DataError, match=words):
            data.load(path)


def test_pieces_that_were_never_written_are_noted(tmp_path):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        part = file.create_dataset("x", (20, 4), chunks=(6, 4), dtype="f4")
        part[:12] = X[:12]
    zarr = pytest.importorskip("zarr", minversion="3")
    array = zarr.create_array(str(tmp_path / "d.zarr"), shape=(20, 4), chunks=(6, 4), dtype="f4")
    array[:12] = X[:12] + 1
    for name in ("d.h5", "d.zarr"):
        notes = data.load(tmp_path / name, seed=None).train.record.notes
        assert any("x: 2 of 4 pieces are not stored, and read as 0" in note for note in notes)
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        file["x"][12:] = X[12:]
    array[12:] = X[12:] + 1
    for name in ("d.h5", "d.zarr"):
        notes = data.load(tmp_path / name, seed=None).train.record.notes
        assert not any("pieces" in note for note in notes)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_one_in_both_forms_of_unicode(tmp_path, forms):
    one, other = (unicodedata.normalize(form, "café") for form in forms)
    assert one != other
    tables = []
    for name, header in (("a.csv", one), ("b.csv", other)):
        path = tmp_path / name
        path.write_text(f"{header},b,y\n1,2,{one}\n2,3,{other}\n3,5,x\n", encoding="utf-8")
        tables.append(path)
    first = data.table(tables[0])
    assert first["y"].tolist() == [0, 0, 1]
    new = data.table(tables[1], like=first.spec)
    assert new["x"].tolist() == first["x"].tolist()
    frame = pd.DataFrame({other: [1.0, 2.0], "b": [3.0, 4.0]})
    from ppvae.data.tables import from_frame

    assert from_frame(frame, x=[one, "b"]).names["x"] == from_frame(frame).names["x"]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, name in enumerate((one, "x")):
        Image.fromarray(np.full((4, 4), 9 * i, np.uint8)).save(pictures / f"{name}.png")
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file,y\n{other}.png,b\nx.png,a\n", encoding="utf-8")
    read = data.images(pictures, labels=labels)
    assert sorted(zip(read["y"].tolist(), read["x"][:, 0, 0, 0].tolist(), strict=True)) == [
        (0, 9),
        (1, 0),
    ]
