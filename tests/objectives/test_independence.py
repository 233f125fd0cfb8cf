"""The dependence of a latent on a column: against the statistic's definition, and in training."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from ppvae import fit
from ppvae.guides import ConditionalGuide
from ppvae.models import ConditionalVAE
from ppvae.nets import MLP, Conditions, OneHot, heads
from ppvae.objectives import ELBO, Independence, dependence
from tests.pairs import build


def _kernel(rows):
    squares = (rows[:, None] - rows[None]).square().sum(-1)
    n = len(rows)
    return (-squares / (squares.sum() / (n * (n - 1)))).exp()


def by_definition(k, other):
    """The U-statistic over all quadruples of different rows."""
    n = len(k)
    total = 0.0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total += float(k[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q]))
    return total * math.factorial(n - 4) / math.factorial(n)


def test_it_is_the_statistic_over_all_quadruples():
    z, y = torch.randn(8, 2), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    z[:, 0] += y
    of_z, of_y = _kernel(z), (y[:, None] == y).to(z)
    own = by_definition(of_z, of_z) * by_definition(of_y, of_y)
    expected = by_definition(of_z, of_y) / math.sqrt(own)
    assert float(dependence(z, y)) == pytest.approx(expected, rel=1e-6)


def test_it_is_one_for_itself_and_nought_on_average_for_others():
    z = torch.randn(64, 3)
    assert float(dependence(z, z)) == pytest.approx(1.0, abs=1e-6)
    for y in (torch.randint(0, 5, (400, 32)), torch.randn(400, 32)):
        found = torch.stack([dependence(torch.randn(32, 3), one) for one in y])
        # The biased statistic would have a mean near 0.1.
        assert abs(float(found.mean())) < 4 * float(found.std()) / 20
        assert float(found.std()) > 0


@pytest.mark.parametrize("kind", ["class", "factor"])
def test_missing_rows_count_nothing(kind):
    z, y = torch.randn(12, 2), torch.arange(12) % 3
    column = y if kind == "class" else y * 1.5
    missing = column.clone()
    missing[[2, 7]] = -1 if kind == "class" else math.nan
    rest = torch.tensor([i for i in range(12) if i not in (2, 7)])
    expected = dependence(z[rest], column[rest])
    found = dependence(z.requires_grad_(), missing)
    torch.testing.assert_close(found.detach(), expected)
    (slope,) = torch.autograd.grad(found, z)
    assert torch.isfinite(slope).all()
    assert not slope[[2, 7]].any()


def test_a_constant_has_none_and_no_slope():
    z = torch.randn(10, 2, requires_grad=True)
    for y in (torch.zeros(10, dtype=torch.int64), torch.full((10,), -1), torch.ones(10)):
        found = dependence(z, y)
        assert found.detach() == 0
        assert not torch.autograd.grad(found, z)[0].any()
    same = torch.zeros(10, 2, requires_grad=True)
    assert dependence(same, torch.arange(10) % 2).detach() == 0


def test_few_rows_give_nought():
    assert float(dependence(torch.randn(3, 2), torch.tensor([0, 1, 1]))) == 0


def test_training_takes_the_class_out_of_the_latent():
    """A factor whose mean differs by class: z holds both, or what is left of it within a class."""
    y = torch.arange(240) % 3
    factor = torch.randn(240) + 2.0 * y
    x = factor[:, None] * torch.linspace(0.5, 1.0, 6) + 0.1 * torch.randn(240, 6)
    data = {"x": x, "y": y}

    def left(objective):
        torch.manual_seed(0)
        given = Conditions(OneHot(3))
        decoder = MLP([1, 3], heads.Normal((6,)), hidden=(16,))
        model = ConditionalVAE(decoder, given, latent_dim=1)
        guide = ConditionalGuide(MLP([6, 3], heads.DiagonalNormal(1), hidden=(16,)), given)
        rest = {"epochs": 60, "batch_size": 60, "learning_rate": 1e-2, "progress": False}
        run = fit(model, guide, data, objective, seed=0, **rest)
        z = run.encode(data)["z"]
        within = z[:, 0] - torch.stack([z[y == k].mean() for k in range(3)])[y]
        told = torch.corrcoef(torch.stack([within, factor - 2.0 * y]))[0, 1].abs()
        return float(dependence(z, y)), float(told)

    plain, told = left(ELBO())
    penalised, still_told = left(ELBO() + Independence(weight=30.0))
    assert plain > 5 * penalised
    assert min(told, still_told) > 0.9


def test_a_discrete_site_is_refused_and_data_without_the_column_pass():
    pair = build("jvae")
    batch = {**pair.batch, "c": torch.zeros(len(pair.batch["x"]))}
    with pytest.raises(ValueError, match="expected a continuous site; 'y' is discrete"):
        (ELBO() + Independence("y", "c"))(pair.model, pair.guide)(batch)
    terms = (ELBO() + Independence("z", "angle"))(pair.model, pair.guide)(pair.batch)
    assert float(terms.extras["dependence_z_angle"]) == 0


def test_the_width_of_the_kernel_has_no_slope():
    """As if it were fixed: with a slope, the term would shrink all of z."""
    z, y = torch.randn(9, 2, requires_grad=True), torch.randn(9, 1)

    def kernel(rows):
        squares = (rows[:, None] - rows).square().sum(-1)
        width = squares.sum().detach() / (len(rows) * (len(rows) - 1))
        return (-squares / width).exp() * (1 - torch.eye(len(rows)))

    def hsic(a, b):
        n = len(a)
        mixed = (a @ b).sum() * 2 / (n - 2)
        return (a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - mixed

    a, b = kernel(z), kernel(y)
    expected = hsic(a, b) / (hsic(a, a) * hsic(b, b)).sqrt()
    found = dependence(z, y)
    torch.testing.assert_close(found, expected)
    slopes = (torch.autograd.grad(value, z)[0] for value in (found, expected))
    torch.testing.assert_close(*slopes)
