"""Scores against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.evaluate.scores import (
    circular_correlation,
    clustering_accuracy,
    linear_r2,
    r2,
    resultant_length,
    shift_r2,
)


def test_the_resultant_length_of_errors():
    assert resultant_length(torch.full((5,), 2.5)) == pytest.approx(1.0)
    assert resultant_length(torch.tensor([0.0, math.pi])) == pytest.approx(0.0, abs=1e-9)
    error = 0.3 * torch.randn(200_000)
    assert resultant_length(error + 1.0) == pytest.approx(math.exp(-(0.3**2) / 2), abs=2e-3)
    even = 2 * math.pi * torch.rand(200_000)
    fisher_and_lee = circular_correlation(even, even + error)
    assert fisher_and_lee == pytest.approx(resultant_length(error) ** 2, abs=5e-3)


def test_circular_correlation_is_the_sum_over_pairs():
    a, b = 6 * torch.rand(20), 6 * torch.rand(20)
    sin_a, sin_b = (a[:, None] - a).sin(), (b[:, None] - b).sin()
    expected = (sin_a * sin_b).sum() / (sin_a.square().sum() * sin_b.square().sum()).sqrt()
    assert circular_correlation(a, b) == pytest.approx(float(expected))


def test_an_offset_and_full_turns_do_not_matter():
    a = 2 * math.pi * torch.rand(500)
    b = (a + 1.0 + 2 * math.pi * torch.randint(3, (500,))) % (2 * math.pi) - math.pi
    assert circular_correlation(a, b) == pytest.approx(1.0)
    assert circular_correlation(a, -b) == pytest.approx(-1.0)
    assert abs(circular_correlation(a, 6 * torch.rand(500))) < 0.15


def test_r2_is_the_variance_explained():
    true = torch.randn(400, 2)
    assert r2(true, true) == 1.0
    assert r2(true.mean(0).expand_as(true), true) == pytest.approx(0.0, abs=1e-9)
    features = torch.cat([true @ torch.randn(2, 2), torch.randn(400, 1)], 1)
    assert linear_r2(features, true) == pytest.approx(1.0)
    assert linear_r2(torch.randn(400, 3), true[:, 0]) < 0.1


def test_shifts_are_scored_whatever_the_origin_of_the_content():
    true, angle = torch.randn(300, 2), 6 * torch.rand(300)
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack([0.5 * cos + 0.2 * sin, 0.5 * sin - 0.2 * cos], -1)
    assert r2(true + turned, true) < 0.9
    assert shift_r2(true + turned, true, angle) == pytest.approx(1.0)
    assert shift_r2(true + 3.0, true) == pytest.approx(1.0)
    line = torch.randn(300, 1)
    assert shift_r2(line + 1.0, line) == pytest.approx(1.0)
    assert shift_r2(torch.randn(300, 2), true, angle) < 0


def test_clusters_are_named_so_that_most_are_right():
    true = torch.arange(90) % 3
    found = torch.tensor([2, 0, 1])[true]
    assert clustering_accuracy(found, true) == 1.0
    found[:9] = 2 - true[:9]
    assert clustering_accuracy(found, true) < 1.0
    true[:9] = -1
    assert clustering_accuracy(found, true) == 1.0
    with pytest.raises(ValueError, match="known class: expected two columns .* at least 2"):
        clustering_accuracy(found, torch.full((90,), -1))


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"got shapes \(3,\) and \(4,\)"):
        circular_correlation(torch.zeros(3), torch.zeros(4))
