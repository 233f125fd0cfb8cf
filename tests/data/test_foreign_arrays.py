"""Arrays, tensors and tables of other kinds are read with values and names, or refused."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from ppvae import data
from ppvae.errors import DataError

X = np.arange(12.0).reshape(4, 3)


def test_floats_of_eight_bits_are_numbers():
    tensor = torch.tensor(X).to(torch.float8_e4m3fn)
    read = data.Dataset({"x": tensor})["x"]
    assert read.dtype == torch.float32
    assert torch.equal(read, tensor.float())


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_a_masked_tensor_is_refused():
    from torch import masked

    hidden = masked.masked_tensor(torch.tensor(X), torch.tensor(X) > 3)
    with pytest.raises(DataError, match="expected a dense tensor; got a masked one"):
        data.Dataset({"x": hidden})


def test_a_dataset_of_xarray_is_refused_in_words():
    xarray = pytest.importorskip("xarray")
    with pytest.raises(DataError, match="expected an array; got Dataset, which has no numbers"):
        data.Dataset({"x": xarray.Dataset({"a": ("n", X[:, 0])})})


def test_a_table_of_arrow_has_its_own_names():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]))
    read = data.Dataset({"x": table})
    assert read.names["x"] == ("a", "b", "c")
    np.testing.assert_array_equal(read["x"], X)


@pytest.mark.parametrize("value", [1.5, Decimal("1.5")])
def test_numbers_as_objects_have_a_remedy_that_helps(value):
    with pytest.raises(DataError, match=r"dtype object\. Convert them: array\.astype\(float\)"):
        data.Dataset({"x": np.full((4, 3), value, dtype=object)})
    with pytest.raises(DataError, match="Encode names as numbers first"):
        data.Dataset({"x": np.array([["a", value]] * 4, dtype=object)})


def test_a_part_of_an_anndata_on_the_disk_names_the_remedy(tmp_path, monkeypatch):
    anndata = pytest.importorskip("anndata")
    cells = anndata.AnnData(X)
    data.write_h5ad(cells, tmp_path / "a.h5ad")
    part = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")[::2, ["1", "0"]]
    np.testing.assert_array_equal(data.from_anndata(part)["x"], X[::2, [1, 0]])
    # As anndata does with a sparse X where it does not know the version of SciPy.
    monkeypatch.setattr(anndata.AnnData, "to_memory", lambda _: anndata.AnnData(obs=cells.obs))
    with pytest.raises(DataError, match="Read the file into memory before choosing cells"):
        data.from_anndata(part)
    with pytest.raises(DataError, match="layer: expected one of"):
        data.from_anndata(cells, layer=["counts"])


@pytest.mark.parametrize("suffix", ["parquet", "frame"])
def test_a_level_of_the_index_that_is_left_out_is_noted(tmp_path, suffix):
    from ppvae.data.tables import from_frame

    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=pd.Index([1, 2, 2, 5], name="dose"))

    def read(frame, **columns):
        if suffix == "frame":
            return from_frame(frame, columns=columns)
        pytest.importorskip("pyarrow")
        frame.to_parquet(tmp_path / "t.parquet")
        return data.table(tmp_path / "t.parquet", **columns)

    assert any("left out: dose, in the index; --columns dose=dose" in n for n in read(frame).notes)
    named = read(frame, dose="dose")
    assert named["dose"].tolist() == [1, 2, 2, 5]
    assert not any("left out" in note for note in named.notes)
    # Texts of an index name the rows, of which nothing is said.
    texts = read(frame.set_axis(pd.Index(list("pqrs"), name="cell")))
    assert list(texts.row_names) == list("pqrs")
    assert not any("left out" in note for note in texts.notes)


def test_a_text_table_with_nul_characters_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("a,b\n1,2\n3,4\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="got NUL characters, as in UTF-16"):
        data.table(path)


def test_columns_of_one_value_are_not_said_to_be_rounded(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n0.1,5.3\n")
    read = data.table(path)
    assert read["x"].dtype == torch.float32
    assert not any("float64" in note for note in read.notes)
    path.write_text("a,b\n0.1,5.3000001\n0.1,5.3000002\n")
    assert any("x: b kept in float64" in note for note in data.table(path).notes)
