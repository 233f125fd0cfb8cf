"""The simulated lattice: what is said to be true of it can be measured on it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from ppvae.data import lattice, patches
from ppvae.errors import DataError


def bonds(atoms):
    """Vectors (N, 3, 2) from each atom with three neighbours to them, right and up, and which."""
    place = np.stack([atoms["position"][:, 1], -atoms["position"][:, 0]], 1).astype(float)
    near = cKDTree(place).query(place, 5)[1][:, 1:]
    whole = (atoms["missing"] == 0).numpy()
    vectors = place[near] - place[:, None]
    lengths = np.linalg.norm(vectors, axis=-1)
    # The fourth neighbour is farther away, except at the edges of domains and of the image.
    kept = whole & (lengths[:, 3] > 1.4 * lengths[:, 2]) & (lengths[:, 2] < 1.4 * lengths[:, 0])
    return vectors[kept, :3], kept


def test_angles_and_dilations_are_those_of_the_bonds():
    atoms = lattice(size=384, strain=0.03, drift=0.0, vacancies=0.0, noise=0.0).atoms
    vectors, kept = bonds(atoms)
    assert kept.sum() > 800
    kind = atoms["y"].numpy()[kept]
    angle = np.arctan2(vectors[..., 1], vectors[..., 0])
    mean = np.angle(np.exp(3j * angle).mean(1)) / 3
    # Of a light atom, one bond is a quarter turn from the lattice's first vector.
    first = np.where(kind == 0, math.pi / 2, -math.pi / 2)
    off = 3 * (mean - first - atoms["angle"].numpy()[kept])
    assert np.abs(np.angle(np.exp(1j * off))).mean() / 3 < 0.01
    dilation = np.linalg.norm(vectors, axis=-1).mean(1) / (14 / math.sqrt(3)) - 1
    truth = atoms["dilation"].numpy()[kept]
    assert np.corrcoef(dilation, truth)[0, 1] > 0.97
    assert np.abs(dilation - truth).mean() < 0.2 * truth.std()


def test_atoms_are_maxima_of_the_image_and_vacancies_are_not():
    image, atoms, vacancies = lattice(size=256, noise=0.0, vacancies=0.1)
    peaks = np.argwhere(maximum_filter(image.numpy(), 5) == image.numpy())
    away = cKDTree(peaks).query(atoms["position"].numpy())[0]
    assert np.quantile(away, 0.99) < 1.0
    rows, columns = vacancies.round().long().unbind(1)
    assert len(vacancies) > 10
    assert image[rows, columns].max() < 0.3
    rows, columns = atoms["position"].round().long().unbind(1)
    bright = image[rows, columns]
    assert [float(bright[atoms["y"] == kind].median()) for kind in range(3)] == pytest.approx(
        [0.5, 0.85, 1.15], abs=0.05
    )
    assert torch.equal(atoms["x"], patches(image, atoms["position"], 24))


def test_vacancies_are_counted_among_the_neighbours_of_heavy_atoms():
    _, atoms, vacancies = lattice(size=256, vacancies=0.2, drift=0.0, strain=0.0)
    near = cKDTree(vacancies.numpy()).query_ball_point(atoms["position"].numpy(), 10)
    inner = ((atoms["position"] > 25) & (atoms["position"] < 230)).all(1).numpy()
    assert np.array_equal(
        atoms["missing"].numpy()[inner], np.array([len(around) for around in near])[inner]
    )
    assert not atoms["missing"][atoms["y"] == 0].any()


def test_noise_is_that_of_counts_and_drift_moves_rows():
    clean = lattice(size=128, noise=0.0, seed=1)
    noisy = lattice(size=128, noise=0.2, seed=1)
    assert torch.equal(clean.atoms["position"], noisy.atoms["position"])
    error = (noisy.image - clean.image)[8:-8, 8:-8]
    expected = 0.04 * clean.image[8:-8, 8:-8]
    assert abs(float(error.mean())) < 0.01
    assert float(error.square().mean() / expected.mean()) == pytest.approx(1, abs=0.06)
    still = lattice(size=128, noise=0.0, seed=1, drift=0.0, strain=0.0)
    moved = lattice(size=128, noise=0.0, seed=1, drift=2.0, strain=0.0)
    gap = cKDTree(still.atoms["position"].numpy()).query(moved.atoms["position"].numpy())[0]
    assert 0.5 < np.median(gap) < 3.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vacancies": 1.0}, "shares and strain in"),
        ({"noise": -0.1}, "noise >= 0"),
        ({"angles": ()}, "0 angles"),
        ({"patch": 600}, "a patch from 4 pixels"),
        ({"size": 40}, "at least four spacings"),
    ],
)
def test_what_is_no_lattice_is_refused(options, words):
    with pytest.raises(DataError, match=words):
        lattice(**options)
