"""Disentanglement scores on codes whose answer is known: perfect, rotated, noise, redundant."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.evaluate import dci, mig, mutual_information_matrix, sap

N = 2000


@pytest.fixture
def factors():
    return torch.randint(0, 5, (N, 2))


def scores(codes, factors):
    found = dci(codes, factors, trees=20)
    return mig(codes, factors), sap(codes, factors), found.disentanglement, found.completeness


def test_a_code_that_is_the_factors_is_perfect(factors):
    codes = torch.cat([factors.flip(1), torch.zeros(N, 1)], 1) + 0.01 * torch.randn(N, 3)
    found = dci(codes, factors, trees=20)
    # Twenty bins do not split five levels.
    assert mig(codes, factors) > 0.95
    # Chance for five classes is a fifth, and a line does not tell all five apart.
    assert sap(codes, factors) > 0.4
    assert found.disentanglement > 0.95
    assert found.completeness > 0.95
    assert found.informativeness > 0.98
    assert found.importance.argmax(0).tolist() == [1, 0]


def test_a_rotated_code_tells_all_and_disentangles_nothing(factors):
    angle = math.pi / 4
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    codes = factors.to(turn) @ turn + 0.01 * torch.randn(N, 2)
    found = dci(codes, factors, trees=20)
    assert mig(codes, factors) < 0.1
    assert sap(codes, factors) < 0.1
    assert found.disentanglement < 0.2
    assert found.completeness < 0.2
    assert found.informativeness > 0.9


def test_noise_scores_nothing(factors):
    codes = torch.randn(N, 4)
    found = dci(codes, factors, trees=20)
    assert mig(codes, factors) < 0.02
    assert sap(codes, factors) < 0.05
    assert found.disentanglement < 0.05
    assert found.informativeness < 0.3


def test_two_dimensions_for_one_factor_are_not_compact(factors):
    codes = factors[:, [0, 0, 1, 1]] + 0.01 * torch.randn(N, 4)
    found = dci(codes, factors, trees=20)
    assert mig(codes, factors) < 0.05
    assert found.disentanglement > 0.9
    assert found.completeness < 0.7


def test_quantities_count_as_classes_do():
    factors = torch.randn(N, 2)
    codes = torch.stack([-2 * factors[:, 1], factors[:, 0] + 3], 1)
    assert sap(codes, factors) > 0.95
    assert dci(codes, factors, trees=20).disentanglement > 0.95
    assert mig(codes, factors) > 0.9
    assert sap(torch.randn(N, 2), factors) < 0.05


def test_mutual_information_by_hand():
    # A fair bit and a copy of it share log 2; a bit that is right three times in four, less.
    bit = torch.arange(N) % 2
    codes = torch.stack([bit, torch.where(torch.arange(N) // 2 % 4 == 0, 1 - bit, bit)], 1)
    found = mutual_information_matrix(codes.double(), bit)
    right = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    torch.testing.assert_close(found[:, 0], torch.tensor([math.log(2), right]).to(found))
    expected = (math.log(2) - right) / math.log(2)
    assert mig(codes.double(), bit) == pytest.approx(expected)


def test_rows_of_unknown_class_are_left_out(factors):
    codes = factors + 0.3 * torch.randn(N, 2)
    hidden = torch.rand(N, 2) < torch.tensor([0.5, 0.1])
    partly = factors.masked_fill(hidden, -1)
    found = mutual_information_matrix(codes, partly)
    apart = [
        mutual_information_matrix(codes[known], factors[known, j])
        for j, known in enumerate((~hidden).unbind(1))
    ]
    torch.testing.assert_close(found, torch.cat(apart, 1))
    alone = [mig(codes[~h], factors[~h, j]) for j, h in enumerate(hidden.unbind(1))]
    assert mig(codes, partly) == pytest.approx(sum(alone) / 2)
    assert dci(codes, partly, trees=5).importance.shape == (2, 2)
    with pytest.raises(ValueError, match=r"10 known rows of each; got \[2000, 0\]"):
        sap(codes, torch.stack([factors[:, 0], torch.full((N,), -1)], 1))


def test_codes_that_say_nothing_are_neither_complete_nor_disentangled(factors):
    found = dci(torch.ones(N, 3), factors, trees=2)
    assert (found.completeness, found.disentanglement) == (pytest.approx(0), 0)
    assert math.isnan(dci(torch.randn(N, 2), factors[:, 0], trees=2).disentanglement)


def test_bad_input_is_refused(factors):
    codes = torch.randn(N, 2)
    with pytest.raises(ValueError, match=r"codes and factors: expected shapes \(N, Z\)"):
        mig(codes, factors[:10])
    with pytest.raises(ValueError, match="codes: expected at least 2 dimensions"):
        sap(codes[:, :1], factors)
    with pytest.raises(ValueError, match="factors: expected columns that vary"):
        dci(codes, torch.zeros(N, 1))
