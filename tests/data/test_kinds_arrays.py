"""Many kinds of arrays, archives and objects: read with these values, or refused in words."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

import ppvae
from ppvae import data
from ppvae.data import Dataset, Splits, as_splits
from ppvae.errors import DataError

ONES = np.ones((2, 3))
ROWS = [[1, 0], [1, 1]]
HUGE = np.array([[2**63 + 5, 1]], np.uint64)
RAGGED = np.empty(2, object)
RAGGED[:] = [[1], [2, 3]]

# Columns of a dataset, and x (or the column after a colon) or the words of the refusal.
COLUMNS = {
    **{
        f"x of {kind}": ({"x": np.array(ROWS).astype(kind)}, ROWS)
        for kind in (
            "?",
            "i1",
            "u1",
            "i2",
            ">u2",
            "<i4",
            ">i8",
            "u8",
            "f2",
            ">f4",
            "f8",
            ">f8",
            "g",
        )
    },
    "lists": ({"x": ROWS}, ROWS),
    "not contiguous": ({"x": np.arange(8).reshape(2, 4)[:, ::2]}, [[0, 2], [4, 6]]),
    "Fortran's order": ({"x": np.asfortranarray(ROWS)}, ROWS),
    "read-only": ({"x": np.broadcast_to(np.array([1, 2]), (2, 2))}, [[1, 2], [1, 2]]),
    "a DataFrame": ({"x": pd.DataFrame({"a": [1, 2], "b": [3, 4]})}, [[1, 3], [2, 4]]),
    "a series": ({"x": ONES, "c": pd.Series([1.5, 2])}, "c: 1.5 2.0"),
    "gradients": ({"x": torch.ones(2, 2, requires_grad=True)}, [[1, 1], [1, 1]]),
    "bfloat16": ({"x": torch.ones(2, 2, dtype=torch.bfloat16)}, [[1, 1], [1, 1]]),
    "sparse": ({"x": sp.coo_array(np.array(ROWS))}, ROWS),
    "a column of classes": ({"x": ONES, "y": [[1], [0]]}, "y: 1 0"),
    "one-hot": ({"x": ONES, "y": [[0, 1.0], [1, 0]]}, "y: 1 0"),
    "boolean classes": ({"x": ONES, "y": [True, False]}, "y: 1 0"),
    "a mask of booleans": ({"x": ROWS, "mask": np.array(ROWS) > 0}, [[1, np.nan], [1, 1]]),
    "a mask per row": ({"x": ROWS, "mask": [1, 0]}, [[1, 0], [np.nan, np.nan]]),
    "a mask for all channels": (
        {"x": np.ones((1, 2, 1, 2)), "mask": np.array([[[1, 0]]])},
        [[[[1, np.nan]], [[1, np.nan]]]],
    ),
    "complex": ({"x": ONES * 1j}, "real and imaginary"),
    "complex tensors": ({"x": torch.ones(2, 2, dtype=torch.complex64)}, "real and imaginary"),
    "times": ({"x": np.array([["2024-01-01"]], "M8[s]")}, "dates or durations"),
    "durations": ({"x": np.array([[5]], "m8[s]")}, "dates or durations"),
    "text": ({"x": [["a", "b"]]}, "got text"),
    "bytes": ({"x": np.array([[b"a"]])}, "got text"),
    "objects": ({"x": np.array([[None, 1]], object)}, "dtype object"),
    "lists of lists of two lengths": ({"x": [[1, 2], [3]]}, "one shape"),
    "arrays of two lengths": ({"x": RAGGED}, "dtype object"),
    "whole numbers beyond 2^64": ({"x": [[2**70]]}, "dtype object"),
    "unsigned beyond 2^63": ({"x": HUGE}, "below 2"),
    "unsigned tensors beyond 2^63": ({"x": torch.from_numpy(HUGE)}, "below 2"),
    "records": ({"x": np.zeros(2, [("a", "f4")])}, "records"),
    "one number": ({"x": 3.0}, "one row per datum"),
    "no rows": ({"x": np.zeros((0, 3))}, "at least one row"),
    "no features": ({"x": np.zeros((3, 0))}, "at least one number per datum"),
    "None": ({"x": None}, "expected numbers"),
    "a function": ({"x": len}, "expected numbers"),
    "a generator": ({"x": (i for i in range(3))}, "expected numbers"),
    "NaN": ({"x": [[np.nan, 1]]}, "finite numbers"),
    "beyond float32": ({"x": [[1e300, 1]]}, "that float32 holds"),
    "infinity": ({"x": [[np.inf, 1]]}, "finite numbers"),
    "missing whole numbers": ({"x": pd.Series([1, None], dtype="Int64")}, "finite numbers|object"),
    "two lengths": ({"x": ONES, "y": [0, 1, 2]}, "one length"),
    "classes in text": ({"x": ONES, "y": ["a", "b"]}, "numpy.unique"),
    "soft classes": ({"x": ONES, "y": [[0.1, 0.9], [1, 0]]}, "whole numbers"),
    "classes that are NaN": ({"x": ONES, "y": [np.nan, 0]}, "whole numbers"),
    "rows with two classes": ({"x": ONES, "y": [[1, 1], [1, 0]]}, "one-hot"),
    "classes beyond 2^63": ({"x": ONES, "y": HUGE[0]}, "below 2"),
    "a mask of halves": ({"x": ROWS, "mask": [[0.5, 0], [1, 1]]}, "got 0.5"),
    "a mask of 255": ({"x": ROWS, "mask": np.array([[255, 0]] * 2, np.uint8)}, "got 255"),
    "a mask with NaN": ({"x": ROWS, "mask": [[np.nan, 0], [1, 1]]}, "mask"),
    "a mask of another shape": ({"x": ROWS, "mask": np.ones((2, 3))}, "shape of x"),
    "a mask of another length": ({"x": ROWS, "mask": np.ones((3, 2))}, "one length"),
    "sparse NaN": ({"x": sp.csr_array(np.array([[np.nan, 1]]))}, "finite numbers"),
    "sparse complex": ({"x": sp.csr_array(np.eye(2) * 1j)}, "expected numbers"),
    "sparse classes": ({"x": ONES, "y": sp.csr_array(np.eye(2))}, "toarray"),
    "hidden values in a list": (
        {"x": [np.ma.masked_equal([1.0, 9], 9), np.ma.masked_equal([3.0, 4], 9)]},
        "masked array with 1 hidden",
    ),
    "sparse beyond 2^63": ({"x": sp.csr_array(HUGE)}, "below 2"),
    "sparse with more than 64 bits": (
        {"x": sp.csr_array(np.array(ROWS, np.longdouble))},
        ROWS,
    ),
    "sparse bytes": ({"x": sp.csr_array(np.array([[255, 1]], np.uint8))}, [[255, 1]]),
    "explicit zeros": (
        {"x": sp.csr_array((np.array([0.0, 2, 3]), np.array([0, 1, 0]), np.array([0, 2, 3])))},
        [[0, 2], [3, 0]],
    ),
    "the same place twice": (
        {"x": sp.coo_array(([1, 2, 4], ([0, 0, 1], [0, 0, 1])))},
        [[3, 0], [0, 4]],
    ),
    "a tensor without values": ({"x": torch.ones(2, 2, device="meta")}, "device meta"),
    "a sparse tensor": ({"x": torch.eye(2).to_sparse()}, "to_dense"),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns(kind):
    columns, expected = COLUMNS[kind]
    name, _, numbers = expected.partition(": ") if isinstance(expected, str) else ("x", "", "")
    if isinstance(expected, str) and not numbers:
        with pytest.raises(DataError, match=expected):
            Dataset(columns)
        return
    values = torch.as_tensor(Dataset(columns).batch(slice(None), dtype=torch.float64)[name])
    values = values * 255 if kind == "x of u1" else values
    wanted = [float(n) for n in numbers.split()] if numbers else expected
    np.testing.assert_allclose(values.double().numpy(), np.array(wanted, float))


PLAIN = io.BytesIO()
np.save(PLAIN, np.arange(200.0).reshape(100, 2))
HEADER = io.BytesIO()
np.lib.format.write_array_header_1_0(
    HEADER, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)}
)
BOMB = io.BytesIO()
with zipfile.ZipFile(BOMB, "w") as archive:
    archive.writestr("x.npy", HEADER.getvalue() + b"0" * 64)


def _packed(save=np.savez, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


# A name, what is in the file, and the shape of x or the words of the refusal.
FILES = {
    "an array": ("a.npy", PLAIN.getvalue(), (100, 2)),
    "an archive": ("a.npz", _packed(x=ONES), (2, 3)),
    "a packed archive": ("a.npz", _packed(np.savez_compressed, x=ONES), (2, 3)),
    "a sparse archive": (
        "a.npz",
        _packed(lambda f, x: sp.save_npz(f, x), x=sp.csr_matrix(ONES)),
        (2, 3),
    ),
    "channels last": ("a.npz", _packed(x=np.ones((2, 8, 9, 3))), (2, 3, 8, 9)),
    "grey pictures": ("a.npz", _packed(x=np.ones((2, 8, 9))), (2, 1, 8, 9)),
    "spectra": ("a.npz", _packed(x=np.ones((2, 1, 90))), (2, 1, 90)),
    "volumes": ("a.npz", _packed(x=np.ones((2, 1, 3, 4, 5))), (2, 1, 3, 4, 5)),
    "an array, cut off": ("a.npy", PLAIN.getvalue()[:-100], "cannot be read"),
    "an archive, cut off": ("a.npz", _packed(x=ONES)[:-60], "cannot be read"),
    "an empty array": ("a.npy", b"", "it is empty"),
    "an empty archive": ("a.npz", b"", "it is empty"),
    "text called .npy": ("a.npy", b"a,b\n1,2\n", "no NumPy file"),
    "text called .npz": ("a.npz", b"a,b\n1,2\n", "no NumPy file"),
    "a picture called .npy": ("a.npy", b"\x89PNG\r\n\x1a\n" + b"0" * 99, "no NumPy file"),
    "an array called .npz": ("a.npz", PLAIN.getvalue(), "should end in .npy"),
    "an archive called .npy": ("a.npy", _packed(x=ONES), "should end in .npz"),
    "objects": ("a.npz", _packed(x=RAGGED), "Object arrays"),
    "an archive larger than memory": ("a.npz", BOMB.getvalue(), "cannot be read|fit into memory"),
    "one number per row": ("a.npz", _packed(x=np.arange(4.0)), (4, 1)),
    "a number beside": ("a.npz", _packed(x=ONES, n=np.array(3)), (2, 3)),
    "a single class": ("a.npz", _packed(x=ONES, y=np.array(3)), "one row per datum"),
    "no such kind": ("a.mat", b"abc", "got '.mat'"),
    "a pickle": ("a.pkl", b"abc", "got '.pkl'"),
    "no suffix": ("a", b"abc", "no suffix"),
    "text called .h5ad": ("a.h5ad", b"abc", "cannot be read|anndata"),
}


@pytest.mark.parametrize("kind", FILES)
def test_files(tmp_path, kind):
    name, content, expected = FILES[kind]
    (tmp_path / name).write_bytes(content)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            data.files.rows(tmp_path / name)
        return
    assert tuple(data.files.rows(tmp_path / name)["x"].shape) == expected


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_a_nested_tensor_is_refused():
    with pytest.raises(DataError, match="to_padded_tensor"):
        Dataset({"x": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])})


@pytest.mark.parametrize("shape", [(4, 8, 9, 3), (4, 8, 9), (4, 3, 8, 9)])
def test_a_mask_and_a_source_have_the_axes_of_x(tmp_path, shape):
    x = np.random.default_rng(0).random(shape)
    np.savez(tmp_path / "a.npz", x=x, mask=x > 0.5, source=x)
    read = data.npz(tmp_path / "a.npz")
    assert read["source"].shape == read["x"].shape
    seen = np.where(read["source"] > 0.5, read["source"], np.nan)
    np.testing.assert_array_equal(read["x"].numpy(), seen)


def test_hdf5_files_are_read_as_archives(tmp_path):
    h5py = pytest.importorskip("h5py")
    columns = {"x": np.ones((4, 8, 9, 3)), "Split": np.array(["train", "test", "val", "train"])}
    np.savez(tmp_path / "a.npz", **columns)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = columns["x"]
        file["Split"] = columns["Split"].astype("S5")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("x", data=columns["x"])
        file["Split"] = columns["Split"].astype(object)
    parts = [data.load(tmp_path / f"a.{suffix}") for suffix in ("npz", "h5", "hdf5")]
    for splits in parts:
        assert splits.train["x"].shape == (2, 3, 8, 9)
        assert [part.num_rows for part in splits] == [2, 1, 1]
        assert "split: from the array 'Split'" in splits.notes
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["images"] = np.ones((40, 8, 9))
    with pytest.raises(DataError, match=r"data set x, or one with shape.*\['images'\]"):
        data.load(tmp_path / "b.h5")


X = torch.ones(4, 2)


class _Rows(torch.utils.data.Dataset):
    def __getitem__(self, i):
        return X[i], i


class _Polars:
    def to_pandas(self): ...


# What is handed to fit: rows to train on, or the words of the refusal.
HANDED = {
    "a tensor": (X, 4),
    "an array": (X.numpy(), 4),
    "a sparse matrix": (sp.csr_array(X.numpy()), 4),
    "a mapping": ({"x": X}, 4),
    "a dataset": (Dataset({"x": X}), 4),
    "splits of mappings": (Splits({"x": X}, None, {"x": X}), 4),
    "a mapping of parts": ({"train": {"x": X}, "test": Dataset({"x": X[:2]})}, 4),
    "a TensorDataset": (TensorDataset(X), 4),
    "a DataFrame": (pd.DataFrame({"a": [1.0, 2], "b": [1, 2]}), 2),
    "a series": (pd.Series([1.0, 2]), r"pandas.Series. Make a table of it: data.to_frame\(\)"),
    "a frame of others": (_Polars(), r"data.to_pandas\(\)"),
    "two tensors": (TensorDataset(X, X), r"'x': data.tensors\[0\], 'y': data.tensors\[1\]\}"),
    "a loader": (DataLoader(TensorDataset(X)), "torch.cat"),
    "a dataset of torch": (_Rows(), "torch.stack"),
    "a tuple": ((X, X), "Name the columns"),
    "a tuple of datasets": ((Dataset({"x": X}), Dataset({"x": X})), "Splits"),
    "a path": ("a.csv", "ppvae.data.load"),
    "a function": (lambda: X, "Call it"),
    "an iterator": (iter([X]), "torch.stack"),
    "nothing": (None, "expected Splits"),
    "a module": (torch.nn.Linear(1, 1), "order of the arguments"),
}


@pytest.mark.parametrize("kind", HANDED)
def test_what_is_handed_to_fit(kind):
    value, expected = HANDED[kind]
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            as_splits(value)
        return
    assert as_splits(value).train.num_rows == expected


def test_columns_of_new_data_are_matched_by_what_a_run_knows(tmp_path):
    like = {"y": {"classes": 3}, "c": {"classes": None, "unit": "nm"}, "x": {"shape": [3]}}

    def read(**columns):
        np.savez(tmp_path / "a.npz", x=ONES, **columns)
        return data.npz(tmp_path / "a.npz", like=like)

    assert read(y=np.array([0, 2]))["y"].tolist() == [0, 2]
    assert read(c=np.array(["5nm", "6nm"]))["c"].tolist() == [5, 6]
    for y in (np.array(["a", "b"]), np.array([0, 7]), np.array([0, 1000])):
        with pytest.raises(DataError, match="0, 1, 2 that the run was fitted with"):
            read(y=y)
    with pytest.raises(DataError, match="expected numbers in nm.*got um"):
        read(c=np.array(["5um", "6um"]))
    spec = {"x": {"shape": [4]}, "y": {"classes": 2}}
    with pytest.raises(DataError, match=r"x with shape \[4\] per datum.*got \[3\]"):
        data.files.refuse_unlike("a.npz", Dataset({"x": ONES}), spec)
    with pytest.raises(DataError, match="y below 2"):
        data.files.refuse_unlike("a.npz", Dataset({"x": np.ones((2, 4)), "y": [0, 2]}), spec)


def test_numbers_that_float32_makes_equal_are_refused_where_a_model_is_fitted():
    from ppvae.guides import AmortizedGuide
    from ppvae.models import VAE
    from ppvae.nets import MLP, heads

    seconds = np.stack([np.arange(20.0), 1.7e9 + np.arange(20)], 1)
    model = VAE(MLP(1, heads.Normal((2,), heads.Shared()), hidden=[2]), latent_dim=1)
    guide = AmortizedGuide(MLP(2, heads.DiagonalNormal(1), hidden=[2], in_shape=(2,)))
    with pytest.raises(DataError, match="become equal"):
        ppvae.fit(model.float(), guide.float(), {"x": seconds}, epochs=1, progress=False)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8"]),
    st.sampled_from("<>"),
    st.lists(st.integers(0, 100), min_size=4, max_size=4),
    st.booleans(),
)
def test_types_and_byte_orders_keep_their_values(tmp_path_factory, kind, order, numbers, fortran):
    array = np.array(numbers).reshape(2, 2).astype(np.dtype(kind).newbyteorder(order))
    folder = tmp_path_factory.mktemp("a")
    np.save(folder / "a.npy", np.asfortranarray(array) if fortran else array)
    np.savez(folder / "a.npz", x=array)
    scale = 255 if kind == "u1" else 1
    for read in (Dataset({"x": array}), data.npy(folder / "a.npy"), data.npz(folder / "a.npz")):
        x = read.batch(slice(None), dtype=torch.float64)["x"]
        np.testing.assert_allclose(x.numpy(), array.astype(float) / scale, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((9, 9, 9), True), ((4, 4, 4), True), ((32, 3, 32), True), ((3, 8, 9), False)],
)
def test_channels_that_may_be_another_axis_are_said(tmp_path, shape, said):
    np.savez(tmp_path / "a.npz", x=np.ones((2, *shape)))
    read = data.load(tmp_path / "a.npz", seed=None).train
    assert read["x"].shape == (2, *shape)
    note = f"x: channels first, {shape[0]} of {shape[1]} x {shape[2]}"
    assert any(text.startswith(note) for text in read.notes) == said


@pytest.mark.parametrize("other", ["README.txt", ".DS_Store", "._x.npy"])
def test_files_among_arrays_that_are_none_are_left_out_with_a_note(tmp_path, other):
    packed = io.BytesIO()
    np.save(packed, ONES)
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr(other, "Made on a Monday.")
    with pytest.raises(DataError, match=r"d\.npz: expected a NumPy archive of arrays; got '"):
        data.load(tmp_path / "d.npz")
    with zipfile.ZipFile(tmp_path / "d.npz", "a") as archive:
        archive.writestr("x.npy", packed.getvalue())
    found = data.npz(tmp_path / "d.npz")
    assert set(found) == {"x"}
    assert any("left out, as no arrays" in note for note in found.notes)


def test_empty_sets_of_hdf5_are_no_columns(tmp_path):
    import h5py

    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"] = ONES
        file["note"] = h5py.Empty("f")
    assert set(data.h5(tmp_path / "d.h5")) == {"x"}
