"""Programs whose ELBO would be no bound, or per something else than a row: refused, or right."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam
from torch import nn
from torch.distributions import constraints

from ppvae import evaluate
from ppvae.errors import ContractError
from ppvae.fitting import fit
from ppvae.objectives import ELBO
from ppvae.programs import check_pair, data_plate

N, K = 6, 3
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    """p(z) p(x | z); ``change`` is applied to the data first."""

    def __init__(self, change=lambda x: x) -> None:
        super().__init__()
        self.change = change
        self.slope = nn.Parameter(torch.ones(5))
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x=None, *, size=None):
        x = None if x is None else self.change(x)
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0))
            loc = z.unsqueeze(-1) * self.slope
            return pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


class Guide(nn.Module):
    """The exact posterior of ``Model``, after ``noise`` is drawn."""

    def __init__(self, noise=lambda x: None, change=lambda x: x, site: str = "z") -> None:
        super().__init__()
        self.noise, self.change, self.site = noise, change, site
        self.weight = nn.Parameter(torch.ones(5) / 6)

    def forward(self, x):
        x = self.change(x)
        with data_plate(x):
            self.noise(x)
            pyro.sample(self.site, dist.Normal(x @ self.weight, 6**-0.5))


def evidence(x: torch.Tensor) -> float:
    covariance = torch.eye(5) + 1
    return float(dist.MultivariateNormal(torch.zeros(5), covariance).log_prob(x).mean())


def quick(model, guide, data):
    options = {"epochs": 1, "batch_size": N, "learning_rate": 1e-12, "seed": 0}
    return fit(model, guide, data, progress=False, compile=False, **options)


@pytest.mark.parametrize(
    "change", [lambda x: x.reshape(-1, 1).expand(-1, 5), lambda x: x[:1]], ids=["longer", "one"]
)
def test_a_data_plate_of_another_size_than_the_batch_is_refused(change):
    rows = len(change(X))
    with pytest.raises(ContractError, match=f"expected one entry per row, {N}; got {rows}"):
        check_pair(Model(change), Guide(change=change), {"x": X})


@pytest.mark.parametrize("role", ["model", "guide"])
def test_a_program_that_changes_its_columns_in_place_is_refused(role):
    def halve(x):
        x /= 2
        return x

    x = X.clone()
    pair = (Model(halve), Guide()) if role == "model" else (Model(), Guide(change=halve))
    with pytest.raises(ContractError, match=rf"{role} \w+: .* changes \['x'\] in place"):
        check_pair(*pair, {"x": x})


def test_auxiliary_noise_that_determines_no_latent_is_refused():
    def draw(x):
        wide = dist.Normal(x.new_zeros(len(x)), 1000.0)
        pyro.sample("u", wide, infer={"is_auxiliary": True})

    with pytest.raises(ContractError, match=r"auxiliary sites \['u'\]: .* exceed the evidence"):
        check_pair(Model(), Guide(draw), {"x": X})

    def draw_and_return(x):
        fn = dist.Normal(x.new_zeros(len(x)), 2.0)
        u = pyro.sample("u", fn, infer={"is_auxiliary": True})
        pyro.factor("reverse", -fn.log_prob(u), has_rsample=True)

    guide = Guide(draw_and_return)
    check_pair(Model(), guide, {"x": X})
    elbo = ELBO(analytic=False)(Model(), guide)({"x": X}).elbo.mean().detach()
    assert float(elbo) == pytest.approx(evidence(X), abs=1e-4)


def test_a_reparameterised_latent_is_a_computed_value():
    class Decentered(Model):
        def forward(self, x=None, *, size=None):
            with poutine.reparam(config={"z": LocScaleReparam(centered=0.0)}):
                return super().forward(x, size=size)

    run = quick(Decentered(), Guide(site="z_decentered"), {"x": X})
    structure = check_pair(run.model, run.guide, {"x": X})
    assert structure.observed == ("x",)
    assert structure.deterministic == ("z",)
    tree = evaluate.to_arviz(run, {"x": X}, num_draws=400)
    drawn = torch.as_tensor(tree["posterior"]["z"].values).mean((0, 1)).to(X)
    torch.testing.assert_close(drawn, (X @ torch.ones(5) / 6), atol=0.15, rtol=0)


class Classes(nn.Module):
    """p(k) p(x | k), or a guide with uniform classes; the class is masked where ``seen``."""

    def __init__(self, *, observes: bool, masked: bool) -> None:
        super().__init__()
        self.observes, self.masked = observes, masked
        self.logits = nn.Parameter(torch.tensor([0.0, 0.3, 1.0]))
        self.register_buffer("loc", torch.tensor([-1.0, 0.0, 2.0]))

    def forward(self, x=None, *, seen):
        with data_plate(x, seen):
            with poutine.mask(mask=~seen if self.masked else True):
                fn = dist.Categorical(logits=self.logits)
                k = pyro.sample("k", fn, infer={"enumerate": "parallel"})
            if self.observes:
                pyro.sample("x", dist.Normal(self.loc[k], 1.0), obs=x)


@pytest.mark.parametrize("masked", [(True, True), (False, True), (True, False)])
def test_the_expectation_over_a_masked_class_is_that_of_its_draws(masked):
    x, seen = torch.randn(N), torch.arange(N) % 2 == 0
    model = Classes(observes=True, masked=masked[0])
    guide = Classes(observes=False, masked=masked[1])
    probs = guide.logits.softmax(-1)
    log_p, log_q = model.logits.log_softmax(-1), guide.logits.log_softmax(-1)
    likelihood = dist.Normal(model.loc, 1.0).log_prob(x[:, None])
    counted = [torch.where(seen & m, 0.0, 1.0)[:, None] for m in map(torch.tensor, masked)]
    joint = likelihood + counted[0] * log_p
    terms, context = ELBO()(model, guide).evaluate({"x": x, "seen": seen})
    expected = (probs * (joint - counted[1] * log_q)).sum(-1)
    torch.testing.assert_close(terms.elbo, expected)
    weight = (probs * (joint - counted[1] * log_q).exp()).sum(-1).log()
    torch.testing.assert_close(context.log_weights()[0], weight)


class Folded(nn.Module):
    """A latent |N(loc, 1)|, and as a model an observation of it."""

    def __init__(self, loc: float, *, observes: bool) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(loc))
        self.observes = observes

    def forward(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.FoldedDistribution(dist.Normal(self.loc, 1.0)))
            if self.observes:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_the_kl_of_folded_distributions_is_not_that_of_what_is_folded():
    model, guide = Folded(0.0, observes=True), Folded(1.0, observes=False)
    x = torch.zeros(20_000)
    value = torch.linspace(1e-3, 9, 9000)
    q = (dist.FoldedDistribution(dist.Normal(c, 1.0)).log_prob(value) for c in (1.0, 0.0))
    log_q, log_p = q
    exact = torch.trapezoid(log_q.exp() * (log_q - log_p), value)
    assert abs(float(exact) - 0.5) > 0.3
    kl = ELBO()(model, guide)({"x": x}).kl["z"].mean()
    torch.testing.assert_close(kl, exact, atol=0.03, rtol=0)


class Flat(nn.Module):
    """A mean of all data under an improper prior."""

    def forward(self, x=None, *, size=None):
        mu = pyro.sample("mu", dist.ImproperUniform(constraints.real, (), ()))
        with data_plate(x, size=size):
            return pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


class Mean(nn.Module):
    def __init__(self, loc: float) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(loc))

    def forward(self, x):
        pyro.sample("mu", dist.Normal(self.loc, N**-0.5))


def test_a_prior_that_cannot_be_drawn_from_is_named():
    x = X[:, 0]
    run = quick(Flat(), Mean(float(x.mean())), {"x": x})
    total = dist.Normal(x.mean(), 1.0).log_prob(x).sum() + 0.5 * math.log(2 * math.pi / N)
    estimate = evaluate.log_likelihood(run, {"x": x}, num_particles=2000)
    assert estimate.means()["elbo"] == pytest.approx(float(total) / N, abs=0.02)
    with pytest.raises(
        ContractError, match=r"expected a distribution that can be drawn.*prior_rows=0"
    ):
        evaluate.to_arviz(run, {"x": x}, num_draws=2)
    evaluate.to_arviz(run, {"x": x}, num_draws=2, prior_rows=0)


def test_latents_of_another_name_where_nothing_is_observed_are_refused():
    class Renamed(Model):
        def forward(self, x=None, *, size=None):
            with data_plate(x, size=size):
                name = "z" if x is not None else "prior_z"
                z = pyro.sample(name, dist.Normal(self.zero, 1.0))
                fn = dist.Normal(z.unsqueeze(-1) * self.slope, 1.0).to_event(1)
                return pyro.sample("x", fn, obs=x)

    run = quick(Renamed(), Guide(), {"x": X})
    with pytest.raises(ContractError, match=r"expected the latent sites \['z'\] where nothing"):
        evaluate.to_arviz(run, {"x": X}, num_draws=2)
