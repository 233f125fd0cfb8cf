"""Guides that keep the GP's weights, against dense algebra in float64."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from ppvae.gp import FourierFeatures, GPPrior, ObjectTable
from ppvae.guides import PseudoGuide, WeightSpaceGuide
from ppvae.models import GPVAE
from ppvae.objectives import ELBO

P, Q, M, L = 7, 5, 2, 2
NOISE = 0.3  # of the observations of the linear model


class Data(dict):
    num_rows = property(lambda self: len(self["object"]))

    def batch(self, rows, dtype=None, device=None):
        return {name: column[rows] for name, column in self.items()}


class Known(nn.Module):
    """z or x itself, with a known standard deviation: makes the model linear and Gaussian."""

    def forward(self, value: Tensor) -> Independent:
        return dist.Normal(value, NOISE).to_event(1)


def setting(noise: float = 0.2) -> tuple[GPPrior, Data]:
    """A grid with a third of its cells missing and some cells seen twice."""
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(Q))
    kept = torch.cat([cells[torch.randperm(len(cells))[: 2 * P * Q // 3]], cells[::Q]])
    data = Data(object=kept[:, 0], view=kept[:, 1] * 2 * math.pi / Q, x=torch.randn(len(kept), L))
    prior = GPPrior(
        ObjectTable(P, M), FourierFeatures(num_frequencies=2), latent_dim=L, noise=noise
    )
    prior.objects.table.data += 0.3
    prior.prepare(data)
    return prior, data


def dense(prior: GPPrior, data: Data) -> tuple[Tensor, Tensor]:
    """F (N, H) and K = F F^T + v1 I."""
    f = prior.rows(data["object"], data["view"]).detach()
    return f, f @ f.T + prior.variances()[1].detach() * torch.eye(len(f))


def bound(model: GPVAE, guide: nn.Module, data: Data, rows: Tensor | None = None) -> Tensor:
    """The ELBO of each datum, its expected log-likelihood in closed form."""
    index = torch.arange(data.num_rows) if rows is None else rows
    batch = {**data.batch(index), "index": index}
    made = ELBO()(model, guide, num_data=data.num_rows)
    _, context = made.evaluate(batch)
    q = context.q["z"].base_dist
    fit = Normal(q.loc, NOISE).log_prob(batch["x"]) - q.scale.square() / (2 * NOISE**2)
    return fit.sum(-1) - kl_divergence(context.q["z"], context.p["z"])


def evidence(covariance: Tensor, x: Tensor) -> Tensor:
    noisy = covariance + NOISE**2 * torch.eye(len(x))
    return MultivariateNormal(torch.zeros(len(x)), noisy).log_prob(x.T).sum()


def pseudo(prior: GPPrior, data: Data, *, shared: bool = False) -> PseudoGuide:
    """Its pseudo-observations are the data, which in this model is exact."""
    guide = PseudoGuide(Known(), prior, shared=shared)
    guide.prepare(data)
    guide.settle(guide, data)
    return guide


@pytest.mark.parametrize("shared", [False, True])
def test_pseudo_observations_reach_the_evidence_of_a_linear_model(shared):
    prior, data = setting()
    guide = pseudo(prior, data, shared=shared)
    model = GPVAE(prior, Known()).train()
    exact = evidence(dense(prior, data)[1], data["x"])
    torch.testing.assert_close(bound(model, guide.train(), data).sum(), exact)


def test_pseudo_observations_have_the_gradient_of_the_evidence():
    """q(w) is held, and is the best there is, so that its own gradient is nil."""
    prior, data = setting()
    guide = pseudo(prior, data)
    moved = [prior.raw_noise, prior.objects.table]
    moved += [p for p in prior.views.parameters() if p.requires_grad]
    total = bound(GPVAE(prior, Known()).train(), guide.train(), data).sum()
    ours = torch.autograd.grad(total, moved)
    f = prior.rows(data["object"], data["view"])
    exact = evidence(f @ f.T + prior.variances()[1] * torch.eye(len(f)), data["x"])
    torch.testing.assert_close(ours, torch.autograd.grad(exact, moved))


@pytest.mark.parametrize("shared", [False, True])
def test_pseudo_observations_posterior_is_the_dense_gps(shared):
    prior, data = setting()
    guide = pseudo(prior, data, shared=shared).eval()
    f, covariance = dense(prior, data)
    gain = torch.linalg.solve(covariance + NOISE**2 * torch.eye(len(f)), covariance).T
    q = ELBO()(GPVAE(prior, Known()).eval(), guide, num_data=len(f)).evaluate(dict(data))[1]
    torch.testing.assert_close(q.q["z"].mean, gain @ data["x"])
    variance = (covariance - gain @ covariance).diagonal()[:, None].expand(-1, L)
    torch.testing.assert_close(q.q["z"].variance, variance)
    # At a view that nobody has seen, from the prior that was told.
    objects, views = torch.arange(P), torch.full((P,), 0.4)
    new = prior.eval().rows(objects, views).detach()
    cross = new @ f.T
    solved = torch.linalg.solve(covariance + NOISE**2 * torch.eye(len(f)), cross.T)
    predicted = prior(objects, views)
    torch.testing.assert_close(predicted.mean, solved.T @ data["x"])
    spread = (new @ new.T - cross @ solved).diagonal() + prior.variances()[1]
    torch.testing.assert_close(predicted.variance, spread[:, None].expand(-1, L))


def weight_space(prior: GPPrior, data: Data, *, full: bool) -> WeightSpaceGuide:
    guide = WeightSpaceGuide(prior, full=full)
    guide.prepare(data)
    return guide.train()


def test_weight_space_is_the_best_bound_of_its_family():
    """At the exact posterior of the weights of a regression without the noise v1."""
    prior, data = setting()
    guide = weight_space(prior, data, full=True)
    f, _ = dense(prior, data)
    best = torch.linalg.inv(torch.eye(f.size(1)) + f.T @ f / NOISE**2)
    factor = torch.linalg.cholesky(best)
    with torch.no_grad():
        guide.loc.copy_(best @ f.T @ data["x"] / NOISE**2)
        guide.raw_scale.copy_((factor.diagonal() - 1e-6).expm1().log().expand(L, -1))
        guide.lower.copy_(factor.expand(L, -1, -1))
    total = bound(GPVAE(prior, Known()).train(), guide, data).sum()
    # Of f.w alone the evidence is reached; the noise v1 costs its second moment.
    v1 = prior.variances()[1]
    exact = evidence(f @ f.T, data["x"]) - len(f) * L * v1 / (2 * NOISE**2)
    torch.testing.assert_close(total, exact, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("full", [False, True])
def test_weight_space_latents_and_kl_are_those_of_the_weights(full):
    prior, data = setting()
    guide = weight_space(prior, data, full=full)
    if full:
        guide.lower.data.normal_(0, 0.1)
    guide.raw_scale.data.normal_()
    q_w = MultivariateNormal(guide.loc.T, guide.covariance())
    size = guide.loc.size(0)
    p_w = MultivariateNormal(torch.zeros(size), torch.eye(size))
    torch.testing.assert_close(guide.weights_kl(), kl_divergence(q_w, p_w).sum())
    f, _ = dense(prior, data)
    guide.settle(guide, data)
    predicted = prior.eval()(data["object"], data["view"])
    model = GPVAE(prior, Known())
    q = ELBO()(model.train(), guide, num_data=len(f)).evaluate(dict(data))[1].q["z"]
    torch.testing.assert_close(q.mean, f @ guide.loc)
    torch.testing.assert_close(predicted.mean, q.mean)
    torch.testing.assert_close(predicted.variance, q.variance)
    torch.testing.assert_close(q.kl.sum(), guide.weights_kl())


@pytest.mark.parametrize("kind", ["pseudo", "weight space"])
def test_mini_batches_are_unbiased(kind):
    """The mean over a partition is the whole, bit for bit but for rounding."""
    prior, data = setting()
    guide = pseudo(prior, data) if kind == "pseudo" else weight_space(prior, data, full=False)
    model = GPVAE(prior, Known()).train()
    whole = bound(model, guide.train(), data)
    parts = torch.randperm(data.num_rows).split(6)
    pieces = torch.cat([bound(model, guide, data, rows) for rows in parts])
    torch.testing.assert_close(pieces.sum(), whole.sum())


def test_shared_weights_are_a_looser_bound_where_the_noise_differs():
    class Uneven(nn.Module):
        def forward(self, value: Tensor) -> Independent:
            return dist.Normal(value, torch.tensor([0.1, 1.0]).expand_as(value)).to_event(1)

    prior, data = setting()
    model = GPVAE(prior, Known()).train()
    exact = evidence(dense(prior, data)[1], data["x"])
    totals = []
    for shared in (False, True):
        guide = PseudoGuide(Uneven(), prior, shared=shared)
        guide.prepare(data)
        guide.settle(guide, data)
        totals.append(bound(model, guide.train(), data).sum())
    assert torch.isfinite(totals[1])
    assert totals[1] < exact
    assert totals[0] < exact


def test_pseudo_observations_are_solved_anew_every_refresh():
    prior, data = setting()
    guide = PseudoGuide(Known(), prior, refresh=2).train()
    guide.prepare(data)
    start = guide.mean.clone()
    bound(GPVAE(prior, Known()).train(), guide, data)
    guide.advance()
    assert torch.equal(guide.mean, start)
    guide.advance()
    assert not torch.equal(guide.mean, start)
    guide.settle(guide, data)
    torch.testing.assert_close(prior.mean, guide.mean)


def test_bad_arguments_are_refused_by_name():
    prior, _ = setting()
    with pytest.raises(ValueError, match="refresh: expected an integer >= 1; got 0"):
        PseudoGuide(Known(), prior, refresh=0)
    with pytest.raises(ValueError, match="scale: expected a number > 0; got 0"):
        WeightSpaceGuide(prior, scale=0.0)
