"""Means of regions, and maps of values a region, against sums by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from ppvae.data import Regions
from ppvae.errors import DataError, PPVAEError

SHAPE = (4, 3, 2)


@pytest.fixture
def labels():
    volume = np.zeros(SHAPE, np.int16)
    volume[:2], volume[2, :, 0], volume[3, 0, 0] = 7, 2, 30
    return volume


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=(*SHAPE, 5))


def saved(tmp_path, name, volume, affine=None):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / name
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4) if affine is None else affine), path)
    return path


def test_means_are_those_of_the_voxels_of_a_label(labels, image):
    regions = Regions(labels)
    assert regions.ids.tolist() == [2, 7, 30]
    assert regions.sizes.tolist() == [3, 12, 1]
    expected = np.stack([image[labels == label].mean(0) for label in (2, 7, 30)])
    np.testing.assert_allclose(regions.means(image), expected)
    np.testing.assert_allclose(regions.means(image[..., 1]), expected[:, 1])


def test_voxels_without_a_number_are_left_out_and_counted(labels, image, caplog):
    image[0, 0, 0, 3] = np.nan
    with caplog.at_level(logging.WARNING):
        means = Regions(labels).means(image)
    np.testing.assert_allclose(means[1, 3], np.nanmean(image[labels == 7][:, 3]))
    assert "1 voxels within regions are NaN" in caplog.text
    image[3, 0, 0, 2] = np.nan
    with pytest.raises(DataError, match=r"none in the regions \[30\]"):
        Regions(labels).means(image)


def test_what_is_painted_has_these_means_again(labels):
    regions = Regions(labels)
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    painted = regions.paint(values, background=np.nan)
    assert np.isnan(painted[labels == 0]).all()
    np.testing.assert_array_equal(regions.means(painted), values)


def test_a_row_an_image_with_the_labels_as_names(labels, image):
    regions = Regions(labels)
    data = regions.dataset([image[..., t] for t in range(5)], object=[0, 0, 1, 1, 2])
    assert data["x"].shape == (5, 3)
    assert data.record.names["x"] == ("2", "7", "30")
    np.testing.assert_allclose(data["x"], regions.means(image).T, rtol=1e-6)
    assert regions.dataset([image, image])["x"].shape == (2, 3, 5)
    with pytest.raises(DataError, match="the same number of volumes"):
        regions.dataset([image, image[..., :2]])


def test_files_there_and_back(tmp_path, labels, image):
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    regions = Regions(saved(tmp_path, "labels.nii.gz", labels, affine))
    means = regions.means(saved(tmp_path, "bold.nii.gz", image, affine))
    np.testing.assert_allclose(means, Regions(labels).means(image))
    regions.write(tmp_path / "map.nii.gz", means[:, 0])
    nibabel = pytest.importorskip("nibabel")
    written = nibabel.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(written.affine, affine)
    np.testing.assert_allclose(regions.means(tmp_path / "map.nii.gz"), means[:, 0], rtol=1e-6)
    with pytest.raises(DataError, match="affine differs by up to 1"):
        regions.means(saved(tmp_path, "moved.nii", image, np.diag([2.0, 2.0, 2.0, 1.0])))
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(DataError, match=r"text.nii: expected a NIfTI file"):
        regions.means(tmp_path / "text.nii")
    with pytest.raises(DataError, match=r"expected .nii or .nii.gz"):
        regions.write(tmp_path / "map.png", means[:, 0])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda v: v + 0.5, "whole numbers from 0"),
        (lambda v: v - 1, "whole numbers from 0"),
        (lambda v: v[0], "whole numbers from 0"),
        (lambda v: v * 0, "expected a region"),
    ],
)
def test_label_images_that_are_none_are_refused(labels, wrong, words):
    with pytest.raises(DataError, match=words):
        Regions(wrong(labels))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda v: v[:3], r"expected shape \(4, 3, 2\)"),
        (lambda v: v[..., None], r"expected shape \(4, 3, 2\)"),
        (lambda v: v.astype(complex), "array of numbers"),
        (lambda v: np.where(v > 1, np.inf, v), "some infinite"),
    ],
)
def test_images_on_another_grid_or_of_no_numbers_are_refused(labels, image, wrong, words):
    with pytest.raises(PPVAEError, match=words):
        Regions(labels).means(wrong(image))


def test_values_must_be_one_a_region(labels):
    with pytest.raises(DataError, match=r"shape \(3\) or \(3, T\); got shape \(4,\)"):
        Regions(labels).paint(np.zeros(4))
