"""Cells drawn by known factors: the same for a seed, and as the factors say."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.data import cells
from ppvae.data.cells import CELL_CLASSES
from ppvae.errors import DataError

RED, GREEN, BLUE = range(3)


@pytest.fixture(scope="module")
def data():
    return cells(300, noise=0.0, seed=3).train


def test_the_columns_are_images_classes_and_factors():
    splits = cells(40, size=20)
    assert [part.num_rows for part in splits] == [32, 4, 4]
    train = splits.train
    assert train["x"].shape == (32, 3, 20, 20)
    assert train["x"].dtype == torch.uint8
    assert train.spec["y"]["classes"] == len(CELL_CLASSES)
    for name, column in train.items():
        if name not in ("x", "y"):
            assert column.dtype == torch.float32
    assert train["intensity"].shape == (32, 3)


def test_a_seed_gives_the_same_cells_and_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two, other = cells(20, size=16), cells(20, size=16), cells(20, size=16, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one.train[name], two.train[name]) for name in one.train)
    assert not torch.equal(one.train["x"], other.train["x"])


def test_images_are_the_same_in_double_precision():
    torch.set_default_dtype(torch.float32)
    single = cells(12, size=16).train["x"]
    torch.set_default_dtype(torch.float64)
    assert torch.equal(single, cells(12, size=16).train["x"])


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1])


def moments(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mass, centre (N, 2) and covariance (N, 2, 2) of grey images, right and up."""
    size = image.size(-1)
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    grid = torch.stack([at.expand(size, size), -at[:, None].expand(size, size)], -1)
    mass = image.sum((1, 2))
    centre = torch.einsum("nhw,hwd->nd", image, grid) / mass[:, None]
    away = grid - centre[:, None, None]
    covariance = torch.einsum("nhw,nhwd,nhwe->nde", image, away, away) / mass[:, None, None]
    return mass, centre, covariance


def test_the_nucleus_is_where_and_as_large_as_the_factors_say(data):
    blue = torch.as_tensor(data["x"])[:, BLUE].double()
    nuclei = (blue - 0.3 * blue.amax((1, 2), True)).clamp_min(0)
    _, centre, covariance = moments(nuclei)
    place = torch.as_tensor(data["cell_place"] + data["nucleus_place"])
    assert (centre - place).abs().mean() < 0.05
    width = covariance.diagonal(dim1=1, dim2=2).sum(1).sqrt()
    assert correlation(width, torch.as_tensor(data["nucleus_size"])) > 0.85


def test_the_cell_is_long_in_the_direction_it_should(data):
    light = torch.as_tensor(data["x"]).amax(1)
    _, _, covariance = moments((light > 50).double())
    long = torch.as_tensor(data["elongation"]) > 1.5
    axis = torch.linalg.eigh(covariance).eigenvectors[:, :, 1]
    found = torch.atan2(axis[:, 1], axis[:, 0])[long]
    # Directions of axes: a half turn is none.
    error = 2 * (found - torch.as_tensor(data["orientation"])[long])
    # Neighbours mislead in some pictures, hence the median.
    assert error.cos().median() > 0.9


def test_intensity_background_and_noise_are_seen(data):
    x = torch.as_tensor(data["x"]).double()
    for channel in (GREEN, BLUE):
        peak = x[:, channel].flatten(1).quantile(0.98, 1)
        assert correlation(peak, torch.as_tensor(data["intensity"])[:, channel]) > 0.5
    corner = x.flatten(2).amin(2).mean(1) / 255
    torch.testing.assert_close(
        corner, torch.as_tensor(data["background"]).double(), atol=0.01, rtol=0
    )
    noisy = torch.as_tensor(cells(300, noise=2.0, seed=3).train["x"]).double()
    assert (noisy - x).std() > 3


def test_the_markers_total_does_not_tell_the_class():
    data = cells(800, seed=1).train
    red = torch.as_tensor(data["x"])[:, RED].double().mean((1, 2))
    y = torch.as_tensor(data["y"])
    means = torch.stack([red[y == k].mean() for k in range(4)])
    within = torch.stack([red[y == k].std() for k in range(4)]).mean()
    assert means.std() < 0.4 * within


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_cells": 3}, "num_cells: expected at least 10; got 3"),
        ({"size": 4}, "size: expected at least 16 pixels; got 4"),
        ({"noise": -1.0}, "noise: expected a number >= 0; got -1.0"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        cells(**options)


def test_orientation_is_a_half_turn(data):
    turn = torch.as_tensor(data["orientation"])
    assert 0 <= turn.min() < 0.3
    assert math.pi - 0.3 < turn.max() < math.pi
