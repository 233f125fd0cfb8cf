"""A GP prior whose guide draws z after an enumerated class: what is kept is the mixture's."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.gp import FourierFeatures, GPPrior, LeaveViewOut, ObjectTable
from ppvae.guides import SemiSupervisedGuide
from ppvae.models import SemiSupervisedVAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.programs import data_plate, marginal_of
from ppvae.testing import Variant

N, K, Z, D = 12, 3, 2, 5


def pair(*, particles: int = 1) -> Variant:
    prior = GPPrior(ObjectTable(4, 2), FourierFeatures(num_frequencies=2), latent_dim=Z, folds=3)
    model = SemiSupervisedVAE(
        MLP([Z, K], heads.Normal((D,)), hidden=[8]), num_classes=K, prior=prior
    )
    guide = SemiSupervisedGuide(
        MLP([D, K], heads.DiagonalNormal(Z), hidden=[8]),
        classifier=MLP(D, heads.Classes(K), hidden=[8]),
        num_classes=K,
    )
    cells = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    batch = {
        "x": torch.randn(N, D),
        "y": torch.where(torch.arange(N) < 4, torch.arange(N) % K, torch.tensor(-1)),
        "object": cells[:, 0],
        "view": cells[:, 1] * 2.0,
        "index": torch.arange(N),
    }
    spec = ELBO(num_particles=particles) + LeaveViewOut()
    return Variant(model, guide, batch, spec).copy()


def moments(made: Variant) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of sum_k q(k) q(z | k), class by class."""
    x, y = made.batch["x"], made.batch["y"]
    probs = made.guide.classifier(x).probs
    known = torch.eye(K)[y.clamp_min(0)]
    probs = torch.where((y >= 0)[:, None], known, probs)
    one_hots = torch.eye(K)[:, None].expand(K, N, K)
    q = made.guide.encoder(x, one_hots)
    mean = torch.einsum("nk,knz->nz", probs, q.mean)
    square = torch.einsum("nk,knz->nz", probs, q.variance + q.mean.square())
    return mean, square - mean.square()


@pytest.mark.parametrize("particles", [1, 2])
def test_the_table_has_the_mixtures_moments(particles):
    made = pair(particles=particles)
    prior = made.model.prior
    made.loss()
    mean, variance = moments(made)
    torch.testing.assert_close(prior.table, mean.detach())
    torch.testing.assert_close(prior.table_variances, variance.sum(-1).detach())


def test_what_is_settled_does_not_depend_on_a_drawn_class():
    made = pair()
    prior = made.model.prior
    prior.settle(made.guide, made.batch)
    mean, variance = moments(made)
    torch.testing.assert_close(prior.table, mean.detach())
    torch.testing.assert_close(prior.table_variances, variance.sum(-1).detach())


class TwoClasses(nn.Module):
    """q(a) q(b | a) q(z | b): a is an ancestor that z does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.rand(N, 2).softmax(-1), torch.rand(2, K).softmax(-1)
        self.loc, self.scale = torch.randn(K), torch.rand(K) + 0.1

    def forward(self, x):
        enumerated = {"enumerate": "parallel"}
        with data_plate(x):
            a = pyro.sample("a", dist.Categorical(self.first), infer=enumerated)
            b = pyro.sample("b", dist.Categorical(self.second[a]), infer=enumerated)
            pyro.sample("z", dist.Normal(self.loc[b], self.scale[b]))


def test_the_marginal_behind_two_classes_is_exact():
    guide = TwoClasses()
    q = marginal_of(guide, {"x": torch.zeros(N)}, "z")
    weights = guide.first @ guide.second
    expected = dist.MixtureSameFamily(
        dist.Categorical(weights),
        dist.Normal(guide.loc.expand(N, K), guide.scale.expand(N, K)),
    )
    torch.testing.assert_close(q.mean, expected.mean)
    torch.testing.assert_close(q.variance, expected.variance)
    assert q.batch_shape == (N,)


def test_leaving_a_view_out_bounds_with_the_guides_class():
    made = pair()
    model, batch = made.model.train(), made.batch
    model.prior.frozen_left_out.normal_()
    objective = made.objective(ELBO() + LeaveViewOut())
    terms, context = objective.evaluate(batch)
    found = terms.extras["leave_view_out"]
    # The same draw of z without the view, then the classes one by one.
    prior = model.prior(batch["object"], batch["view"])
    z = prior.left_out(batch["index"])
    q = context.q["y"]
    probs = torch.stack([q.log_prob(torch.full((N,), k)).exp() for k in range(K)], -1)
    draws = []
    for seed in range(100):
        torch.manual_seed(seed)
        noisy = z + prior.variance.sqrt() * torch.randn_like(z)
        scores = torch.stack(
            [
                model.decoder(noisy, torch.eye(K)[k].expand(N, K)).log_prob(batch["x"])
                for k in range(K)
            ],
            -1,
        )
        draws.append(-(probs * scores).sum(-1) + terms.kl["y"])
    several = torch.stack(draws).mean(-1).detach()
    losses = []
    for seed in range(100):
        torch.manual_seed(1000 + seed)
        losses.append(objective.spec.terms[0](context).detach())
    values = torch.stack(losses)
    error = (several.var() / 100 + values.var() / 100).sqrt()
    assert torch.isfinite(found)
    assert (several.mean() - values.mean()).abs() < 5 * error
