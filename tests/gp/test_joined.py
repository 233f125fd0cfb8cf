"""Blocks of latents under priors of their own, and their mixtures, against dense algebra."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from gpytorch.kernels import MaternKernel
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from ppvae.data import Dataset
from ppvae.fitting import fit
from ppvae.gp import (
    Column,
    FourierFeatures,
    GPPrior,
    HilbertFeatures,
    Joined,
    JoinedPrior,
    LeaveViewOut,
    Mixing,
    ObjectTable,
    ProductFeatures,
    StandardPrior,
)
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO

P, N = 6, 20


def columns() -> dict[str, Tensor]:
    return {"object": torch.arange(N) % P, "view": torch.rand(N, 2) * torch.tensor([6.0, 1.0])}


def parts() -> tuple[GPPrior, GPPrior, StandardPrior]:
    """Two kernels, one of them of two factors beside the object, and latents without a GP."""
    table = ObjectTable(P, 2)
    angle = Column(FourierFeatures(num_frequencies=2), 0)
    time = Column(HilbertFeatures(MaternKernel(nu=1.5), (0.0, 1.0), num_features=4), 1)
    return (
        GPPrior(table, angle, latent_dim=2, noise=0.1),
        GPPrior(table, ProductFeatures(angle, time), latent_dim=1, noise=0.3),
        StandardPrior(2),
    )


def test_the_kl_is_the_sum_of_the_dense_ones():
    data = columns()
    first, second, style = parts()
    prior = JoinedPrior(first, second, style)
    q = dist.Normal(torch.randn(N, 5), torch.rand(N, 5) + 0.1).to_event(1)
    exact = kl_divergence(
        dist.Normal(q.mean[:, 3:], q.stddev[:, 3:]), dist.Normal(torch.zeros(2), 1.0)
    ).sum()
    for part in (first, second):
        part.prepare(data)
        part.train()
        part.record(torch.arange(N), {"z": q})
    for part, block in ((first, slice(0, 2)), (second, slice(2, 3))):
        part.solve()
        f = part.rows(data["object"], data["view"])
        covariance = f @ f.T + part.variances()[1] * torch.eye(N)
        p = MultivariateNormal(torch.zeros(N), covariance)
        for latent in range(block.start, block.stop):
            own = MultivariateNormal(q.mean[:, latent], q.variance[:, latent].diag())
            exact = exact + kl_divergence(own, p)
    joined = prior(data["object"], data["view"])
    assert isinstance(joined, Joined)
    torch.testing.assert_close(kl_divergence(q, joined).sum(), exact)


def test_it_trains_and_predicts_where_a_gp_prior_does():
    data = columns()
    prior = JoinedPrior(*parts())
    model = GPVAE(prior, nn.Sequential(Mixing(5, 3), MLP(3, heads.Normal((4,)), hidden=[8])))
    guide = GPGuide(MLP(4, heads.DiagonalNormal(5), hidden=[8]), prior)
    rows = Dataset({"x": torch.randn(N, 4), **data})
    before = [p.detach().clone() for p in prior.parameters() if p.requires_grad]
    run = fit(model, guide, rows, epochs=3, batch_size=10, progress=False, seed=0)
    assert len(run.history) == 3
    moved = [p for p in prior.parameters() if p.requires_grad]
    assert all(not torch.equal(a, b) for a, b in zip(before, moved, strict=True))
    predicted = prior(data["object"], data["view"])
    assert predicted.mean.shape == (N, 5)
    assert torch.isfinite(predicted.log_prob(predicted.rsample())).all()
    # Each block was settled on its own dimensions of the encodings.
    encoded = guide.encoder(torch.as_tensor(rows["x"])).mean
    torch.testing.assert_close(prior.parts[1].table, encoded[:, 2:3].detach())


def test_leave_view_out_leaves_the_view_out_of_every_block():
    data = {"object": torch.arange(N) % P, "view": torch.arange(N) // P * 1.5}
    views = FourierFeatures(num_frequencies=2)
    gps = [GPPrior(ObjectTable(P, 2), views, latent_dim=size, folds=4) for size in (2, 1)]
    prior = JoinedPrior(gps[0], StandardPrior(1), gps[1]).train()
    q = dist.Normal(torch.randn(N, 4), 0.1).to_event(1)
    for part in gps:
        part.prepare(data)
        part.record(torch.arange(N), {"z": q})
        part.solve()
    index = torch.tensor([3, 11])
    found = prior(data["object"][index], data["view"][index]).left_out(index)
    assert torch.equal(found[:, 2], torch.zeros(2))
    for part, block in ((gps[0], slice(0, 2)), (gps[1], slice(3, 4))):
        f = part.rows(data["object"], data["view"])
        for row, at in enumerate(index.tolist()):
            rest = data["view"] != data["view"][at]
            covariance = f[rest] @ f[rest].T + part.variances()[1] * torch.eye(int(rest.sum()))
            exact = f[at] @ f[rest].T @ torch.linalg.solve(covariance, q.mean[rest, block])
            torch.testing.assert_close(found[row, block], exact)
    model = GPVAE(prior, MLP(4, heads.Normal((2,)), hidden=[4]))
    batch = {"x": torch.randn(2, 2), **{k: v[index] for k, v in data.items()}, "index": index}
    guide = GPGuide(MLP(2, heads.DiagonalNormal(4), hidden=[4]), prior)
    terms = (ELBO() + LeaveViewOut())(model, guide, num_data=N)(batch)
    assert terms.extras["leave_view_out"].abs() > 0


def test_mixtures_have_the_covariance_of_coregionalisation():
    mixing = Mixing(2, 3)
    kernels = torch.randn(2, 4, 4)
    kernels = kernels @ kernels.mT
    draws = torch.linalg.cholesky(kernels) @ torch.randn(2, 4, 200_000)
    u = mixing(draws.permute(2, 1, 0)).detach()  # (S, N, K)
    empirical = torch.einsum("sni,smj->ijnm", u, u) / len(u)
    expected = mixing.covariance(kernels).detach()
    torch.testing.assert_close(empirical, expected, atol=0.02 * float(expected.max()), rtol=0.1)
    assert math.prod(expected.shape) == 3 * 3 * 4 * 4


def test_no_prior_is_refused():
    with pytest.raises(ValueError, match="expected a prior or more; got none"):
        JoinedPrior()
