"""The objective engine against Pyro's three ELBOs and against exact evidence."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ppvae.errors import ArgumentError
from ppvae.objectives import ELBO, Capacity, Linear, Penalty
from ppvae.programs import ContractError, check_pair, data_plate

N, D, Z, K = 7, 5, 3, 4


class LinearGaussian(nn.Module):
    """Probabilistic PCA: p(x, z) = N(z; 0, I) N(x; W z + b, sigma^2 I)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(D, Z))
        self.bias = nn.Parameter(torch.randn(D))
        self.sigma = 0.7

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(torch.zeros(Z), 1.0).to_event(1))
            loc = z @ self.weight.T + self.bias
            return pyro.sample("x", dist.Normal(loc, self.sigma).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        cov = self.weight @ self.weight.T + self.sigma**2 * torch.eye(D)
        return dist.MultivariateNormal(self.bias, cov).log_prob(x)


class LinearGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(D, Z)
        self.scale = nn.Parameter(torch.rand(Z) + 0.5)

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.net(x), self.scale).to_event(1))


class ExactGuide(nn.Module):
    """The exact posterior of :class:`LinearGaussian`, full covariance."""

    def __init__(self, model: LinearGaussian) -> None:
        super().__init__()
        self.model = model

    def posterior(self, x: Tensor) -> dist.MultivariateNormal:
        w, s2 = self.model.weight, self.model.sigma**2
        precision = torch.eye(Z) + w.T @ w / s2
        loc = torch.linalg.solve(precision, w.T @ (x - self.model.bias).T / s2).T
        return dist.MultivariateNormal(loc, precision_matrix=precision)

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            pyro.sample("z", self.posterior(x))


class Mixture(nn.Module):
    """p(y) p(a | y) N(z; m_y, I) N(x; f(z, y, a)); y and a are enumerated, a depends on y."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.randn(K, Z))
        self.weight = nn.Parameter(torch.randn(D, Z))
        self.shift = nn.Parameter(torch.randn(2, D))
        self.logits = nn.Parameter(torch.randn(K))
        self.table = nn.Parameter(torch.randn(K, 2))

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            y = pyro.sample("y", dist.Categorical(logits=self.logits))
            a = pyro.sample("a", dist.Categorical(logits=self.table[y]))
            z = pyro.sample("z", dist.Normal(self.loc[y], 1.0).to_event(1))
            loc = z @ self.weight.T + self.shift[a]
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


class MixtureGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.y = nn.Linear(D, K)
        self.a = nn.Linear(D, K * 2)
        self.z = nn.Linear(D, Z)
        self.embed = nn.Parameter(torch.randn(K, Z))

    def forward(self, x: Tensor) -> None:
        sum_out = {"enumerate": "parallel"}
        with data_plate(x):
            y = pyro.sample("y", dist.Categorical(logits=self.y(x)), infer=sum_out)
            table = self.a(x).reshape(len(x), K, 2)
            logits = table[torch.arange(len(x)), y]
            pyro.sample("a", dist.Categorical(logits=logits), infer=sum_out)
            loc = self.z(x) + self.embed[y]
            pyro.sample("z", dist.Normal(loc, 0.6).to_event(1))


class BayesianLinear(nn.Module):
    """A global latent w and datum-wise z in a nested plate: p(w) prod_n N(x_n; w + z_n)."""

    def forward(self, x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(D), 2.0).to_event(1))
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))
            with pyro.plate("repeat", 2, dim=-2):
                pyro.sample("x", dist.Normal(w + z, 0.5).to_event(1), obs=x.expand(2, -1, -1))


class BayesianGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.randn(D))
        self.net = nn.Linear(D, D)

    def forward(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(self.loc, 0.3).to_event(1))
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.net(x), 0.8).to_event(1))


def data() -> dict[str, Tensor]:
    return {"x": torch.randn(N, D)}


def test_exact_guide_reaches_the_exact_evidence():
    model, batch = LinearGaussian(), data()
    sampled = ELBO(analytic=False)(model, ExactGuide(model))(batch)
    # log p(x, z) - log q(z) is log p(x) at every z when q is exact: no noise is left.
    torch.testing.assert_close(sampled.elbo, model.log_evidence(batch["x"]), atol=1e-9, rtol=1e-9)


def test_full_covariance_kl_is_closed_form():
    model, batch = LinearGaussian(), data()
    analytic = ELBO(num_particles=2)(model, ExactGuide(model))(batch)
    sampled = ELBO(num_particles=40_000, analytic=False)(model, ExactGuide(model))(batch)
    torch.testing.assert_close(analytic.kl["z"], sampled.kl["z"], atol=0.05, rtol=0.02)
    again = ELBO(num_particles=2)(model, ExactGuide(model))(batch)
    assert torch.equal(analytic.kl["z"], again.kl["z"])


def test_the_kl_to_a_diagonal_prior_is_that_to_the_same_normal_with_a_full_covariance():
    loc, other = torch.randn(2, 5, 3)
    tril = torch.randn(5, 3, 3).tril(-1) + torch.diag_embed(torch.rand(5, 3) + 0.2)
    scale = torch.rand(5, 3) + 0.3
    q = torch.distributions.MultivariateNormal(loc, scale_tril=tril)
    p = torch.distributions.Independent(torch.distributions.Normal(other, scale), 1)
    full = torch.distributions.MultivariateNormal(other, scale_tril=torch.diag_embed(scale))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(q, full))


def test_any_other_guide_is_below_the_evidence():
    model, batch = LinearGaussian(), data()
    terms = ELBO(num_particles=4000)(model, LinearGuide())(batch)
    assert (terms.elbo < model.log_evidence(batch["x"]) + 0.05).all()


@pytest.mark.parametrize(
    ("analytic", "oracle"), [(False, Trace_ELBO), (True, TraceMeanField_ELBO)]
)
@pytest.mark.parametrize("particles", [1, 3])
def test_agrees_with_trace_and_mean_field_elbo(analytic, oracle, particles):
    model, guide, batch = LinearGaussian(), LinearGuide(), data()
    ours = ELBO(analytic=analytic, num_particles=particles)(model, guide)
    theirs = oracle(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    ours.check(batch)
    torch.manual_seed(1)
    terms = ours(batch)
    loss = terms.loss * N
    grads = torch.autograd.grad(loss, list(guide.parameters()) + list(model.parameters()))
    torch.manual_seed(1)
    expected = theirs.differentiable_loss(model, guide, batch["x"])
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    reference = torch.autograd.grad(expected, list(guide.parameters()) + list(model.parameters()))
    torch.testing.assert_close(grads, reference, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("particles", [1, 3])
def test_agrees_with_traceenum_elbo_over_dependent_classes(particles):
    model, guide, batch = Mixture(), MixtureGuide(), data()
    ours = ELBO(analytic=False, num_particles=particles)(model, guide)
    structure = ours.check(batch)
    assert structure.enumerated == ("y", "a")
    theirs = TraceEnum_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(1)
    loss = ours(batch).loss * N
    torch.manual_seed(1)
    expected = theirs.differentiable_loss(model, guide, batch["x"])
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    parameters = [*model.parameters(), *guide.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(loss, parameters),
        torch.autograd.grad(expected, parameters),
        rtol=1e-7,
        atol=1e-8,
    )


def test_enumeration_equals_a_sum_written_by_hand():
    model, guide, batch = Mixture(), MixtureGuide(), data()
    x = batch["x"]
    objective = ELBO()(model, guide)
    objective.check(batch)
    torch.manual_seed(3)
    terms = objective(batch)
    q_y = guide.y(x).log_softmax(-1)
    q_a = guide.a(x).reshape(N, K, 2).log_softmax(-1)
    p_y, p_a = model.logits.log_softmax(-1), model.table.log_softmax(-1)
    torch.manual_seed(3)
    noise = dist.Normal(torch.zeros(K, N, Z), 1.0).sample()
    by_hand = torch.zeros(N)
    for y in range(K):
        loc = guide.z(x) + guide.embed[y]
        kl = kl_divergence(dist.Normal(loc, 0.6), dist.Normal(model.loc[y], 1.0)).sum(-1)
        for a in range(2):
            weight = (q_y[:, y] + q_a[:, y, a]).exp()
            z = loc + 0.6 * noise[y]
            likelihood = dist.Normal(z @ model.weight.T + model.shift[a], 1.0).log_prob(x).sum(-1)
            gap = q_y[:, y] - p_y[y] + q_a[:, y, a] - p_a[y, a]
            by_hand = by_hand + weight * (likelihood - kl - gap)
    torch.testing.assert_close(terms.elbo, by_hand, rtol=1e-6, atol=1e-6)


def test_global_latents_count_once_for_all_data():
    model, guide, batch = BayesianLinear(), BayesianGuide(), data()
    objective = ELBO(analytic=False)(model, guide, num_data=N)
    assert objective.check(batch).max_plate_nesting == 2
    torch.manual_seed(5)
    loss = objective(batch).loss * N
    torch.manual_seed(5)
    expected = Trace_ELBO().differentiable_loss(model, guide, batch["x"])
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    # A mini-batch of one row of seven carries a seventh of the global KL.
    terms = ELBO()(model, guide, num_data=N)({"x": batch["x"][:1]})
    whole = ELBO()(model, guide, num_data=1)({"x": batch["x"][:1]})
    torch.testing.assert_close(terms.kl["w"] * N, whole.kl["w"])


def test_weights_and_schedules_weigh_and_leave_the_plain_elbo_alone():
    model, guide, batch = LinearGaussian(), LinearGuide(), data()
    plain = ELBO()(model, guide)
    weighted = ELBO(weights={"z": Linear(0.0, 4.0, steps=2), "x": 0.5})(model, guide)
    plain.check(batch), weighted.check(batch)
    for _ in range(3):
        step = int(weighted.step)
        torch.manual_seed(7)
        reference = plain(batch)
        torch.manual_seed(7)
        terms = weighted(batch)
        beta = {0: 0.0, 1: 2.0, 2: 4.0}[step]
        expected = -0.5 * reference.log_likelihood["x"].mean() + beta * reference.kl["z"].mean()
        torch.testing.assert_close(terms.loss, expected)
        torch.testing.assert_close(terms.elbo, reference.elbo)
        weighted.advance()


def test_capacity_takes_the_absolute_value_of_the_batch_mean():
    model, guide, batch = LinearGaussian(), LinearGuide(), data()
    objective = ELBO(capacity={"z": Capacity(target=2.0, gamma=3.0)})(model, guide)
    terms = objective(batch)
    kl = terms.kl["z"]
    target = float(kl.detach().mean())
    assert kl.min() < target < kl.max()
    expected = -terms.log_likelihood["x"].mean() + 3.0 * (kl.mean() - 2.0).abs()
    torch.testing.assert_close(terms.loss, expected)
    at_mean = ELBO(capacity={"z": Capacity(target=target, gamma=3.0)})(model, guide)(batch)
    torch.testing.assert_close(at_mean.loss, -at_mean.log_likelihood["x"].mean())


def test_a_capacity_may_be_shared_by_sites():
    model, guide, batch = Mixture(), MixtureGuide(), data()
    spec = ELBO(capacity={("y", "a"): Capacity(5.0, gamma=2.0)}, weights={"z": 3.0})
    terms = spec(model, guide)(batch)
    shared = (terms.kl["y"] + terms.kl["a"]).mean()
    expected = 2 * (shared - 5).abs() + 3 * terms.kl["z"].mean() - terms.log_likelihood["x"].mean()
    torch.testing.assert_close(terms.loss, expected)


def test_a_class_of_probability_zero_adds_nothing():
    model, guide, batch = Mixture(), MixtureGuide(), data()
    with torch.no_grad():
        guide.y.bias[0] = -torch.inf
    terms = ELBO()(model, guide)
    terms.structures[frozenset(batch)] = check_pair(Mixture(), MixtureGuide(), batch)
    result = terms(batch)
    assert torch.isfinite(result.elbo).all()
    grads = torch.autograd.grad(result.loss, list(model.parameters()))
    assert all(torch.isfinite(g).all() for g in grads)


def test_penalty_enters_the_loss_and_not_the_elbo():
    model, guide, batch = Mixture(), MixtureGuide(), data()
    penalty = Penalty("size", lambda c: c.values["z"].square().sum(-1), weight=2.0)
    terms = (ELBO() + penalty)(model, guide)(batch)
    torch.testing.assert_close(terms.loss + terms.elbo.mean(), terms.extras["size"])
    assert terms.extras["size"] > 0
    assert set(terms.means()) >= {"loss", "elbo", "size", "kl/z", "log_likelihood/x"}


def test_the_check_moves_nothing():
    model, guide, batch = LinearGaussian(), LinearGuide(), data()
    before = torch.get_rng_state()
    ELBO()(model, guide).check(batch)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert len(pyro.get_param_store()) == 0


class Other(LinearGuide):
    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            pyro.sample("zz", dist.Normal(self.net(x), self.scale).to_event(1))


class Undeclared(LinearGuide):
    def forward(self, x: Tensor) -> None:
        with pyro.plate("other", Z, dim=-1), pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(self.net(x), self.scale))


class Store(LinearGuide):
    def forward(self, x: Tensor) -> None:
        loc = pyro.param("loc", torch.zeros(len(x), Z))
        with data_plate(x):
            pyro.sample("z", dist.Normal(loc, self.scale).to_event(1))


class Discrete(LinearGuide):
    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            pyro.sample("z", dist.Poisson(self.scale.expand(len(x), Z)).to_event(1))


class NeedsClass(LinearGuide):
    def forward(self, x: Tensor, y: Tensor) -> None:
        super().forward(x)


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (Other, r"only in model \['z'\], only in guide \['zz'\]"),
        (Undeclared, r"site 'z': in the plates \['data'\] in the model but \['data', 'other'\]"),
        (Store, "parameter store"),
        (Discrete, "expected a reparameterised distribution or an enumerated one"),
        (NeedsClass, r"expected a column 'y' in the data; got columns \['x'\]"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused_in_words(guide, message):
    with pytest.raises(ContractError, match=message):
        check_pair(LinearGaussian(), guide(), data())


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"x": torch.randn(N, D + 1)}, r"guide LinearGuide: expected .* shapes \{'x': \(7, 6\)\}"),
        ({"x": torch.full((N, D), math.nan)}, "missing values.*NaN|invalid values"),
        ({"y": torch.randn(N, D)}, "expected a column 'x'"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_in_words(batch, message):
    with pytest.raises(ContractError, match=message):
        check_pair(LinearGaussian(), LinearGuide(), batch)


def test_nothing_observed_is_refused():
    class Blind(LinearGaussian):
        def forward(self, x: Tensor) -> None:
            with data_plate(x):
                pyro.sample("z", dist.Normal(torch.zeros(Z), 1.0).to_event(1))

    with pytest.raises(ContractError, match="observes nothing"):
        check_pair(Blind(), LinearGuide(), data())


def test_unknown_sites_and_bad_numbers_are_refused():
    model, guide, batch = LinearGaussian(), LinearGuide(), data()
    with pytest.raises(ContractError, match=r"got \['q'\]"):
        ELBO(weights={"q": 1.0})(model, guide)(batch)
    with pytest.raises(ContractError, match=r"got \['x'\]"):
        ELBO(capacity={"x": Capacity(1.0)})(model, guide)(batch)
    with pytest.raises(ValueError, match="not among the weights"):
        ELBO(weights={"z": 2.0}, capacity={"z": Capacity(1.0)})
    with pytest.raises(ValueError, match="num_particles"):
        ELBO(num_particles=0)
    with pytest.raises(ArgumentError, match="a finite number or a Schedule"):
        ELBO(weights={"z": "high"})
    with pytest.raises(ValueError, match="num_data"):
        ELBO()(model, guide, num_data=0)
    with pytest.raises(ValueError, match="distinct names"):
        ELBO() + Penalty("p", lambda c: c.values["z"]) + Penalty("p", lambda c: c.values["z"])


class MaskedLatents(nn.Module):
    """A model, or a guide with ``net``, whose latent does not count where ``seen`` is false."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, seen: Tensor) -> None:
        loc = torch.zeros(D) if self.net is None else self.net(x)
        with data_plate(x):
            with poutine.mask(mask=seen):
                z = pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))
            if self.net is None:
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def test_a_masked_latent_costs_nothing_in_closed_form_too():
    model, guide = MaskedLatents(), MaskedLatents(nn.Linear(D, D))
    batch = {"x": torch.randn(N, D), "seen": torch.arange(N) % 3 > 0}
    objective = ELBO()(model, guide)
    kl = objective(batch).kl["z"]
    closed = 0.5 * (guide.net(batch["x"]) / 0.5).square().sum(-1)
    torch.testing.assert_close(kl, closed * batch["seen"])
    torch.manual_seed(0)
    found = objective(batch).elbo.sum()
    torch.manual_seed(0)
    expected = -TraceMeanField_ELBO().differentiable_loss(model, guide, **batch)
    torch.testing.assert_close(found, expected)


class ThroughAuxiliary(ExactGuide):
    """The exact posterior at an auxiliary site, and the latent at its value."""

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            u = pyro.sample("u", self.posterior(x), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u, event_dim=1))


def test_the_weights_through_an_auxiliary_site_are_the_evidence():
    model = LinearGaussian()
    x = torch.randn(N, D)
    terms, context = ELBO(num_particles=3)(model, ThroughAuxiliary(model)).evaluate({"x": x})
    evidence = model.log_evidence(x)
    torch.testing.assert_close(context.log_weights(), evidence.expand(3, N))
    torch.testing.assert_close(terms.elbo, evidence)
