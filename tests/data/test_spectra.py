"""Patches of images, the simulated lattice with its loops, NSID files, and scalars of spectra."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

import ppvae
from ppvae.data import image_spectra, patches
from ppvae.data.scalars import band_ratio, log_loop_area, loop_area, peak, scalar_named
from ppvae.errors import ArgumentError, DataError


def test_patches_are_cut_about_their_places_and_mirrored_beyond_the_edges():
    image = torch.arange(30.0).reshape(5, 6)
    cut = patches(image, torch.tensor([[2, 3], [0, 0], [4, 5]]), 3)
    assert cut.shape == (3, 1, 3, 3)
    assert torch.equal(cut[0, 0], image[1:4, 2:5])
    padded = np.pad(image.numpy(), 1, mode="reflect")
    assert np.array_equal(cut[1, 0], padded[:3, :3])
    assert np.array_equal(cut[2, 0], padded[4:, 5:])


@pytest.mark.parametrize(
    ("image", "at", "size", "words"),
    [
        (torch.zeros(5, 6), [[5, 0]], 3, "rows from 0 to 4 and columns from 0 to 5"),
        (torch.zeros(5, 6), [[-1, 0]], 3, "position 0"),
        (torch.zeros(5, 6), [[0, 0]], 6, "a size from 1 to 5"),
        (torch.zeros(5, 6), [[0, 0, 0]], 3, r"positions \(N, 2\)"),
    ],
)
def test_patches_that_cannot_be_cut_are_refused(image, at, size, words):
    with pytest.raises(DataError, match=words):
        patches(image, torch.tensor(at), size)


def test_the_simulated_areas_are_those_of_the_spectra_and_depend_on_the_seed():
    data = image_spectra(side=12, noise=0.0)
    axis = np.array([float(name.split()[0]) for name in data.names["spectrum"]])
    assert data["x"].shape == (144, 1, 16, 16)
    area = loop_area(axis, data["spectrum"].numpy())
    np.testing.assert_allclose(area, data["area"], rtol=1e-4, atol=1e-3)
    assert float(data["area"].std()) > 0.5
    assert torch.equal(data["area"], image_spectra(side=12, noise=0.02)["area"])
    assert not torch.equal(data["area"], image_spectra(side=12, seed=1)["area"])
    with pytest.raises(DataError, match="side >= 4"):
        image_spectra(side=2)


def test_a_spectral_image_is_read_with_its_axis(tmp_path):
    cube = np.random.default_rng(0).normal(size=(4, 5, 3))
    with h5py.File(tmp_path / "cube.h5", "w") as file:
        file["a/volts"] = [0.0, 1.0, -1.0]
        file["a/volts"].attrs["units"] = "V"
        file["a/cube"] = cube
        file["a/cube"].attrs["DIMENSION_LABELS"] = ["X", "Y", "volts"]
    data = ppvae.data.load(tmp_path / "cube.h5", size=3, channel=1).train
    assert data.names["spectrum"] == ("0.000 V", "1.000 V", "-1.000 V")
    image = (cube[:, :, 1] - cube[:, :, 1].mean()) / cube[:, :, 1].std()
    row, column = data["position"][0].int().tolist()
    first = 5 * row + column
    np.testing.assert_allclose(data["spectrum"][0], cube.reshape(20, 3)[first], rtol=1e-6)
    np.testing.assert_allclose(data["x"][0, 0, 1, 1], image.reshape(-1)[first], rtol=1e-5)
    with pytest.raises(DataError, match="channel: expected a number from 0 to 2; got 3"):
        ppvae.data.load(tmp_path / "cube.h5", size=3, channel=3)
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["a"] = np.zeros((4, 5))
    with pytest.raises(DataError, match=r"expected a data set x, or one with shape \(H, W, S\)"):
        ppvae.data.load(tmp_path / "flat.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DataError, match="expected an HDF5 file"):
        ppvae.data.load(tmp_path / "text.h5")


def test_scalars_of_spectra():
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle, axis = 3 * np.sin(turn), 3 * np.cos(turn)
    assert loop_area(axis, circle) == pytest.approx(9 * np.pi, rel=1e-3)
    assert log_loop_area(axis, circle) == pytest.approx(np.log(9 * np.pi), rel=1e-3)
    assert np.isnan(log_loop_area(axis, np.zeros(400)))
    axis, rows = np.arange(5.0), np.array([[1.0, 5, 2, 3, 9], [0, 0, 0, 4, 4]])
    assert peak(axis, rows, low=1, high=3).tolist() == [5, 4]
    ratio = band_ratio(axis, rows, above=(3, 4), below=(0, 1))
    assert ratio[0] == 2
    assert np.isnan(ratio[1])
    assert scalar_named("peak:1:3")(axis, rows).tolist() == [5, 4]
    assert scalar_named("ratio:3:4:0:1")(axis, rows)[0] == 2
    assert scalar_named("area") is loop_area


@pytest.mark.parametrize("text", ["width", "peak:1", "peak:a:b", "ratio:0:1:2", "area:3"])
def test_unknown_scalars_are_refused(text):
    with pytest.raises(ArgumentError, match="scalar: expected area"):
        scalar_named(text)


def test_bands_and_axes_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="expected points of the axis from 7 to 9"):
        peak(np.arange(5.0), np.zeros((2, 5)), low=7, high=9)
    with pytest.raises(ArgumentError, match=r"with an axis \(S\)"):
        loop_area(np.arange(4.0), np.zeros((2, 5)))
