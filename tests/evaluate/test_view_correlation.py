"""The correlation between views: sites, their density, the posterior, what is refused."""

import importlib
import math
from dataclasses import replace

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.errors import ArgumentError
from ppvae.evaluate import view_correlation
from ppvae.evaluate.view_sites import ViewSites, view_sites
from ppvae.gp import FourierFeatures, FreeFormFeatures, GPPrior, ObjectTable
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, heads
from ppvae.runs import Run

L = 2


class Given(nn.Module):
    """An encoder of data that hold the means and the standard deviations of the latents."""

    def forward(self, x):
        mean, scale = x.chunk(2, -1)
        return dist.Normal(mean, scale).to_event(1)


def pair(objects, values, table=None):
    torch.manual_seed(0)
    who = ObjectTable(objects, objects)
    who.table.data.copy_(torch.eye(objects) if table is None else table)
    prior = GPPrior(who, FreeFormFeatures(values), latent_dim=L, noise=0.3)
    decoder = MLP(L, heads.Normal((2 * L,), heads.Shared(0.5)), hidden=())
    return Run(GPVAE(prior, decoder).double(), GPGuide(Given(), prior).double()), prior


def study(correlation, objects, noise, seed=0, missing=True):
    """A pair whose guide is the best linear encoder of sites drawn with a correlation.

    That is m = c y with a variance s^2, each of one view, at the maximum of the dense ELBO.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(correlation)
    root = torch.linalg.cholesky(correlation)
    z = torch.randn(objects, L, size, generator=generator, dtype=torch.float64) @ root.mT
    noise = noise * (0.5 + torch.rand(size, generator=generator, dtype=torch.float64))
    y = z + noise.sqrt() * torch.randn(z.shape, generator=generator, dtype=torch.float64)
    run, prior = pair(objects, torch.arange(size))
    rows = prior.views(torch.arange(size))
    v0, v1 = prior.variances()
    k = (v0 * rows @ rows.mT + v1 * torch.eye(size)).detach()
    views = [
        [q for q in range(size) if not (missing and q == p % (size + 1))] for p in range(objects)
    ]
    gain, log_scale = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for _ in "cs")

    def loss():
        mean, variance = gain.exp() * y, (2 * log_scale).exp()
        total = 0.0
        for t in {tuple(own) for own in views}:
            some, t = [p for p in range(objects) if tuple(views[p]) == t], list(t)
            m, s2 = mean[some][..., t], variance[t].expand(len(some), L, len(t))
            q = dist.MultivariateNormal(m, torch.diag_embed(s2))
            zero = torch.zeros(len(t), dtype=torch.float64)
            kl = torch.distributions.kl_divergence(q, dist.MultivariateNormal(zero, k[t][:, t]))
            errors = ((m - y[some][..., t]).square() + s2) / noise[t]
            total = total + kl.sum() + 0.5 * errors.sum()
        return total / objects

    optimizer = torch.optim.LBFGS(
        [gain, log_scale], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def step():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(step)
    mean, scale = (gain.exp() * y).detach(), log_scale.exp().detach()
    pairs = [(p, q) for p in range(objects) for q in views[p]]
    order = torch.randperm(len(pairs), generator=generator).tolist()
    p, q = torch.tensor([pairs[i] for i in order]).T
    x = torch.cat([mean[p, :, q], scale[q][:, None].expand(-1, L)], 1)
    return run, {"object": p, "view": q, "x": x}, y, noise.expand(y.shape)


THREE = torch.tensor([[1.0, 0.8, 0.1], [0.8, 1.0, 0.3], [0.1, 0.3, 1.0]], dtype=torch.float64)


def test_the_sites_are_those_whose_best_encoder_the_guide_is():
    run, data, y, noise = study(THREE, 40, 0.5, missing=False)
    sites, learned = view_sites(run, run.columns(data))
    there = sites.present[:, None].expand_as(sites.known)
    assert torch.equal(sites.known, there)
    assert sites.present.sum() == len(data["x"])
    torch.testing.assert_close(sites.value, y, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sites.noise, noise, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(learned.diagonal(), torch.ones(3, dtype=torch.float64))


def test_the_density_of_all_objects_at_once_is_that_of_dense_algebra():
    run, data, _, _ = study(THREE, 9, 0.5)
    sites, _ = view_sites(run, run.columns(data))
    assert not sites.known.all()
    draws = torch.stack([THREE, torch.eye(3, dtype=torch.float64)])
    log_scale = torch.tensor([[0.1, -0.2], [0.3, 0.0]], dtype=torch.float64)
    for draw in range(2):
        dense = 0.0
        for p in range(9):
            t = sites.present[p].nonzero()[:, 0]
            for latent in range(L):
                scale = (2 * log_scale[draw, latent]).exp()
                noise = torch.diag(sites.noise[p, latent, t])
                covariance = scale * draws[draw][t][:, t] + noise
                zero = torch.zeros(len(t), dtype=torch.float64)
                value = sites.value[p, latent, t]
                dense += dist.MultivariateNormal(zero, covariance).log_prob(value)
        torch.testing.assert_close(sites.log_density(draws, log_scale)[draw], dense)


def test_the_posterior_of_two_views_is_that_of_quadrature():
    two = THREE[:2, :2]
    run, data, _, _ = study(two, 15, 0.5)
    found = view_correlation(run, data, num_draws=4000)
    sites, _ = view_sites(run, run.columns(data))
    # LKJ with concentration one is uniform over the correlation of two views.
    grid = torch.linspace(-0.999, 0.999, 150, dtype=torch.float64)
    scales = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    matrices = torch.eye(2, dtype=torch.float64).repeat(len(grid), 1, 1)
    matrices[:, 0, 1] = matrices[:, 1, 0] = grid
    both = torch.cartesian_prod(scales, scales)
    log_density = torch.stack(
        [
            sites.log_density(matrices, pair.expand(len(grid), 2))
            - 0.5 * (pair / 0.5).square().sum()
            for pair in both
        ]
    )
    mass = log_density.logsumexp(0).softmax(0)
    mean = float((mass * grid).sum())
    spread = float((mass * (grid - mean).square()).sum().sqrt())
    ends = [float(grid[torch.searchsorted(mass.cumsum(0), share)]) for share in (0.05, 0.95)]
    assert spread > 0.05
    assert abs(found.mean[0, 1] - mean) < 0.1 * spread
    assert abs(found.lower[0, 1] - ends[0]) < 0.2 * spread
    assert abs(found.upper[0, 1] - ends[1]) < 0.2 * spread
    assert found.pareto_k < 0.7
    assert not found.cautions


def test_intervals_hold_the_truth_as_often_as_they_say_and_without_the_noise_do_not(monkeypatch):
    # As much noise as signal, in eight studies of three correlations.
    pairs = tuple(torch.triu_indices(3, 3, 1))
    studies = [study(THREE, 80, 1.0, seed=seed)[:2] for seed in range(8)]

    def inside():
        found = [view_correlation(run, data, num_draws=400) for run, data in studies]
        held = [((f.lower <= THREE) & (THREE <= f.upper))[pairs] for f in found]
        return int(torch.stack(held).sum())

    assert inside() >= 18  # of 24; 1 % of binomial draws at 0.9 have fewer
    module = importlib.import_module("ppvae.evaluate.view_correlation")

    def without_noise(*arguments, **options):
        sites, learned = view_sites(*arguments, **options)
        return replace(sites, noise=torch.where(sites.known, 1e-3, sites.noise)), learned

    monkeypatch.setattr(module, "view_sites", without_noise)
    assert inside() < 14


def test_a_smaller_mass_has_narrower_intervals():
    run, data, _, _ = study(THREE, 20, 0.5)
    wide, narrow = (view_correlation(run, data, interval=mass) for mass in (0.9, 0.5))
    assert (narrow.upper - narrow.lower)[0, 1] < (wide.upper - wide.lower)[0, 1]
    assert torch.equal(narrow.mean, wide.mean)


def test_a_seed_gives_the_same_draws_and_the_callers_random_numbers_stay():
    run, data, _, _ = study(THREE, 12, 0.5)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, again, other = (view_correlation(run, data, num_draws=200, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.draws, again.draws)
    assert not torch.equal(one.draws, other.draws)


def test_the_table_names_each_pair_once():
    run, data, _, _ = study(THREE, 30, 0.5)
    found = view_correlation(run, data, names=("a", "b", "c"), num_draws=200)
    rows = found.rows()
    assert [(row["first"], row["second"]) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert rows[0]["mean"] == float(found.mean[0, 1])
    text = str(found).splitlines()
    assert "90% interval" in text[0]
    assert text[1].startswith("a, b")
    assert f"{rows[0]['lower']:.2f} to" in text[1]


def test_latents_of_which_the_likelihood_knows_nothing_are_left_out_with_a_caution(caplog):
    run, data, _, _ = study(THREE, 30, 0.5, missing=False)
    plain = view_correlation(run, data)
    idle = {**data, "x": data["x"].clone()}
    _, learned = view_sites(run, run.columns(data))
    own = torch.linalg.inv(learned).diagonal()
    idle["x"][:, 1] = 0.0
    idle["x"][:, L + 1] = own[data["view"]].rsqrt()
    found = view_correlation(run, idle)
    assert found.idle == 0.5
    assert found.observations == 30 == plain.observations / 2
    assert "the likelihood knows nothing" in str(found)
    assert "the likelihood knows nothing" in caplog.text
    assert float(found.upper[0, 1] - found.lower[0, 1]) > float(
        plain.upper[0, 1] - plain.lower[0, 1]
    )


def test_views_that_no_object_has_together_are_named():
    run, data, _, _ = study(THREE, 20, 0.3, missing=False)
    keep = torch.where(data["object"] < 10, data["view"] != 2, data["view"] != 0)
    found = view_correlation(run, {n: c[keep] for n, c in data.items()}, names=("a", "b", "c"))
    assert any("No object has both a and c" in caution for caution in found.cautions)


def test_what_cannot_be_estimated_is_refused():
    run, data, _, _ = study(THREE, 6, 0.5)
    twice = {name: torch.cat([column, column[:1]]) for name, column in data.items()}
    with pytest.raises(ArgumentError, match="at most one datum each; got 2"):
        view_correlation(run, twice)
    first = data["object"] == 0
    with pytest.raises(ArgumentError, match="two or more objects; got 1"):
        view_correlation(run, {name: column[first] for name, column in data.items()})
    with pytest.raises(ArgumentError, match="names: expected 3"):
        view_correlation(run, data, names=("a", "b"))
    for options in ({"interval": 1.5}, {"num_draws": 3}, {"concentration": 0.0}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            view_correlation(run, data, **options)

    table = torch.eye(6)
    table[1, 0] = 0.5
    related, _ = pair(6, torch.arange(3), table)
    with pytest.raises(ArgumentError, match="independent of each other; got 0.45 between 0 and 1"):
        view_correlation(related, data)
    one, _ = pair(6, torch.arange(1))
    with pytest.raises(ArgumentError, match="two or more views; got one"):
        view_correlation(one, data)
    smooth = GPPrior(ObjectTable(6, 6), FourierFeatures(), latent_dim=L)
    with pytest.raises(ArgumentError, match="got GPPrior with FourierFeatures"):
        view_correlation(Run(GPVAE(smooth, nn.Identity()), run.guide), data)

    class Full(Given):
        def forward(self, x):
            normal = super().forward(x)
            return dist.MultivariateNormal(normal.mean, torch.diag_embed(normal.variance))

    full = Run(run.model, GPGuide(Full(), run.guide.prior).double())
    with pytest.raises(
        ArgumentError, match="guide with a diagonal normal at 'z'; got Multivariate"
    ):
        view_correlation(full, data)


def test_a_site_that_is_missing_has_no_part_in_the_density():
    sites = ViewSites(
        torch.tensor([[[0.5, 0.0]]], dtype=torch.float64),
        torch.ones(1, 1, 2, dtype=torch.float64),
        torch.tensor([[[True, False]]]),
        torch.tensor([[True, True]]),
    )
    expected = -0.5 * (0.25 / 2 + math.log(2) + math.log(2 * math.pi))
    zero = torch.zeros(1, dtype=torch.float64)
    assert sites.log_density(THREE[:2, :2], zero).item() == pytest.approx(expected)
