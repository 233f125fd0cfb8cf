"""Expressions of additive kernels: written, parsed, named; and their terms' features."""

from __future__ import annotations

import re

import gpytorch
import pytest
import torch

from ppvae.errors import ArgumentError, DataError
from ppvae.gp.additive import (
    RBF,
    AdditivePrior,
    Categorical,
    FreeForm,
    Linear,
    Matern,
    Observed,
    Periodic,
    SpectralMixture,
    contribution,
    decompose,
    parse,
    share_table,
    shares,
)
from tests.gp.additive.problems import L, columns, covariances, fill, prior_of


def test_an_expression_is_what_its_text_says():
    kernel = (
        Categorical("id")
        + RBF("age")
        + RBF("age", 2.0) * Categorical("id")
        + RBF("disease_age") * Observed("disease_age")
    )
    text = "cat(id) + rbf(age) + rbf(age, 2)*cat(id) + rbf(disease_age)*obs(disease_age)"
    assert kernel.written == parse(text).written == text
    assert kernel.names == ["id", "age", "age x id", "disease_age"]
    assert kernel.columns == ("id", "age", "disease_age")
    assert repr(parse("const + sm(t, 3)*periodic(t, 24)+linear(t)")) == (
        "Additive(const + sm(t, 3)*periodic(t, 24) + linear(t))"
    )


def test_terms_of_the_same_columns_are_told_apart_and_may_be_named():
    kernel = RBF("age") + Linear("age") + (Matern("age") * Categorical("sex")).named("drift")
    assert kernel.names == ["rbf(age)", "linear(age)", "drift"]


@pytest.mark.parametrize(
    "text",
    [
        "rbf",
        "rbf(age",
        "foo(age)",
        "rbf(age) + ",
        "rbf(age, x)",
        "cat(id, 3)",
        "rbf(age, 2, 1.5)",
        "const(age)",
        "",
    ],
)
def test_a_text_that_is_no_kernel_is_refused_with_an_example(text):
    with pytest.raises(ArgumentError, match=r"kernel: expected factors const.*Write it as in"):
        parse(text)


def test_matern_terms_of_another_smoothness_are_different_terms():
    kernel = Matern("age", 30.0, nu=0.5) + Matern("age", nu=1.5) + Matern("age")
    text = "matern12(age, 30) + matern32(age) + matern(age)"
    assert kernel.written == parse(text).written == text
    assert kernel.names == text.split(" + ")
    found = [term.factors[0].features.kernel.nu for term in parse(text)]
    assert found == [0.5, 1.5, 2.5]
    with pytest.raises(ArgumentError, match=r"nu: expected one of \[0.5, 1.5, 2.5\]; got 2.0"):
        Matern("age", nu=2.0)


def test_a_term_written_twice_is_refused():
    with pytest.raises(ArgumentError, match="more than once"):
        parse("cat(id)*rbf(age) + rbf(age)*cat(id)")


@pytest.mark.parametrize(
    ("factor", "kernel"),
    [
        (RBF("t", num_features=48, margin=1.0), gpytorch.kernels.RBFKernel()),
        (Matern("t", nu=2.5, num_features=96, margin=1.0), gpytorch.kernels.MaternKernel(nu=2.5)),
    ],
)
def test_features_are_the_kernel_of_the_column_in_its_unit(factor, kernel):
    t = torch.linspace(3, 43, 30, dtype=torch.float64)
    factor.lengthscale_given = 10.0
    factor.prepare(t)
    kernel.lengthscale = 10.0
    assert factor.lengthscale == pytest.approx(10.0)
    expected = kernel.double()(t[:, None]).to_dense()
    rows = factor(t)
    torch.testing.assert_close(rows @ rows.mT, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("factor", [Periodic("t", 24.0), SpectralMixture("t", 3)])
def test_other_kernels_keep_the_diagonal_at_one(factor):
    t = torch.linspace(0, 40, 30, dtype=torch.float64)
    factor.prepare(t)
    torch.testing.assert_close(factor(t).square().sum(-1), torch.ones(30, dtype=torch.float64))


def test_a_linear_kernels_diagonal_is_one_on_average():
    t = torch.linspace(0, 40, 30, dtype=torch.float64)
    factor = Linear("t")
    factor.prepare(t)
    assert float(factor(t).square().mean()) == pytest.approx(1.0)


def test_a_free_form_is_gpytorchs_index_kernel_and_gives_each_subject_one_of_their_own():
    data = columns()
    prior = AdditivePrior(FreeForm("task") * Categorical("id"), latent_dim=L).double()
    (free, _) = next(iter(prior.kernel))
    parameters = list(prior.parameters())
    prior.prepare(data)
    assert any(free.root is parameter for parameter in parameters)
    with torch.no_grad():
        free.root.copy_(torch.randn(3, 3))
    index = gpytorch.kernels.IndexKernel(num_tasks=3, rank=3).double()
    index.covar_factor.data.copy_(free.root / free.root.norm(dim=1, keepdim=True))
    index.raw_var_constraint = gpytorch.constraints.Positive(transform=torch.exp)
    index.raw_var.data.fill_(-100.0)
    between = index.covar_matrix.to_dense()
    expected = between[data["task"]][:, data["task"]]
    rows = free(data["task"])
    torch.testing.assert_close(rows @ rows.mT, expected)
    torch.testing.assert_close(free.correlation(), between)
    # Of the latents of a subject alone, with all shares of variance and the noise.
    v = prior.variances()[0]
    own = data["id"] == data["id"][0]
    dense = covariances(prior, data)[0][own][:, own]
    by_hand = v[0] * expected[own][:, own] + v[1] * torch.eye(int(own.sum())).double()
    torch.testing.assert_close(dense, by_hand)


def test_a_free_form_is_restored_with_its_categories():
    data = columns()
    prior = prior_of(data, kernel="rbf(age) + free(task)*cat(id)")
    with torch.no_grad():
        next(iter(list(prior.kernel)[1])).root.add_(torch.randn(3, 3))
    fresh = AdditivePrior("rbf(age) + free(task)*cat(id)", latent_dim=L).double()
    fresh.load_state_dict(prior.state_dict())
    prior.eval(), fresh.eval()
    for moments in zip(prior.moments(data), fresh.moments(data), strict=True):
        torch.testing.assert_close(*moments)
    with pytest.raises(DataError, match="'task'.*categories that the training data have, 0, 1, 2"):
        fresh.moments({**data, "task": torch.full_like(data["task"], 7)})


@pytest.mark.parametrize("factor", ["free(id)", "rbf(id)"])
def test_another_kernel_of_the_subjects_is_refused(factor):
    with pytest.raises(ArgumentError, match=f"cat.id. alone.*got {re.escape(factor)}"):
        AdditivePrior(f"cat(id) + {factor}*rbf(age)", latent_dim=L)


def test_missing_values_are_alike_and_unlike_all_others():
    term = RBF("t") * Observed("t")
    t = torch.tensor([0.0, 1.0, torch.nan, torch.nan])
    term.factors[0].prepare(t[:2])
    rows = term.features({"t": t})
    gram = rows @ rows.mT
    torch.testing.assert_close(gram.diagonal(), torch.ones(4, dtype=torch.float64))
    assert torch.equal(gram[2:, 2:], torch.ones(2, 2, dtype=torch.float64))
    assert torch.equal(gram[:2, 2:], torch.zeros(2, 2, dtype=torch.float64))


def test_contributions_add_up_and_draws_have_their_moments():
    data = columns()
    prior = prior_of(data)
    n = len(data["id"])
    fill(prior, torch.randn(n, L), 0.3 * torch.ones(n, L))
    parts = decompose(prior, data)
    whole = contribution(prior, data, num_draws=4000)
    assert list(parts) == prior.kernel.names
    torch.testing.assert_close(sum(part.mean for part in parts.values()), whole.mean)
    mean, variance = prior.moments(data)
    torch.testing.assert_close(whole.mean, mean)
    torch.testing.assert_close(whole.variance + prior.variances()[:, -1], variance)
    error = (whole.draws.mean(0) - whole.mean) / (whole.variance / 4000).sqrt()
    assert error.abs().max() < 5
    ratio = whole.draws.var(0) / whole.variance
    assert (ratio - 1).abs().max() < 5 * (2 / 4000) ** 0.5
    with pytest.raises(ArgumentError, match="expected names among"):
        contribution(prior, data, "height")


def test_shares_of_variance_add_to_one_and_are_printed_in_order():
    prior = AdditivePrior("rbf(age) + cat(id)", latent_dim=2, noise=0.1)
    with torch.no_grad():
        prior.raw_variances.copy_(torch.tensor([[0.6, 0.3, 0.1], [0.8, 0.1, 0.1]]).log())
    table = shares(prior)
    torch.testing.assert_close(sum(table.values()), torch.ones(2, dtype=torch.float64))
    heads, *lines = share_table(prior).splitlines()
    assert (heads.split(), len(heads)) == (["mean", "z", "1", "z", "2"], len(lines[0]))
    assert share_table(prior, latents=False).splitlines() == [line[:-10] for line in lines]
    assert [line.split()[0] for line in lines] == ["age", "id", "noise"]
    assert lines[0].split()[1:] == ["69.9", "%", "60", "80"]


def test_a_lengthscale_too_short_for_the_features_is_refused_with_the_number_needed():
    t = torch.arange(4000.0)
    factor = parse("matern(t, 20)").terms[0].factors[0]
    with pytest.raises(DataError, match=r"matern\(t, 20\): expected features that hold 95%") as e:
        factor.prepare(t)
    advised = re.search(r"Write (matern\(t, 20, (\d+)\))", str(e.value))
    kernel = parse(advised[1])
    assert kernel.written == advised[1]
    factor = kernel.terms[0].factors[0]
    factor.prepare(t)
    assert factor.num_features == int(advised[2])
    rows = factor(torch.tensor([2000.0, 2020.0, 2040.0]))
    exact = gpytorch.kernels.MaternKernel(nu=2.5)
    exact.lengthscale = 1.0
    expected = exact(torch.tensor([[0.0], [1.0], [2.0]])).to_dense()[0].double()
    assert torch.allclose(rows @ rows[0], expected.detach(), atol=0.1)
