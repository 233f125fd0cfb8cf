"""Importance-weighted likelihood and its diagnostic, where the exact answer is known."""

from __future__ import annotations

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from ppvae.data import Dataset
from ppvae.evaluate import likelihood, log_likelihood, pareto_k, summary
from ppvae.programs import ContractError, data_plate
from ppvae.runs.run import Run
from tests.evaluate.programs import D, LinearGaussian, Z, linear_run, pair_run
from tests.pairs import PAIRS

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz


def test_with_the_exact_guide_every_draw_gives_the_evidence(dtype):
    run = linear_run()
    x = run.model.draw(40)
    found = log_likelihood(run, {"x": x}, num_particles=64, batch_size=16)
    exact = run.model.log_evidence(x).double()
    tolerance = 1e-6 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(found.log_likelihood, exact, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.effective, torch.full((40,), 64.0, dtype=torch.float64))
    assert found.pareto_k.max() < 0.5
    # The bound differs by the reconstruction term's Monte Carlo alone.
    assert (found.elbo - exact).abs().mean() < 1.0


def test_a_guide_that_is_too_narrow_is_found_out():
    x = linear_run().model.draw(60)
    exact = log_likelihood(linear_run(), {"x": x}, num_particles=256)
    wrong = log_likelihood(linear_run(shift=0.5, spread=0.25), {"x": x}, num_particles=256)
    assert exact.means()["untrusted"] == 0
    assert wrong.means()["untrusted"] > 0.5
    assert wrong.pareto_k.median() > 0.7


def test_a_guide_that_is_too_wide_is_still_right():
    run = linear_run(spread=1.5)
    x = run.model.draw(60)
    found = log_likelihood(run, {"x": x}, num_particles=2000)
    error = found.log_likelihood - run.model.log_evidence(x)
    assert error.abs().max() < 5 * found.standard_error.max()
    assert found.pareto_k.median() < 0.5
    assert (found.log_likelihood > found.elbo).double().mean() > 0.95
    torch.testing.assert_close(found.elbo, -found.rate - found.distortion)


class TwoClasses(nn.Module):
    """p(y) N(x; mu_y, 1) with a class alone: its evidence is a sum of two terms."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor([-1.0, 2.0]))
        self.logits = nn.Parameter(torch.tensor([0.3, -0.3]))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            y = pyro.sample("y", dist.Categorical(logits=self.logits))
            return pyro.sample("x", dist.Normal(self.loc[y], 1.0), obs=x)


class UnsureClass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, x):
        with data_plate(x):
            q = dist.Categorical(logits=self.logits)
            pyro.sample("y", q, infer={"enumerate": "parallel"})


@pytest.mark.parametrize("num_particles", [1, 5])
def test_enumerated_classes_are_summed_whatever_the_guide_thinks(num_particles):
    run, x = Run(TwoClasses(), UnsureClass()), torch.randn(9)
    found = log_likelihood(run, {"x": x}, num_particles=num_particles)
    exact = torch.logsumexp(
        dist.Normal(run.model.loc, 1.0).log_prob(x[:, None]) + run.model.logits.log_softmax(0), 1
    )
    torch.testing.assert_close(found.log_likelihood, exact.detach().double())
    assert (found.elbo < found.log_likelihood).all()


@pytest.mark.parametrize("name", PAIRS)
def test_it_works_for_every_model_and_repeats(name):
    run, data = pair_run(name)
    found = log_likelihood(run, data, num_particles=70, batch_size=5)
    for value in (found.log_likelihood, found.elbo, found.rate, found.distortion):
        assert value.shape == (data.num_rows,)
        assert torch.isfinite(value).all()
    # An untrained guide is loose: with 70 draws the estimate must exceed the bound on average.
    assert found.log_likelihood.mean() > found.elbo.mean() - 1e-9
    again = log_likelihood(run, data, num_particles=70, batch_size=5)
    assert torch.equal(found.log_likelihood, again.log_likelihood)
    numbers = summary(run, data, num_particles=30)
    assert {"elbo", "log_likelihood", "untrusted"} <= numbers.keys()
    assert all(math.isfinite(value) for value in numbers.values())


def test_rows_are_encoded_once_where_memory_is_short(monkeypatch):
    run, encoded = linear_run(), []
    x = run.model.draw(40)
    # Enough for all draws of one row.
    monkeypatch.setattr(likelihood, "BUDGET", 64 * (D + Z))
    run.guide.register_forward_pre_hook(
        lambda _, args, columns: encoded.append(len([*args, *columns.values()][0])),
        with_kwargs=True,
    )
    found = log_likelihood(run, {"x": x}, num_particles=64)
    assert len(x) <= sum(encoded) < 2 * len(x)
    exact = run.model.log_evidence(x).double()
    torch.testing.assert_close(found.log_likelihood, exact, rtol=0, atol=1e-3)


def test_what_is_looked_at_does_not_move():
    run, data = pair_run("vae, mlp")
    run.model.train()
    before = [p.clone() for p in run.model.parameters()]
    state = torch.random.get_rng_state()
    log_likelihood(run, data, num_particles=3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert run.model.training
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_many_rows_are_thinned_evenly():
    run = linear_run()
    x = run.model.draw(50)
    few = summary(run, {"x": x}, max_rows=10)["log_likelihood"]
    assert few == pytest.approx(float(run.model.log_evidence(x[::5]).mean()), abs=1e-3)


def test_a_known_label_is_part_of_the_evidence():
    run, data = pair_run("ssvae, class")
    joint = log_likelihood(run, data, num_particles=400)
    marginal = log_likelihood(run, data.select("x"), num_particles=400)
    known = torch.as_tensor(data["y"]) >= 0
    assert (joint.log_likelihood < marginal.log_likelihood)[known].all()
    missing = (joint.log_likelihood - marginal.log_likelihood)[~known].abs()
    assert missing.max() < 6 * joint.standard_error.max()


@pytest.mark.parametrize("draws", [25, 64, 400])
def test_k_is_arvizs(draws):
    if not hasattr(arviz, "psislw"):
        pytest.skip("this ArviZ has no psislw")
    weights = torch.randn(draws, 30, dtype=torch.float64) * torch.linspace(0.1, 4, 30)
    _, expected = arviz.psislw(weights.T.numpy())
    torch.testing.assert_close(pareto_k(weights), torch.as_tensor(expected))


def test_k_is_that_of_pareto_weights():
    shapes = torch.tensor([0.2, 0.5, 1.0, 1.5])
    uniform = torch.rand(200_000, 4, dtype=torch.float64)
    weights = -uniform.log() * shapes
    assert (pareto_k(weights) - shapes).abs().max() < 0.1


def test_equal_weights_have_no_tail_and_few_are_not_enough():
    assert torch.equal(pareto_k(torch.full((50, 2), -300.0)), torch.zeros(2, dtype=torch.float64))
    assert pareto_k(torch.randn(20, 3)).isnan().all()
    assert math.isfinite(pareto_k(torch.randn(21, 1)))


def test_bad_input_is_refused():
    run, data = pair_run("cvae, class")
    with pytest.raises(ValueError, match="num_particles: expected an integer >= 1; got 0"):
        log_likelihood(run, data, num_particles=0)
    with pytest.raises(ValueError, match="batch_size: expected an integer >= 1; got 0"):
        log_likelihood(run, data, batch_size=0)
    with pytest.raises(ContractError, match="x"):
        log_likelihood(run, Dataset({"y": data["y"]}))
    with pytest.raises(
        ValueError, match=r"log_weights: expected a real tensor with shape \(S, N\); got \(3,\)"
    ):
        pareto_k(torch.zeros(3))


class ScaledModel(nn.Module):
    """A linear-Gaussian model with its sites under ``poutine.scale``."""

    def __init__(self, exact: LinearGaussian, scales: dict[str, float | torch.Tensor]) -> None:
        super().__init__()
        self.exact, self.scales = exact, scales

    def forward(self, x=None, *, size=None):
        exact = self.exact
        with data_plate(x, size=size):
            with poutine.scale(scale=self.scales.get("z", 1.0)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with poutine.scale(scale=self.scales.get("x", 1.0)):
                loc = z @ exact.weight.T + exact.bias
                return pyro.sample("x", dist.Normal(loc, exact.sigma).to_event(1), obs=x)


class ScaledGuide(nn.Module):
    def __init__(self, exact: nn.Module, scale: float) -> None:
        super().__init__()
        self.exact, self.scale = exact, scale

    def forward(self, x):
        with poutine.scale(scale=self.scale):
            self.exact(x)


@pytest.mark.parametrize(
    ("scales", "of_guide"),
    [({"z": 0.3}, 0.3), ({"z": 0.3}, 1.0), ({"x": torch.tensor(0.2)}, 1.0), ({"x": 7, "z": 7}, 7)],
)
def test_scales_are_for_training_and_no_part_of_the_likelihood(scales, of_guide):
    run = linear_run()
    x = run.model.draw(20)
    exact = run.model.log_evidence(x).double()
    scaled = Run(ScaledModel(run.model, scales), ScaledGuide(run.guide, of_guide))
    estimate = log_likelihood(scaled, {"x": x}, num_particles=16)
    torch.testing.assert_close(estimate.log_likelihood, exact, rtol=0, atol=1e-3)
    assert (estimate.elbo - exact).abs().mean() < 1.0


class Elements(nn.Module):
    """Each of F elements of a datum has a class: k_fn ~ Cat, x_fn ~ N(loc_k + shift_n, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loc", torch.tensor([-2.0, 0.0, 3.0]))
        self.register_buffer("probs", torch.tensor([0.2, 0.3, 0.5]))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            flip = pyro.sample("flip", dist.Bernoulli(self.probs[0]))
            with pyro.plate("elements", 4, dim=-2):
                k = pyro.sample("k", dist.Categorical(self.probs))
                loc = self.loc[k] * (1 - 2 * flip)
                return pyro.sample("x", dist.Normal(loc, 1.0), obs=None if x is None else x.T)


class ElementsGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 12)

    def forward(self, x):
        logits = self.net(x).unflatten(-1, (4, 3)).transpose(0, 1)
        with data_plate(x):
            each = {"enumerate": "parallel"}
            pyro.sample("flip", dist.Bernoulli(logits=x[:, 0]), infer=each)
            with pyro.plate("elements", 4, dim=-2):
                pyro.sample("k", dist.Categorical(logits=logits), infer=each)


def test_classes_in_a_plate_within_the_data_are_summed_there():
    model, x = Elements(), torch.randn(6, 4)
    log_p = []
    for sign, p in ((1, 0.8), (-1, 0.2)):
        scores = dist.Normal(sign * model.loc, 1.0).log_prob(x[..., None]) + model.probs.log()
        log_p.append(scores.logsumexp(-1).sum(-1) + math.log(p))
    exact = torch.stack(log_p).logsumexp(0).double()
    for draws in (1, 5):
        estimate = log_likelihood(Run(model, ElementsGuide()), {"x": x}, num_particles=draws)
        torch.testing.assert_close(estimate.log_likelihood, exact, rtol=0, atol=1e-5)


class Crossed(nn.Module):
    """Plates A and B beside each other, entered in some order, and data in both.

    The entries of the plates in ``depends`` have classes, those of the others data. For each class
    there is a site in both plates that depends on it, or ``together`` one for all classes.
    """

    def __init__(self, order: str, depends: str, *, together: bool = False) -> None:
        super().__init__()
        self.order, self.depends, self.together = order, depends, together
        self.register_buffer("loc", torch.tensor([-1.0, 1.5]))
        self.register_buffer("probs", torch.tensor([0.3, 0.7]))

    def forward(self, x=None, *, size=None):
        plates = {"a": pyro.plate("A", 2, dim=-2), "b": pyro.plate("B", 3, dim=-3)}
        seen = None if x is None else x.permute(2, 1, 0)  # (3, 2, N)
        means = {"a": None, "b": None}
        if seen is not None:
            means = {"a": seen.mean(0), "b": seen.mean(1, keepdim=True)}
        with data_plate(x, size=size):
            drawn = {}
            for name in self.order:
                with plates[name]:
                    if name in self.depends:
                        drawn[name] = pyro.sample(name, dist.Categorical(self.probs))
                    else:
                        pyro.sample(f"mean_{name}", dist.Normal(0.0, 1.0), obs=means[name])
            with plates["a"], plates["b"]:
                locs = {f"x_{name}": self.loc[k] for name, k in drawn.items()}
                if self.together:
                    locs = {"x": torch.stack([*torch.broadcast_tensors(*locs.values())]).sum(0)}
                for name, loc in locs.items():
                    pyro.sample(name, dist.Normal(loc, 0.7), obs=seen)


class CrossedGuide(nn.Module):
    def __init__(self, model: Crossed) -> None:
        super().__init__()
        self.order, self.depends = model.order, model.depends
        self.weight = nn.Parameter(torch.tensor(0.4))

    def forward(self, x):
        plates = {"a": pyro.plate("A", 2, dim=-2), "b": pyro.plate("B", 3, dim=-3)}
        means = {"a": x.mean(2).T, "b": x.mean(1).T[:, None]}
        with data_plate(x):
            for name in self.order:
                if name in self.depends:
                    score = self.weight * means[name]
                    logits = torch.stack([torch.zeros_like(score), score], -1)
                    with plates[name]:
                        q = dist.Categorical(logits=logits)
                        pyro.sample(name, q, infer={"enumerate": "parallel"})


@pytest.mark.parametrize("depends", ["a", "b", "ab"])
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_classes_in_one_of_two_plates_side_by_side_are_summed_there(order, depends):
    model, x = Crossed(order, depends), torch.randn(5, 2, 3)
    exact = torch.zeros(5)
    for name in depends:  # The sum over the class of an entry of that plate, of all in the other.
        scores = dist.Normal(model.loc, 0.7).log_prob(x[..., None])
        scores = scores.sum(2 if name == "a" else 1) + model.probs.log()
        exact = exact + scores.logsumexp(-1).sum(-1)
    for name in {*"ab"} - {*depends}:
        means = x.mean(2 if name == "a" else 1)
        exact = exact + dist.Normal(0.0, 1.0).log_prob(means).sum(-1)
    for draws in (1, 5):
        run = Run(model, CrossedGuide(model))
        found = log_likelihood(run, {"x": x}, num_particles=draws)
        torch.testing.assert_close(found.log_likelihood, exact.double(), rtol=0, atol=1e-4)


def test_a_site_that_depends_on_classes_of_two_plates_is_refused():
    model = Crossed("ab", "ab", together=True)
    run, x = Run(model, CrossedGuide(model)), torch.randn(5, 2, 3)
    with pytest.raises(ContractError, match="enumerated in one of them and on classes"):
        log_likelihood(run, {"x": x}, num_particles=2)


class Square(nn.Module):
    """z ~ N(0, 1), x ~ N(z^2, 0.7^2), whose posterior has two modes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0))
            return pyro.sample("x", dist.Normal(z.square(), 0.7), obs=x)


class Mixture(nn.Module):
    """Normals around both roots of x; their number k is auxiliary, r(k | z) by Bayes' rule."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.3, 0.7]).log())

    def forward(self, x):
        with data_plate(x):
            q = dist.Categorical(logits=self.logits.expand(len(x), 2))
            k = pyro.sample("k", q, infer={"is_auxiliary": True, "enumerate": "parallel"})
            loc = 0.9 * x.sqrt()
            z = pyro.sample("z", dist.Normal((1.0 - 2.0 * k) * loc, 0.5))
            parts = [dist.Normal(sign * loc, 0.5).log_prob(z) for sign in (1, -1)]
            log_r = (torch.stack(parts, -1) + q.logits[0]).log_softmax(-1)
            log_r = torch.where(k == 0, log_r[..., 0], log_r[..., 1])
            pyro.factor("r", -log_r, has_rsample=True)


def test_an_enumerated_auxiliary_site_cancels():
    x = torch.linspace(0.2, 2.0, 4)
    z = torch.linspace(-7, 7, 4001)
    joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z.square(), 0.7).log_prob(x[:, None])
    exact = joint.logsumexp(-1) + math.log(14 / 4000)
    found = log_likelihood(Run(Square(), Mixture()), {"x": x}, num_particles=4000)
    torch.testing.assert_close(found.log_likelihood, exact.double(), rtol=0, atol=0.03)
