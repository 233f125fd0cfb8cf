"""Pictures of floating-point numbers keep what is missing, and what is not, when resized."""

from __future__ import annotations

import numpy as np
import pytest

from ppvae import data
from ppvae.data import Regions
from ppvae.errors import DataError

tifffile = pytest.importorskip("tifffile")


def _picture(path):
    values = np.random.default_rng(0).normal(size=(16, 16)).astype("f4")
    tifffile.imwrite(path, values)
    return values


def test_one_missing_pixel_leaves_the_others(tmp_path):
    path = tmp_path / "a.tif"
    values = _picture(path)
    whole = np.asarray(data.images(path, size=(8, 8))["x"])
    values[0, 0] = np.nan  # A quarter of a pixel of the result.
    tifffile.imwrite(path, values)
    few = np.asarray(data.images(path, size=(8, 8), missing_ok=["x"])["x"])
    assert not np.isnan(few).any()
    np.testing.assert_array_equal(few[..., 4:, 4:], whole[..., 4:, 4:])
    values[:8] = np.nan
    tifffile.imwrite(path, values)
    half = np.asarray(data.images(path, size=(8, 8), missing_ok=["x"])["x"])
    assert np.isnan(half[..., :4, :]).all()
    assert not np.isnan(half[..., 4:, :]).any()
    assert half[..., 4:, :].max() <= values[8:].max()
    tifffile.imwrite(path, np.full((16, 16), np.nan, "f4"))
    assert np.isnan(np.asarray(data.images(path, size=(8, 8), missing_ok=["x"])["x"])).all()


def test_infinity_is_not_hidden_as_missing(tmp_path):
    path = tmp_path / "a.tif"
    values = _picture(path)
    values[3, 3], values[3, 4] = np.inf, -np.inf
    tifffile.imwrite(path, values)
    with pytest.raises(DataError, match="expected finite numbers"):
        data.images(path, size=(8, 8), missing_ok=["x"])


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_single_path_is_no_list_of_scans(tmp_path, kind):
    regions = Regions(np.ones((2, 2, 2), int))
    with pytest.raises(DataError, match="expected a list of scans, one a row; got the path"):
        regions.dataset(kind(tmp_path))
