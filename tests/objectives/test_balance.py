"""The evenness of classes over a batch."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.objectives import ELBO, Balance, Consistency
from ppvae.programs import data_plate
from tests.pairs import K, build


def balance(logits, *, weight=1.0):
    pair = build("jvae")
    linear = pair.guide.encoder.rest[-1]
    with torch.no_grad():
        linear.weight[-K:] = 0
        linear.bias[-K:] = torch.tensor(logits)
    return (ELBO() + Balance(weight=weight))(pair.model, pair.guide)(pair.batch)


def test_even_classes_cost_nothing_and_one_class_for_all_costs_its_surprise():
    assert balance([0.0, 0.0, 0.0]).extras["balance_y"].item() == pytest.approx(0.0, abs=1e-6)
    terms = balance([50.0, 0.0, 0.0], weight=2.0)
    assert terms.extras["balance_y"].item() == pytest.approx(2 * math.log(K), rel=1e-4)
    torch.testing.assert_close(terms.loss, -terms.elbo.mean() + terms.extras["balance_y"])


def test_it_is_the_kl_less_the_mutual_information():
    pair = build("jvae")
    with torch.no_grad():
        pair.guide.encoder.rest[-1].weight[-K:] *= 20
    terms = (ELBO() + Balance())(pair.model, pair.guide)(pair.batch)
    probs = pair.guide.encoder(pair.batch["x"])["y"].probs
    information = (probs * (probs / probs.mean(0)).log()).sum(-1).mean()
    torch.testing.assert_close(
        terms.kl["y"].mean(), information + terms.extras["balance_y"], rtol=1e-6, atol=1e-6
    )


def test_it_works_for_partly_known_classes():
    pair = build("ssvae, class")
    terms = (pair.objective + Balance())(pair.model, pair.guide)(pair.batch)
    assert torch.isfinite(terms.extras["balance_y"])


def two_classes(kind, probs):
    if kind == "Bernoulli":
        return dist.Bernoulli(probs)
    if kind == "Binomial":
        return dist.Binomial(1, probs)
    both = torch.stack([1 - probs, probs], -1)
    return dist.Categorical(both) if kind == "Categorical" else dist.OneHotCategorical(both)


class TwoClasses(nn.Module):
    """p(y = 1) = 0.3, or c; q(y = 1 | x) = sigmoid(0.7 x + 1), or of another sign given w."""

    def __init__(self, kind, *, guide=False, mixed=False):
        super().__init__()
        self.kind, self.guide, self.mixed = kind, guide, mixed
        self.slope = nn.Parameter(torch.tensor(0.7))

    def forward(self, x=None, c=None, *, size=None):
        infer, value = {"enumerate": "parallel"} if self.guide else {}, None
        with data_plate(x, c, size=size):
            if self.mixed:
                w = pyro.sample("w", dist.Categorical(torch.tensor([0.25, 0.75])), infer=infer)
            if self.guide:
                sign = 1.0 - 2.0 * w if self.mixed else 1.0
                probs = torch.sigmoid(self.slope * x * sign + 1)
            else:
                probs = self.slope.new_tensor(0.3) if c is None else c
            value = pyro.sample("y", two_classes(self.kind, probs), infer=infer)
            if not self.guide:
                value = value[..., 1] if self.kind == "OneHotCategorical" else value
                pyro.sample("x", dist.Normal(value * self.slope, 1.0), obs=x)


def kl_of(q, p):
    return (q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()).item()


@pytest.mark.parametrize("kind", ["Categorical", "Bernoulli", "OneHotCategorical", "Binomial"])
def test_it_is_right_for_any_site_of_classes(kind):
    x = torch.randn(16)
    q, changed = torch.sigmoid(0.7 * x + 1), torch.sigmoid(0.7 * (x + 0.5) + 1)
    terms = ELBO() + Balance() + Consistency(lambda v: v + 0.5)
    found = terms(TwoClasses(kind), TwoClasses(kind, guide=True))({"x": x}).extras
    assert found["balance_y"].item() == pytest.approx(kl_of(q.mean(), torch.tensor(0.3)), rel=1e-4)
    rows = [kl_of(*pair) for pair in zip(q, changed, strict=True)]
    assert found["consistency_y"].item() == pytest.approx(sum(rows) / 16, rel=1e-3)


def test_a_prior_of_each_row_counts_by_its_mean():
    x, c = torch.randn(16), torch.rand(16)
    made = (ELBO() + Balance())(TwoClasses("Categorical"), TwoClasses("Categorical", guide=True))
    expected = kl_of(torch.sigmoid(0.7 * x + 1).mean(), c.mean())
    for order in (torch.arange(16), torch.arange(16).flip(0)):
        extra = made({"x": x[order], "c": c[order]}).extras["balance_y"]
        assert extra.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("num_particles", [1, 3])
def test_another_enumerated_site_is_summed_out(num_particles):
    x = torch.randn(16)
    pair = [TwoClasses("Bernoulli", guide=guide, mixed=True) for guide in (False, True)]
    mean = (0.25 * torch.sigmoid(0.7 * x + 1) + 0.75 * torch.sigmoid(-0.7 * x + 1)).mean()
    extra = (ELBO(num_particles=num_particles) + Balance())(*pair)({"x": x}).extras["balance_y"]
    assert extra.item() == pytest.approx(kl_of(mean, torch.tensor(0.3)), rel=1e-4)
    with pytest.raises(ValueError, match="a posterior of 'y' that depends on the columns alone"):
        (ELBO(num_particles=num_particles) + Consistency(lambda v: v))(*pair)({"x": x})


def test_a_site_without_classes_is_refused_in_words():
    pair = build("jvae")
    for term in (Balance("z"), Consistency(lambda x: x, "z")):
        with pytest.raises(ValueError, match="expected a site of classes in the data plate"):
            (ELBO() + term)(pair.model, pair.guide)(pair.batch)
    with pytest.raises(ValueError, match="expected one of the latent sites"):
        (ELBO() + Balance("w"))(pair.model, pair.guide)(pair.batch)
