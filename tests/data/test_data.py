"""Datasets: the embedded ones, the files, and what they refuse."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
import torch

from ppvae import data
from ppvae.data import Dataset
from ppvae.data.mapped import MappedRows
from ppvae.data.record import Record
from ppvae.errors import DataError


def test_the_published_protocol_has_its_counts_and_its_baselines():
    train, valid, test = data.rotated_digits()
    assert (train.num_rows, valid.num_rows, test.num_rows) == (4050, 450, 270)
    assert len(train["view"].unique()) == 15
    assert torch.bincount((train["view"] / (math.pi / 8)).round().long())[7] == 0
    torch.testing.assert_close(
        test["view"].unique(), torch.tensor([math.radians(157.5)], dtype=torch.float32)
    )
    x = test["x"]
    assert x.dtype == torch.float32
    assert x.min() < -0.1
    mean_of_training = (x - train["x"].mean(0)).square().mean()
    mean_of_view = (x - x.mean(0)).square().mean()
    assert abs(float(mean_of_training) - 0.0780) < 0.0015
    assert abs(float(mean_of_view) - 0.0551) < 0.0015
    pairs = []
    for i, item in enumerate(test["object"]):
        same = train["object"] == item
        gap = (train["view"][same] - test["view"][i]).abs()
        if gap.min() < 0.4:
            nearest = train["x"][same][gap.argmin()]
            pairs.append((nearest - x[i]).square().mean())
    assert len(pairs) > 200
    assert abs(float(torch.stack(pairs).mean()) - 0.0882) < 0.004


def test_the_splits_share_no_image_and_repeat_with_the_seed():
    splits = data.rotated_digits()
    cells = [
        {(int(o), round(float(v), 3)) for o, v in zip(s["object"], s["view"], strict=True)}
        for s in splits
    ]
    assert sum(len(c) for c in cells) == len(set.union(*cells)) == 4050 + 450 + 270
    before = torch.get_rng_state()
    again = data.rotated_digits()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(splits, again, strict=True))
    other = data.rotated_digits(seed=1)
    assert not torch.equal(other.train["object"], splits.train["object"])


def test_digits_and_posed_digits():
    train, valid, test = data.digits()
    assert [s.num_rows for s in (train, valid, test)] == [5000, 500, 1000]
    assert torch.equal(torch.bincount(train["y"]), torch.full((10,), 500))
    still = data.posed_digits(3, rotation=0, shift=0).test
    assert torch.equal(still["x"], test.take(test["y"] == 3)["x"])
    posed = data.posed_digits(3, rotation=math.pi, shift=0.2, scale=0.1)
    assert posed.train["angle"].abs().max() > 3
    assert posed.train["shift"].shape == (500, 2)


def _centre(image):
    image = image.double() / image.double().sum()
    ys, xs = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    return (image * xs).sum(), (image * ys).sum()


def test_a_pose_moves_right_and_up_and_turns_counter_clockwise():
    from ppvae.data.digits import _pose

    dot = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    dot[0, 0, 13:15, 20:22] = 255  # right of the centre
    one, zero = torch.ones(1), torch.zeros(1)
    x0, y0 = _centre(dot[0, 0])
    x1, y1 = _centre(_pose(dot, zero, torch.tensor([[0.1, 0.2]]), one)[0, 0])
    torch.testing.assert_close(x1 - x0, torch.tensor(1.4), atol=0.05, rtol=0)
    torch.testing.assert_close(y1 - y0, torch.tensor(-2.8), atol=0.05, rtol=0)
    x2, y2 = _centre(_pose(dot, torch.tensor([math.pi / 2]), torch.zeros(1, 2), one)[0, 0])
    assert abs(x2 - 13.5) < 0.2
    assert y2 < 8
    x3, _ = _centre(_pose(dot, zero, torch.zeros(1, 2), 0.5 * one)[0, 0])
    torch.testing.assert_close(x3 - 13.5, (x0 - 13.5) / 2, atol=0.1, rtol=0)


def test_batches_scale_intensities_and_keep_ids():
    d = Dataset({"x": np.full((4, 1, 2, 2), 255, np.uint8), "y": [0, 1, -1, 2], "c": [0.5] * 4})
    assert d["x"].dtype == torch.uint8
    batch = d.batch(torch.tensor([2, 0]))
    assert batch["x"].dtype == torch.float32
    assert batch["x"].max() == 1
    assert batch["y"].tolist() == [-1, 0]
    assert d.spec["y"] == {"shape": [], "dtype": "int64", "classes": 3}
    assert d.select("c").spec["c"]["classes"] is None
    assert "4 rows" in repr(d)
    assert d.take(d["y"] >= 0).num_rows == 3


def test_whole_numbers_that_are_measured_become_floats():
    d = Dataset({"x": np.array([[3], [700]]), "c": [1, 2], "view": [0, 1], "object": [0, 1]})
    batch = d.batch(slice(None))
    assert batch["x"].tolist() == [[3.0], [700.0]]
    assert {batch[name].dtype for name in ("x", "c", "view")} == {torch.float32}
    assert batch["object"].dtype == torch.int64


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "at least one column"),
        ({"x": np.zeros((3, 2)), "y": [0, 1]}, r"one length; got \{'x': 3, 'y': 2\}"),
        ({"x": np.zeros((0, 2))}, "at least one row"),
        ({"x": 1.0}, "one row per datum"),
        ({"x": np.array([[1.0], [np.nan]])}, "column 'x': expected finite .* in row 1"),
        ({"x": np.array([[np.inf]])}, "in row 0"),
        ({"x": np.array(["a"])}, "expected numbers"),
        ({"y": [0.5]}, "expected whole numbers"),
        ({"y": [-2]}, "expected ids from -1; got -2"),
        ({"object": [-1]}, "expected ids from 0; got -1"),
    ],
)
def test_columns_that_cannot_be_used_are_refused_in_words(columns, message):
    with pytest.raises(DataError, match=message):
        Dataset(columns)


@pytest.mark.parametrize("kind", ["resident", "mapped"])
def test_nan_in_the_last_of_many_rows_is_found(kind):
    x = np.zeros((2**20 + 1, 4), dtype=np.float32)
    x[-1, -1] = math.nan
    column = torch.from_numpy(x) if kind == "resident" else MappedRows(x, np.arange(len(x)))
    with pytest.raises(DataError, match="got NaN or infinity in row 1048576"):
        Dataset({"x": column})
    seen = Dataset({"x": column}, missing_ok=["x"])
    assert seen.notes == ("x: 1 of 4,194,308 values are missing",)


def test_a_missing_class_stays_missing_where_classes_are_numbered_as_in_other_data():
    fitted = Dataset({"y": [0, 1, 2]}, record=Record(names={"y": ("ant", "bee", "fly")}))
    given = Dataset({"y": [1, -1, 0]}, record=Record(names={"y": ("fly", "ant")}))
    found = given.named_like(fitted)
    assert found["y"].tolist() == [0, -1, 2]
    assert found.names["y"] == ("ant", "bee", "fly")


def test_missing_targets_and_missing_columns():
    d = Dataset({"c": [0.0, np.nan]}, missing_ok=["c"])
    assert d.with_columns(x=[1.0, 2.0])["c"].isnan().sum() == 1
    with pytest.raises(DataError, match=r"expected a column 'x'; got columns \['c'\]"):
        d["x"]


def test_a_memory_mapped_array_is_read_by_rows(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (50, 1, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "x.npy", array)
    d = data.npy(tmp_path / "x.npy")
    assert d.mapped
    assert isinstance(d["x"], np.memmap)
    batch = d.batch(torch.tensor([7, 3]))
    np.testing.assert_allclose(batch["x"].numpy(), array[[7, 3]] / 255, rtol=1e-6)
    assert d.take(torch.arange(5)).batch(slice(0, 2))["x"].shape == (2, 1, 4, 4)
    assert data.load(tmp_path / "x.npy").train.num_rows == 40


def test_a_read_only_mapped_array_is_checked_without_a_warning(tmp_path):
    # Warnings are errors here: torch warns of arrays that it must not write to.
    array = np.random.default_rng(0).random((20, 3))
    np.save(tmp_path / "x.npy", array)
    d = Dataset({"x": np.load(tmp_path / "x.npy", mmap_mode="r")})
    assert not d["x"].flags.writeable
    np.testing.assert_array_equal(
        d.batch(slice(2, 4), dtype=torch.float64)["x"].numpy(), array[2:4]
    )
    array[11, 1] = np.nan
    np.save(tmp_path / "y.npy", array)
    with pytest.raises(DataError, match="got NaN or infinity in row 11"):
        Dataset({"x": np.load(tmp_path / "y.npy", mmap_mode="r")})
    ids = np.load(_saved(tmp_path / "ids.npy", np.arange(20)), mmap_mode="r")
    assert Dataset({"object": ids}).spec["object"]["classes"] == 20


def _saved(path, array):
    np.save(path, array)
    return path


@pytest.mark.cuda
def test_rows_counted_on_a_gpu_pick_from_columns_in_memory():
    d = Dataset({"x": torch.arange(6.0)})
    rows = torch.tensor([4, 1], device="cuda")
    assert d.batch(rows, device="cuda")["x"].tolist() == [4.0, 1.0]
    assert d.batch(rows)["x"].device.type == "cpu"


def test_npz_split_and_layouts(tmp_path):
    x = np.random.default_rng(0).random((10, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, split=np.repeat([0, 1, 2], [6, 2, 2]))
    train, valid, test = data.load(tmp_path / "a.npz")
    assert train["x"].shape == (6, 3, 8, 8)
    assert "split" not in train
    np.testing.assert_array_equal(test["x"][0].numpy(), x[8].transpose(2, 0, 1))
    assert valid.num_rows == 2
    np.savez(tmp_path / "b.npz", x=x, split=np.full(10, 3))
    with pytest.raises(DataError, match=r"got values \[3\]"):
        data.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=np.array([object()]))
    with pytest.raises(DataError, match="without objects"):
        data.npz(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="d.npz: expected a NumPy archive"):
        data.load(tmp_path / "d.npz")
    with pytest.raises(DataError, match="there is none"):
        data.load(tmp_path / "nowhere.npz")
    (tmp_path / "e.xyz").touch()
    with pytest.raises(DataError, match="'.xyz'"):
        data.load(tmp_path / "e.xyz")


def test_random_splits_cover_every_row_once():
    d = Dataset({"x": torch.arange(103.0)})
    parts = data.split_rows(d, seed=4)
    assert [p.num_rows for p in parts] == [83, 10, 10]
    assert torch.equal(torch.cat([p["x"] for p in parts]).sort().values, d["x"])
    assert torch.equal(data.split_rows(d, seed=4).test["x"], parts.test["x"])
    assert not torch.equal(data.split_rows(d, seed=5).test["x"], parts.test["x"])
    with pytest.raises(DataError, match="leave rows to train on"):
        data.split_rows(d, validation=0.6, test=0.5)


def test_tables(tmp_path):
    (tmp_path / "cells.csv").write_text("g1,g2,kind,dose\n1,2,b,0.1\n3,4,a,0.2\n")
    d = data.table(tmp_path / "cells.csv", y="kind", c="dose")
    assert d["x"].tolist() == [[1, 2], [3, 4]]
    assert d["y"].tolist() == [1, 0]
    with pytest.raises(DataError, match=r"missing \['g9'\]"):
        data.table(tmp_path / "cells.csv", x=["g9"])


def _save_image(path, shape, value):
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


def test_folders_of_images(tmp_path):
    for name, value in (("b/1.png", 10), ("a/2.png", 20), ("a/3.png", 30)):
        _save_image(tmp_path / name, (4, 5, 3), value)
    d = data.images(tmp_path)
    assert d["x"].shape == (3, 3, 4, 5)
    assert d["y"].tolist() == [0, 0, 1]
    assert d["x"][:, 0, 0, 0].tolist() == [20, 30, 10]
    (tmp_path / "labels.csv").write_text("file,class\n1.png,u\n2.png,v\n3.png,u\n")
    assert data.images(tmp_path, labels=tmp_path / "labels.csv")["y"].tolist() == [1, 0, 0]
    _save_image(tmp_path / "a/9.png", (6, 6, 3), 1)
    with pytest.raises(DataError, match=r"2.png has \(4, 5\) and 9.png \(6, 6\)"):
        data.images(tmp_path)
    assert data.images(tmp_path, size=(8, 8), channels=1)["x"].shape == (4, 1, 8, 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found none"):
        data.images(tmp_path / "empty")
    with pytest.raises(DataError, match="such as 9.png"):
        data.images(tmp_path, size=(8, 8), labels=tmp_path / "labels.csv")


def _idx_file(path, array, compress):
    header = bytes([0, 0, 8, array.ndim])
    header += b"".join(int(s).to_bytes(4, "big") for s in array.shape)
    raw = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if compress else raw)


@pytest.mark.parametrize("compress", [True, False])
def test_mnist_from_idx_files(tmp_path, compress):
    end = ".gz" if compress else ""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 30), ("t10k", 8)):
        arrays[part] = rng.integers(0, 255, (n, 28, 28))
        _idx_file(tmp_path / f"{part}-images-idx3-ubyte{end}", arrays[part], compress)
        _idx_file(tmp_path / f"{part}-labels-idx1-ubyte{end}", rng.integers(0, 9, n), compress)
    train, valid, test = data.mnist(tmp_path, validation=10)
    assert (train.num_rows, valid.num_rows, test.num_rows) == (20, 10, 8)
    np.testing.assert_array_equal(valid["x"][0, 0].numpy(), arrays["train"][20])
    broken = tmp_path / f"t10k-images-idx3-ubyte{end}"
    broken.write_bytes(broken.read_bytes()[:-9])
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte.*damaged"):
        data.mnist(tmp_path)
    broken.unlink()
    with pytest.raises(DataError, match="found neither"):
        data.mnist(tmp_path)


def test_nothing_is_fetched_unless_asked():
    with pytest.raises(DataError, match="download=True"):
        data.mnist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": 16}, "from 0 to 15"),
        ({"drop": 1.0}, "shares from 0"),
        ({"num_objects": 401}, "1 to 400"),
        ({"num_objects": 40, "drop": 0.97}, "a training image of each test object; got none of 1"),
    ],
)
def test_protocols_that_cannot_be_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        data.rotated_digits(**options)
