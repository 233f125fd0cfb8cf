"""Pictures whose whole numbers are far below the scale by which they become [0, 1]."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image

import ppvae
from ppvae import data
from ppvae.data import Dataset, Splits, as_splits
from ppvae.data.scales import compared_scale
from ppvae.errors import DataError
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads

RNG = np.random.default_rng(0)


def _said(read):
    return [note for note in read.notes if "if the full scale is" in note]


def _rows(top, kind="u1"):
    values = RNG.integers(0, top + 1, (20, 1, 6, 6)).astype(kind)
    values[0, 0, 0, 0] = top
    return values


def _read(folder, suffix, x):
    """The rows in a file of that kind, and its path."""
    path = folder / f"a{suffix}"
    if suffix == ".npz":
        np.savez(path, x=x)
    elif suffix == ".npy":
        np.save(path, x)
    elif suffix == ".h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["x"] = x
    elif suffix == ".zarr":
        pytest.importorskip("zarr").save(str(path), x)
    else:
        path.mkdir()
        for i, row in enumerate(x):
            Image.fromarray(row[0]).save(path / f"{i:02d}.png")
    return data.load(path, seed=None).train, path


@pytest.mark.parametrize("top", [0, 1, 3, 15, 16, 100, 255])
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".h5", ".zarr", "-png"])
def test_bytes_of_few_levels_are_said_wherever_they_come_from(tmp_path, top, suffix):
    x = _rows(top)
    read, path = _read(tmp_path, suffix, x)
    said = _said(read)
    assert len(said) == (0 < top < 16)
    assert _said(Dataset({"x": x})) == said
    if said:
        assert f"the largest uint8 is {top}" in said[0]
        assert f"--range 0 {top}" in said[0]
        assert ("pass bool" in said[0]) == (top == 1)
        assert len(_said(read.with_columns(age=np.arange(20.0)))) == 1
        assert len(_said(read.take([0, 1]))) == 1
    if suffix == "-png" and top:
        scaled = data.load(path, seed=None, range=(0, top)).train
        assert not _said(scaled)
        np.testing.assert_allclose(scaled["x"], x / top, rtol=1e-6)


def test_bytes_that_are_no_intensities_are_not_said():
    ones = np.ones((20, 3))
    for columns in ({"x": ones, "own": _rows(1)}, {"x": _rows(1) > 0}, {"x": _rows(1, "i4")}):
        assert not _said(Dataset(columns))
    masked = Dataset({"x": _rows(1), "mask": np.ones((20, 1, 6, 6))})
    assert _said(masked)  # Scaled to at most 1 / 255, too.


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 0), (1, 1), (9, 9), (200, 255), (1000, 1023), (4095, 4095), (9000, 0), (40000, 0)],
)
def test_words_of_few_bits_are_said_with_their_range(tmp_path, most, top):
    read, path = _read(tmp_path, "-png", _rows(most, "u2"))
    said = _said(read)
    assert bool(said) == bool(top)
    if top:
        assert f"--range 0 {top})" in said[0]
        assert not _said(data.images(path, range=(0, top)))


def test_a_range_that_is_named_is_not_said_again(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 1023\n" + np.array([5, 900], ">u2").tobytes())
    read = data.images(tmp_path)
    assert any("--range 0 1023 scales them" in note for note in read.notes)
    assert not _said(read)


def test_a_fit_warns_of_them(caplog):
    model = VAE(MLP(1, heads.Normal((3,), heads.Shared()), hidden=[2]), latent_dim=1)
    guide = AmortizedGuide(MLP(3, heads.DiagonalNormal(1), hidden=[2], in_shape=(3,)))
    x = torch.from_numpy(RNG.integers(0, 2, (8, 3)).astype("u1"))
    with caplog.at_level(logging.WARNING):
        ppvae.fit(model, guide, {"x": x}, epochs=1, progress=False)
    assert sum("the largest uint8 is 1" in record.message for record in caplog.records) == 1


def test_bytes_of_0_and_1_are_refused_where_others_were_0_to_1():
    bools, small = Dataset({"x": _rows(1) > 0}), Dataset({"x": _rows(1)})
    with pytest.raises(DataError, match=r"got uint8 of 0 and 1.*Save it as bool"):
        compared_scale("a.npz", small, bools.spec, {"x": (0.0, 1.0)})
    with pytest.raises(DataError, match="got uint8 of 0 and 1"):
        as_splits(Splits(bools, small))
    compared_scale("a.npz", Dataset({"x": _rows(9)}), bools.spec, {"x": (0.0, 1.0)})
    compared_scale("a.npz", Dataset({"x": _rows(0)}), bools.spec, {"x": (0.0, 1.0)})
    compared_scale("a.npz", small, small.spec, {"x": (0.0, 1 / 255)})
