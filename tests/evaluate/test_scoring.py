"""Proper scores and PIT against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from pyro.ops.stats import crps_empirical

from ppvae.evaluate import covered, crps, interval, interval_score, pit, uniformity


def test_pit_of_the_same_distribution_is_uniform():
    assert uniformity(pit(torch.randn(99, 400), torch.randn(400))) > 1e-3
    assert uniformity(pit(torch.randn(99, 400), 1.5 * torch.randn(400))) < 1e-3


def test_pit_of_counts_is_uniform_too():
    rate = torch.full((400,), 0.7)
    draws, truth = torch.poisson(rate.expand(99, 400)), torch.poisson(rate)
    assert uniformity(pit(draws, truth)) > 1e-3
    assert uniformity(pit(draws, truth + 1)) < 1e-6


def test_pit_counts_ranks():
    draws = torch.tensor([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    found = torch.stack([pit(draws, torch.tensor([2.5, 1.0])) for _ in range(4000)])
    assert found[:, 0].min() >= 2 / 4
    assert found[:, 0].max() <= 3 / 4
    assert found[:, 1].mean() == pytest.approx(0.5, abs=0.03)


def test_interval_is_the_quantile():
    draws = torch.randn(57, 3, 4)
    lower, upper = interval(draws, 0.8)
    torch.testing.assert_close(lower, draws.quantile(0.1, 0))
    torch.testing.assert_close(upper, draws.quantile(0.9, 0))


def test_interval_of_whole_numbers_is_that_of_the_same_in_floating_point():
    draws = torch.arange(101).flip(0)[:, None]
    for same in (draws, draws.float(), draws.double(), draws.float().requires_grad_()):
        lower, upper = interval(same, 0.9)
        assert (lower.item(), upper.item()) == (5.0, 95.0)
    assert bool(covered(draws, torch.tensor([95]), 0.9))


def test_coverage_is_what_it_says():
    draws, truth = torch.randn(400, 4000), torch.randn(4000)
    for probability in (0.5, 0.9):
        share = covered(draws, truth, probability).double().mean()
        assert share == pytest.approx(probability, abs=0.04)
    assert covered(0.1 * draws, truth, 0.9).double().mean() < 0.2


def test_interval_score_fines_what_is_missed():
    draws = torch.linspace(0, 1, 101)[:, None]
    score = [float(interval_score(draws, torch.tensor([x]), 0.8)) for x in (0.5, 1.0, -0.1)]
    assert score == pytest.approx([0.8, 0.8 + 10 * 0.1, 0.8 + 10 * 0.2])


def test_crps_of_a_normal_is_the_closed_form():
    # Gneiting and Raftery (2007): x (2 F(x) - 1) + 2 f(x) - 1 / sqrt(pi) for N(0, 1).
    x = torch.tensor([0.0, 1.0, -2.0])
    normal = torch.distributions.Normal(0.0, 1.0)
    closed = x * (2 * normal.cdf(x) - 1) + 2 * normal.log_prob(x).exp() - 1 / math.sqrt(math.pi)
    found = crps(torch.randn(20_000, 3), x)
    torch.testing.assert_close(found, closed, rtol=0, atol=0.03)
    torch.testing.assert_close(crps(torch.zeros(5, 3), x), x.abs())


@pytest.mark.parametrize("grad", [False, True])
def test_crps_is_that_of_pyro(grad):
    draws, truth = torch.randn(31, 3, 2).requires_grad_(grad), torch.randn(3, 2)
    torch.testing.assert_close(crps(draws, truth), crps_empirical(draws, truth))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"draws: expected shape \(S, ...\) with S >= 2"):
        pit(torch.randn(4, 3), torch.randn(4))
    with pytest.raises(ValueError, match="probability: expected a number between 0 and 1; got 90"):
        interval(torch.randn(4, 3), 90)
