"""What people's files look like: read right, with a note, or refused in words."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.sparse import csr_array

from ppvae import data
from ppvae.data import Dataset, Splits, as_splits
from ppvae.data.columns import COLUMNS, markdown
from ppvae.data.words import PARTS, split_codes
from ppvae.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_has_the_table_of_columns():
    assert markdown() in (ROOT / "README.md").read_text("utf-8")
    assert {row.flag for row in COLUMNS.values()} >= {"--classes", "--objects", "--views"}


def _folder(tmp_path, pictures):
    for name, picture in pictures.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return tmp_path


# Pictures: mode of Pillow, suffix, array to write, values that a model gets.
RAMP = np.arange(64).reshape(8, 8)


@pytest.mark.parametrize(
    ("mode", "suffix", "array", "expected"),
    [
        ("1", "png", (RAMP % 2).astype(bool), RAMP % 2),
        ("L", "png", (RAMP * 4).astype(np.uint8), RAMP * 4 / 255),
        ("I;16", "png", (RAMP * 64).astype(np.uint16), RAMP * 64 / 65535),
        ("I;16", "tif", (RAMP * 1000).astype(np.uint16), RAMP * 1000 / 65535),
        ("I;16B", "tif", (RAMP * 1000).astype(">u2"), RAMP * 1000 / 65535),
        ("I", "tif", (RAMP * 100_000).astype(np.int32), RAMP * 100_000),
        ("F", "tif", (RAMP - 9.5).astype(np.float32), RAMP - 9.5),
    ],
)
def test_every_mode_keeps_its_values(tmp_path, mode, suffix, array, expected):
    picture = Image.fromarray(array)
    if mode == "I;16B":
        picture = Image.frombytes("I;16B", (8, 8), array.tobytes())
    read = data.images(_folder(tmp_path, {f"a.{suffix}": picture}))
    x = read.batch(slice(None), dtype=torch.float64)["x"]
    np.testing.assert_allclose(x[0, 0].numpy(), expected, rtol=1e-6)
    assert any("scaled" in note or "as they are" in note for note in read.notes)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 60_000), st.integers(1, 5_000), st.integers(0, 2**32 - 1))
def test_a_stated_range_becomes_zero_and_one(tmp_path_factory, low, width, seed):
    values = np.random.default_rng(seed).integers(low, low + width + 1, (4, 4)).astype(np.uint16)
    folder = _folder(tmp_path_factory.mktemp("p"), {"a.png": Image.fromarray(values)})
    x = data.images(folder, range=(low, low + width))["x"]
    np.testing.assert_allclose(x[0, 0], (values.astype(float) - low) / width, atol=1e-6)


def test_colour_and_transparency_are_decided_by_all_files(tmp_path):
    grey = Image.fromarray((RAMP * 4).astype(np.uint8))
    for i, mode in enumerate(("L", "LA", "P")):
        assert data.images(_folder(tmp_path / str(i), {"a.png": grey.convert(mode)}))[
            "x"
        ].shape == (1, 1, 8, 8)
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    read = data.images(_folder(tmp_path / "c", {"a.png": grey, "b.png": red}))
    assert read["x"].shape == (2, 3, 8, 8)
    assert read["x"][1, :, 0, 0].tolist() == [255, 0, 0]
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 7))
    assert data.images(_folder(tmp_path / "d", {"a.png": grey, "b.png": half}))["x"].shape[1] == 4
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    read = data.images(_folder(tmp_path / "e", {"a.tif": ink}))
    assert any("CMYK" in note for note in read.notes)


def test_pages_orientation_and_hidden_files(tmp_path):
    pages = [Image.fromarray(np.full((8, 8), 10 * i, np.uint8)) for i in range(4)]
    (tmp_path / "s").mkdir()
    pages[0].save(tmp_path / "s/a.tif", save_all=True, append_images=pages[1:])
    stack = data.images(tmp_path / "s")
    assert stack["x"][:, 0, 0, 0].tolist() == [0, 10, 20, 30]
    assert stack.row_names.tolist() == [f"a.tif[{i}]" for i in range(4)]
    assert any("row" in note for note in stack.notes)
    wide = np.zeros((8, 16), np.uint8)
    wide[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "o").mkdir()
    Image.fromarray(wide).save(tmp_path / "o/a.png", exif=exif.tobytes())
    (tmp_path / "o/._a.png").write_bytes(b"\0\5")
    _folder(tmp_path / "o", {".cache/b.png": pages[0]})
    turned = data.images(tmp_path / "o")
    assert turned["x"].shape == (1, 1, 16, 8)
    assert turned["x"][0, 0, 0].min() == 255
    assert any("2 hidden" in note for note in turned.notes)


def test_sizes_and_huge_pictures(tmp_path, monkeypatch):
    pictures = {"a.png": Image.new("L", (8, 8)), "b.png": Image.new("L", (9, 8))}
    folder = _folder(tmp_path / "a", pictures)
    with pytest.raises(DataError, match=r"size=\(height, width\).*--crop"):
        data.images(folder)
    assert data.images(folder, size=(4, 4), crop=True)["x"].shape == (2, 1, 4, 4)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    huge = _folder(tmp_path / "h", {"a.png": Image.new("L", (20, 20))})
    with pytest.raises(DataError, match="at most 60 pixels"):
        data.images(huge)
    assert data.images(huge, size=(2, 2))["x"].shape == (1, 1, 2, 2)
    assert Image.MAX_IMAGE_PIXELS == 60


def test_labels_by_path_then_by_unique_name(tmp_path):
    grey = Image.new("L", (4, 4))
    folder = _folder(tmp_path / "p", {"a/1.png": grey, "b/1.png": grey, "b/2.png": grey})
    table = tmp_path / "l.csv"
    table.write_text("file;class\nb/1.png;0\na/1.png;1\n2.png;-1\n")
    read = data.images(folder, labels=table)
    assert read["y"].tolist() == [1, 0, -1]
    table.write_text("file,y,c\nb/1.png,cat,1\na/1.png,,2\n2.png,dog,3\n")
    read = data.images(folder, labels=table)
    assert read["y"].tolist() == [-1, 0, 1]
    assert read.names["y"] == ("cat", "dog")
    assert read["c"].tolist() == [2, 1, 3]
    table.write_text("file,class\n1.png,0\n2.png,1\n")
    with pytest.raises(DataError, match="stands for several files"):
        data.images(folder, labels=table)
    table.write_text("file,class\na/1.png,0\na/1.png,1\nb/1.png,0\n2.png,1\n")
    with pytest.raises(DataError, match="expected one label for a/1.png"):
        data.images(folder, labels=table)


def test_folders_of_splits_above_folders_of_classes(tmp_path):
    grey = Image.new("L", (4, 4))
    names = ("Training/cat/1.png", "Training/dog/1.png", "val/dog/1.png", "TEST/cat/1.png")
    train, validation, test = data.load(_folder(tmp_path / "p", dict.fromkeys(names, grey)))
    assert [part["y"].tolist() for part in (train, validation, test)] == [[0, 1], [1], [0]]
    assert train.spec["y"]["classes"] == 2
    with pytest.raises(DataError, match=r"got \['cats'\]"):
        data.images(_folder(tmp_path / "p", {"cats/1.png": grey}))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=8), st.data())
def test_words_of_a_split_are_taken_by_meaning(words, draw):
    cased = [draw.draw(st.sampled_from([w, w.upper(), w.title()])) for w in words]
    assert split_codes(np.array(cased), "t")[0].tolist() == [PARTS[w] for w in words]


@pytest.mark.parametrize("values", [["train", "tset"], [0, 0.5], [0, 3], [[0, 1], [1, 0]], [True]])
def test_other_splits_are_refused(values):
    with pytest.raises(DataError, match="split"):
        split_codes(np.array(values), "t")


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_separators_and_decimal_signs_are_found(tmp_path, sep, decimal):
    if sep == decimal:
        return
    rows = [[1.25, -2.5], [3.75, 4.0], [5.25, 6.5]]
    lines = [sep.join(str(v).replace(".", decimal) for v in row) for row in rows]
    text = "\n".join([f"a{sep}b", *lines])
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    read = data.table(tmp_path / "t.csv.gz")
    assert read["x"].tolist() == rows
    assert read.names["x"] == ("a", "b")
    assert any("fields between" in note for note in read.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2,3\n4,5,6\n", "expected 2 fields per row"),
        ("a,b\n1,2\n?,3\n4,5\n", r"column 'a'; got '\?' in row 1"),
        ("a,a\n1,2\n3,4\n", "name of its own"),
        ("1.5,1.5\n3,4\n", "names of the columns in the first line"),
        ("a,c\n1,lo\n2,hi\n", "column 'c': expected numbers"),
        ("a,view\n1,15deg\n2,3rad\n", "in one unit"),
        ("a,y\n1,0.5\n2,1\n", "whole numbers"),
        ("a,split\n1,train\n2,tset\n", "train, validation, test"),
        ("a\n", "at least one row"),
    ],
)
def test_tables_that_cannot_be_read_right_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        data.load(tmp_path / "t.csv")


def test_columns_of_a_table_are_what_they_are_called(tmp_path):
    (tmp_path / "t.csv").write_text(
        ",g,h,cell,flag,y,object,view,c\n"
        "7,1,2,a,True,T,m2,0deg,1\n9,3,4,b,False,,m1,15deg,\n8,5,6,c,True,B,m1,30deg,2\n"
    )
    read = data.table(tmp_path / "t.csv", missing_ok=["c"])
    assert read["x"].tolist() == [[1, 2, 1], [3, 4, 0], [5, 6, 1]]
    assert read["y"].tolist() == [1, -1, 0]
    assert read["object"].tolist() == [1, 0, 0]
    assert read["view"].tolist() == [0, 15, 30]
    assert read["c"].isnan().tolist() == [False, True, False]
    assert read.row_names.tolist() == ["7", "9", "8"]
    assert read.spec["view"]["unit"] == "deg"
    assert read.spec["y"]["names"] == ["B", "T"]
    notes = "\n".join(read.notes)
    for words in ("numbers the rows", "text cell", "flag: false is 0", "y: B, T numbered"):
        assert words in notes
    assert read.take([2]).row_names.tolist() == ["8"]


def test_whole_numbers_with_missing_values_dates_and_durations(tmp_path):
    frame = pd.DataFrame({"a": pd.array([1, 2, None], dtype="Int64"), "y": ["u", None, "v"]})
    read = as_splits(frame.assign(a=[1, 2, 3])).train
    assert read["y"].tolist() == [0, -1, 1]
    with pytest.raises(DataError, match="NaN or infinity in row 2"):
        as_splits(frame)
    for values in (pd.to_timedelta([1, 2], unit="s"), pd.to_datetime(["2020-01-01"] * 2)):
        with pytest.raises(DataError, match="total_seconds"):
            as_splits(pd.DataFrame({"a": values}))


@settings(max_examples=12, deadline=None)
@given(st.permutations(list("pqrs")), st.permutations(["B", "NK", "T"]), st.integers(1, 3))
def test_new_tables_are_matched_by_name(tmp_path_factory, order, labels, kept):
    folder = tmp_path_factory.mktemp("t")
    frame = pd.DataFrame(np.arange(12.0).reshape(3, 4), columns=list("pqrs"))
    frame["y"] = ["B", "NK", "T"]
    frame.to_csv(folder / "t.csv", index=False)
    spec = data.table(folder / "t.csv").spec
    new = frame[[*order, "y"]].set_index("y", drop=False).loc[labels[:kept]]
    new.to_csv(folder / "q.csv", index=False)
    read = data.load(folder / "q.csv", like=spec, seed=0).train
    names = [str(spec["y"]["names"][i]) for i in read["y"]]
    for row, name in zip(read["x"], names, strict=True):
        assert row.tolist() == frame.set_index("y").loc[name, list("pqrs")].tolist()


def test_new_data_lack_a_feature_or_have_another_class(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0], "y": ["u", "v"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    spec = data.table(tmp_path / "t.csv").spec
    frame[["a", "y"]].to_csv(tmp_path / "q.csv", index=False)
    with pytest.raises(DataError, match=r"missing \['b'\]"):
        data.table(tmp_path / "q.csv", like=spec)
    frame.assign(y=["u", "w"]).to_csv(tmp_path / "q.csv", index=False)
    with pytest.raises(DataError, match="fitted with; got w"):
        data.table(tmp_path / "q.csv", like=spec)
    a, b = Dataset({"x": [0.0]}), data.table(tmp_path / "t.csv")
    test = data.table(tmp_path / "q.csv").take([0])
    assert as_splits(Splits(b, None, test)).test["y"].tolist() == [0]
    assert as_splits(Splits(a)).train is a


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([">f4", ">f8", "<f2", ">i2", "<u2", ">u4", "<i8", "?", "<u4"]),
    st.booleans(),
    st.booleans(),
)
def test_any_number_is_read_by_any_way(tmp_path_factory, dtype, fortran, mapped):
    values = np.arange(12).reshape(4, 3) % (2 if dtype == "?" else 12)
    array = values.astype(dtype, order="F" if fortran else "C")
    path = tmp_path_factory.mktemp("a") / "x.npy"
    np.save(path, array)
    read = data.npy(path) if mapped else Dataset({"x": array})
    x = read.take([3, 1]).batch(slice(None), dtype=torch.float64)["x"]
    assert x.tolist() == values[[3, 1]].tolist()


def test_a_file_without_features_and_a_view_of_negated_numbers(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 0)))
    with pytest.raises(DataError, match=r"got the shape \(3, 0\)"):
        data.npy(tmp_path / "x.npy")
    imaginary = (torch.ones(2, 3) + 2j).conj().imag  # torch negates it when it is read
    assert Dataset({"x": imaginary})["x"].numpy().tolist() == [[-2.0] * 3] * 2


def test_rows_of_training_that_are_in_other_parts_are_counted(tmp_path):
    x = np.random.default_rng(0).random((8, 16), np.float32)
    x[7] = x[0]
    np.savez(tmp_path / "t.npz", x=x, split=[0, 0, 0, 0, 1, 1, 2, 2])
    note = "x: 1 of 4 rows of validation and test are rows of training, too"
    assert note in data.load(tmp_path / "t.npz").train.notes
    np.savez(tmp_path / "t.npz", x=x[:7], split=[0, 0, 0, 0, 1, 1, 2])
    assert not any("rows of training" in n for n in data.load(tmp_path / "t.npz").train.notes)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", np.ones((2, 2)) * 1j, "real numbers"),
        ("x", torch.ones(2) * 1j, "real numbers"),
        ("x", np.array([["a"], ["b"]]), "text"),
        ("x", np.array([object(), 1]), "dtype object"),
        ("x", np.zeros(2, [("a", "f4"), ("b", "f4")]), r"fields \['a', 'b'\]"),
        ("x", np.ma.masked_equal([[1.0], [9.0]], 9), "1 hidden values"),
        ("x", np.array(["2020-01-01"], "M8[s]"), "dates or durations"),
        ("x", [[1.0], [2.0, 3.0]], "ragged"),
        ("x", np.zeros((3, 0)), r"the shape \(3, 0\)"),
        ("y", np.zeros((3, 2)), "several ones, or none"),
        ("y", np.full((3, 2), 5), r"shape \(N\); got \(N, 2\)"),
    ],
)
def test_what_is_no_column_is_refused_by_name(name, value, message):
    with pytest.raises(DataError, match=f"column '{name}'.*{message}"):
        Dataset({name: value})


def test_labels_as_a_column_or_one_hot_and_masked():
    y = np.array([2, 0, 1])
    for value in (y[:, None], np.eye(3)[y], np.eye(3)[y].astype(bool)):
        read = Dataset({"y": value})
        assert read["y"].tolist() == [2, 0, 1]
        assert any("taken as" in note for note in read.notes)
    assert Dataset({"y": np.ma.masked_equal(y, 1)})["y"].tolist() == [2, 0, -1]
    hidden = Dataset({"x": np.ma.masked_equal([1.0, 9.0], 9)}, missing_ok=["x"])
    assert hidden["x"].isnan().tolist() == [False, True]


def test_only_x_and_source_are_intensities():
    values = np.arange(8, dtype=np.uint8)
    read = Dataset(dict.fromkeys(("x", "source", "c", "view", "y", "own"), values))
    batch = read.batch(slice(None))
    for name in ("c", "view", "y", "own"):
        assert batch[name].tolist() == list(range(8))
    for name in ("x", "source"):
        torch.testing.assert_close(batch[name], torch.arange(8, dtype=torch.float32) / 255)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((12, 12), (1, 12, 12)),
        ((12, 12, 3), (3, 12, 12)),
        ((32, 32, 5), (5, 32, 32)),
        ((2, 32, 32), (2, 32, 32)),
        ((3, 9, 4), (3, 9, 4)),
        ((3, 40), (3, 40)),
    ],
)
def test_channels_last_are_moved_alike_in_every_file(tmp_path, suffix, shape, expected):
    x = np.random.default_rng(0).random((9, *shape)).astype(np.float32)
    path = tmp_path / f"x.{suffix}"
    if suffix == "npz":
        np.savez(path, x=x)
    else:
        np.save(path, x)
    read = data.load(path).train
    assert tuple(read["x"].shape[1:]) == expected
    assert read.mapped == (suffix == "npy")
    # Left alone in silence only where the last axis cannot be of channels.
    said = shape != expected or shape == (3, 9, 4)
    assert said == any(note.startswith("x:") for note in read.notes)


def test_text_labels_and_sparse_class_numbers_in_an_archive(tmp_path):
    y = np.array(["T", "B", "", "NK"])
    np.savez(tmp_path / "t.npz", x=np.zeros((4, 2)), y=y, object=[3003, 1001, 1001, 2002])
    read = data.npz(tmp_path / "t.npz")
    assert read["y"].tolist() == [2, 0, -1, 1]
    assert read["object"].tolist() == [2, 0, 0, 1]
    assert read.names == {"y": ("B", "NK", "T"), "object": ("1001", "2002", "3003")}


def test_a_split_of_a_mapped_array_copies_nothing(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (200, 6)).astype(np.uint8)
    np.save(tmp_path / "x.npy", array)
    parts = data.load(tmp_path / "x.npy")
    assert all(part.mapped and part["x"].source.filename for part in parts)
    both = torch.cat([part.read(slice(None))["x"] for part in parts])
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, array.tolist()))
    again = parts.train.take([5]).take([0]).read(slice(None))["x"]
    assert torch.equal(again, parts.train.read(torch.tensor([5]))["x"])


@pytest.mark.parametrize("shape", [(30, 6), (30, 9, 8), (30, 9, 8, 3), (30, 2, 5, 4)])
def test_a_zarr_folder_is_read_by_rows_as_an_archive_is(tmp_path, shape):
    zarr = pytest.importorskip("zarr", minversion="3")
    x = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    columns = {"x": x, "y": np.arange(30) % 3}
    group = zarr.open_group(tmp_path / "d.zarr", mode="w")
    for name, values in columns.items():
        group.create_array(name, shape=values.shape, dtype=values.dtype)[...] = values
    np.savez(tmp_path / "d.npz", **columns)
    read, expected = data.load(tmp_path / "d.zarr"), data.load(tmp_path / "d.npz")
    assert "mapped, read by rows" in str(data.describe(read))
    assert read.notes == expected.notes
    for part, other in zip(read, expected, strict=True):
        assert part.mapped
        assert not other.mapped
        for rows in (slice(None), torch.tensor([2, 0, 2])):
            batch, same = part.batch(rows), other.batch(rows)
            assert torch.equal(batch["x"], same["x"])
            assert torch.equal(batch["y"], same["y"])
    x = zarr.open_array(tmp_path / "x.zarr", mode="w", shape=(30, 2), dtype="f4")
    x[...] = np.nan
    with pytest.raises(DataError, match="expected finite numbers"):
        data.load(tmp_path / "x.zarr")
    (tmp_path / "no.zarr").mkdir()
    with pytest.raises(DataError, match="expected a zarr array or group"):
        data.load(tmp_path / "no.zarr")


@pytest.mark.parametrize("missing", [False, True])
def test_a_large_parquet_file_is_read_by_batches_as_a_small_one(tmp_path, monkeypatch, missing):
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "g.1": rng.normal(size=20).astype(np.float32),
            "id": [f"r{i}" for i in range(20)],
            "near": 1e6 + rng.normal(size=20),
            "whole": pd.array([1, None] * 10 if missing else [1, 2] * 10, dtype="Int64"),
            "text": ["u"] * 20,
            "flag": [True, False] * 10,
            "y": ["p", "q"] * 10,
            "c": rng.normal(size=20),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=6)
    chosen = [{}] if missing else [{}, {"x": ["near", "g.1"], "c": ["c", "whole"]}]
    for how in chosen:
        small = data.table(tmp_path / "t.parquet", missing_ok=("x",), **how)
        with monkeypatch.context() as patch:
            patch.setattr("ppvae.data.parquet.LARGE", 0)
            patch.setattr("ppvae.data.parquet.BATCH", 20)
            large = data.table(tmp_path / "t.parquet", missing_ok=("x",), **how)
        assert any("rows at a time" in note for note in large.notes)
        assert large.names == small.names
        assert list(large) == list(small)
        for name in small:
            np.testing.assert_array_equal(large[name], small[name])
            assert large[name].dtype == small[name].dtype


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (torch.utils.data.TensorDataset(torch.ones(2, 1), torch.ones(2)), "'y': data.tensors"),
        (
            torch.utils.data.DataLoader([0.0, 1.0]),
            "torch.cat",
        ),
        ((torch.ones(2), torch.ones(2)), "'y': data"),
        ("file.csv", "ppvae.data.load"),
        (None, "Dataset"),
    ],
)
def test_other_inputs_are_refused_with_the_line_that_converts(value, remedy):
    with pytest.raises(DataError, match=remedy):
        as_splits(value)
    x = torch.ones(2, 3)
    for given_ in (x, x.numpy(), torch.utils.data.TensorDataset(x), pd.DataFrame(x.numpy())):
        assert as_splits(given_).train["x"].shape == (2, 3)


def test_a_description_says_rows_ranges_classes_and_likelihoods(tmp_path):
    (tmp_path / "t.csv").write_text(
        "a,b,y\n" + "".join(f"{i},{i % 3},k{i % 2}\n" for i in range(20))
    )
    described = data.describe(data.load(tmp_path / "t.csv"))
    assert described.rows == {"train": 16, "validation": 2, "test": 2}
    assert described.columns["y"]["classes"] == {"k0": 10, "k1": 10}
    assert (described.columns["x"]["least"], described.columns["x"]["most"]) == (0, 19)
    assert described.likelihoods[0] == "negative-binomial"
    for words in ("rows: 20", "k0 (10)", "names: a, b", "at random", "likelihoods that suit x"):
        assert words in str(described)
    pixels = Dataset({"x": np.full((2, 1, 4, 4), 255, np.uint8)})
    assert data.describe(pixels).likelihoods == ("bernoulli",)
    assert "scaling: 0 to 255" in str(data.describe(pixels))
    assert "read: in memory, 32 bytes" in str(data.describe(pixels))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0, 1, 2.5, 7]), min_size=3, max_size=3), min_size=1))
def test_a_sparse_matrix_is_described_as_the_dense_one(rows):
    x = np.array(rows)
    dense, sparse = (data.describe({"x": values}) for values in (x, csr_array(x)))
    assert sparse.columns["x"].pop("storage").startswith("sparse in memory")
    dense.columns["x"].pop("storage")
    means = [facts.columns["x"].pop("mean") for facts in (dense, sparse)]
    assert means[0] == pytest.approx(means[1])
    assert sparse.columns["x"] == dense.columns["x"]
    assert sparse.likelihoods == dense.likelihoods
