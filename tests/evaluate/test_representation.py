"""Neighbours, probes, clusters, latents and embeddings on hand-made cases."""

from __future__ import annotations

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.errors import MissingPackageError
from ppvae.evaluate import (
    active_units,
    cluster_scores,
    dependencies,
    elbo_surgery,
    information,
    invariance,
    kept_neighbours,
    kmeans,
    knn_overlap,
    knn_probe,
    linear_probe,
    log_likelihood,
    neighbours,
    tsne,
    umap,
)
from ppvae.programs import batch_for, data_plate, posterior
from ppvae.runs.run import Run
from tests.evaluate.programs import linear_run, pair_run


def by_definition(data, codes, k):
    """Trustworthiness from its formula, one datum at a time."""
    rows, total = len(data), 0
    for i in range(rows):
        away = (data - data[i]).square().sum(1)
        away[i] = torch.inf
        shown = (codes - codes[i]).square().sum(1)
        shown[i] = torch.inf
        rank = away.argsort().argsort() + 1
        total += (rank[shown.argsort()[:k]] - k).clamp_min(0).sum()
    return 1 - 2 * float(total) / (rows * k * (2 * rows - 3 * k - 1))


def test_trustworthiness_and_continuity_are_their_definitions():
    data, codes = torch.randn(30, 4), torch.randn(30, 2)
    found = neighbours(data, codes, ks=[3, 7])
    for k in (3, 7):
        assert found.trustworthiness[k] == pytest.approx(by_definition(data, codes, k))
        assert found.continuity[k] == pytest.approx(by_definition(codes, data, k))


def test_a_similar_map_keeps_all_neighbours():
    data = torch.randn(40, 3)
    found = neighbours(data, 2 * data + 1, ks=[5])
    assert found.trustworthiness[5] == found.continuity[5] == found.overlap[5] == 1


def test_a_torn_circle_is_trusted_and_not_continuous_and_a_folded_one_the_reverse():
    angle = torch.arange(60) * 2 * math.pi / 60
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    torn, folded = angle[:, None], circle[:, :1]
    cut, laid = neighbours(circle, torn, ks=[4]), neighbours(circle, folded, ks=[4])
    assert cut.trustworthiness[4] > cut.continuity[4]
    assert laid.trustworthiness[4] < laid.continuity[4]


def test_overlap_by_hand():
    data = torch.tensor([[0.0], [1.0], [2.1], [10.0], [11.0], [12.1]])
    assert knn_overlap(data, data[[0, 1, 2, 5, 4, 3]], k=1) == pytest.approx(5 / 6)
    assert knn_overlap(data, -data, k=2) == 1
    assert kept_neighbours(data, data[[0, 1, 2, 5, 4, 3]], k=1).tolist() == [1, 1, 1, 1, 0, 1]
    far = data[[0, 3, 1, 4, 2, 5]]
    assert knn_overlap(data, far, k=2) < 0.6


def test_probes_read_what_is_there():
    z = torch.randn(600, 3)
    assert linear_probe(z, 2 * z[:, 0] - z[:, 1]) == pytest.approx(1, abs=1e-3)
    assert linear_probe(z, (z[:, 0] > 0).long()) > 0.95
    ring = (z[:, :2].square().sum(1) > 1.4).long()
    assert knn_probe(z[:, :2], ring) > 0.9 > linear_probe(z[:, :2], ring)
    assert knn_probe(z, z[:, 0]) > 0.8
    assert linear_probe(z, torch.randn(600)) < 0.1
    partly = torch.where(torch.arange(600) < 300, ring, torch.tensor(-1))
    assert knn_probe(z[:, :2], partly) > 0.8


def test_clusters_by_any_name():
    true = torch.arange(90) % 3
    found = cluster_scores((true + 1) % 3, true)
    assert (found.accuracy, found.ari, found.nmi) == pytest.approx((1, 1, 1))
    chance = cluster_scores(torch.randint(0, 3, (3000,)), torch.arange(3000) % 3)
    assert abs(chance.ari) < 0.02
    assert chance.nmi < 0.02
    assert cluster_scores(torch.tensor([0, 1, 1]), torch.tensor([0, 1, -1])).accuracy == 1
    codes = 10 * torch.eye(3)[true] + torch.randn(90, 3)
    assert cluster_scores(kmeans(codes, 3), true).accuracy == 1


def test_units_that_do_not_move_are_not_active():
    means = torch.randn(500, 3) * torch.tensor([1.0, 0.01, 0.3])
    assert active_units(means).tolist() == [True, False, True]


def test_surgery_adds_up_and_knows_the_marginal():
    run = linear_run()
    x = run.model.draw(1000)
    found = elbo_surgery(run, {"x": x})
    rate = float(log_likelihood(run, {"x": x}, num_particles=2).rate.mean())
    assert found.rate == pytest.approx(rate, abs=0.1)
    assert found.rate == pytest.approx(found.mutual_information + found.marginal_kl)
    # With the exact guide on the model's own data the aggregate is the prior.
    assert abs(found.marginal_kl) < 0.15
    # I(x; z) = log |cov x| / 2 - log |cov x given z| / 2.
    exact = 0.5 * run.model.covariance.logdet() - len(x[0]) * math.log(run.model.sigma)
    assert found.mutual_information == pytest.approx(float(exact.detach()), abs=0.25)
    off = elbo_surgery(linear_run(shift=2.0), {"x": x})
    assert off.marginal_kl > 1


@pytest.mark.parametrize("name", ["vae, full covariance", "gpvae", "jvae"])
def test_surgery_works_for_sites_of_any_model(name):
    run, data = pair_run(name)
    found = elbo_surgery(run, data, num_draws=4)
    assert -0.1 <= found.mutual_information <= math.log(data.num_rows) + 1e-9
    assert found.rate == pytest.approx(found.mutual_information + found.marginal_kl)


class Chain(nn.Module):
    """p(z1) p(z2 | z1) p(x | z2), or one latent z1 with the prior p(z1 | c)."""

    def __init__(self, *, conditional: bool = False) -> None:
        super().__init__()
        self.conditional = conditional
        self.unit = nn.Parameter(torch.ones(2))

    def forward(self, x=None, c=None, *, size=None):
        with data_plate(x, c, size=size):
            loc = self.unit.new_zeros(1) if c is None else 3 * c
            z = pyro.sample("z1", dist.Normal(loc, 1.0).to_event(1))
            if not self.conditional:
                z = pyro.sample("z2", dist.Normal(z, 0.1).to_event(1))
            return pyro.sample("x", dist.Normal(z * self.unit, 1.0).to_event(1), obs=x)


class ChainGuide(Chain):
    """The prior as guide, which does not look at x; or a point."""

    def forward(self, x, c=None):
        with data_plate(x):
            loc = self.unit[:1].expand(len(x), 1) * (0.0 if c is None else 3 * c)
            z = pyro.sample("z1", dist.Normal(loc, 1.0).to_event(1))
            if not self.conditional:
                pyro.sample("z2", dist.Normal(z, 0.1).to_event(1))


def test_surgery_refuses_what_has_no_such_parts():
    x, c = torch.randn(40, 2), torch.randn(40, 1)
    run = Run(Chain(), ChainGuide())
    assert elbo_surgery(run, {"x": x}, site="z1").mutual_information == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="'z2': expected a posterior that depends on the columns"):
        elbo_surgery(run, {"x": x}, site="z2")
    # Its marginal KL was negative: that of a mean posterior from the priors of single rows.
    run = Run(Chain(conditional=True), ChainGuide(conditional=True))
    with pytest.raises(ValueError, match="'z1': expected one prior for all rows"):
        elbo_surgery(run, {"x": x, "c": c}, site="z1")
    assert information(run, {"x": x, "c": c}, site="z1").lower > 0


def test_the_bounds_enclose_the_information():
    run = linear_run()
    x = run.model.draw(2000)
    exact = 0.5 * run.model.covariance.logdet() - len(x[0]) * math.log(run.model.sigma)
    bounds = information(run, {"x": x}, max_rows=2000)
    assert bounds.limit == math.log(2000)
    assert bounds.lower - 0.1 < float(exact.detach()) < bounds.upper + 0.1
    assert bounds.upper - bounds.lower < 0.5
    # With few rows the lower bound is at its limit, and the KL is the tighter upper one.
    few = information(run, {"x": x[:3]}, num_draws=50)
    assert few.lower <= math.log(3) + 1e-9 < float(exact.detach())
    rate = elbo_surgery(run, {"x": x[:3]}).rate
    assert few.upper <= rate + 0.3


def test_a_posterior_that_is_the_same_for_all_data_has_no_information_whatever_its_kl():
    run = linear_run(shift=2.0)
    with torch.no_grad():
        run.guide.gain.zero_()
    x = run.model.draw(50)
    assert information(run, {"x": x}).upper == pytest.approx(0, abs=1e-6)


def test_classes_are_summed_over_and_what_depends_on_a_latent_is_refused():
    run, data = pair_run("ssvae, class")
    q = posterior(run.guide, batch_for(run.guide, data.select("x")))["y"]
    mean = q.probs.mean(0)
    exact = (q.probs * (q.probs / mean).log()).sum(-1).mean()
    assert information(run, data, site="y").lower == pytest.approx(float(exact))
    with pytest.raises(ValueError, match="expected one distribution per datum|on another latent"):
        information(run, data, site="z")
    with pytest.raises(ValueError, match="expected two rows or more"):
        information(run, data.take(torch.tensor([0])), site="y")


def test_invariance_of_codes():
    codes = torch.randn(2000, 3)
    assert invariance(codes, codes) == 1
    assert invariance(codes, codes[torch.randperm(2000)]) == pytest.approx(0, abs=0.05)
    assert invariance(codes, -codes) == pytest.approx(-1, abs=1e-2)


def test_partial_correlation_is_direct_dependence():
    # A chain a -> b -> c: a and c depend through b alone.
    a = torch.randn(4000)
    b = a + 0.5 * torch.randn(4000)
    c = b + 0.5 * torch.randn(4000)
    found = dependencies(torch.stack([a, b, c], 1)).partial_correlation
    assert found[0, 1] > 0.5
    assert found[1, 2] > 0.4
    assert abs(found[0, 2]) < 0.1


def test_embeddings_keep_clusters_apart():
    true = torch.arange(60) % 2
    codes = 10 * torch.eye(2)[true] + 0.1 * torch.randn(60, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        flat = tsne(codes)
    assert flat.shape == (60, 2)
    assert knn_probe(flat, true) == 1
    pytest.importorskip("umap")
    assert umap(codes).shape == (60, 2)


def test_umap_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'ppvae\[embedding\]'"):
        umap(torch.randn(10, 2))


def test_bad_input_is_refused():
    run, data = pair_run("jvae")
    z = torch.randn(10, 2)
    with pytest.raises(ValueError, match="neighbours: expected data and codes of one length"):
        neighbours(z, z, ks=[5])
    with pytest.raises(ValueError, match="probe: expected features and a target of one length"):
        linear_probe(z, z[:3, 0])
    with pytest.raises(ValueError, match="probe: expected at least 4 known rows; got 0"):
        linear_probe(z, torch.full((10,), -1))
    with pytest.raises(ValueError, match="k: expected less than half of the 8 known rows; got 4"):
        knn_probe(z, torch.tensor([-1, -1, 0, 1, 0, 1, 0, 1, 0, 1]), k=4)
    with pytest.raises(ValueError, match=r"means: expected shape \(N, Z\)"):
        active_units(z[0])
    with pytest.raises(ValueError, match="codes: expected two tensors of one shape"):
        invariance(z, z[:5])
    with pytest.raises(ValueError, match="codes: expected codes that differ"):
        invariance(torch.ones(4, 2), torch.ones(4, 2))
    with pytest.raises(ValueError, match=r"site: expected one of the latent sites \['z', 'y'\]"):
        elbo_surgery(run, data, site="w")
    with pytest.raises(ValueError, match="codes: expected at least two dimensions"):
        dependencies(torch.ones(20, 2))
    with pytest.raises(ValueError, match=r"codes: expected shape \(N, ...\) with N >= 4"):
        tsne(z[:2])
