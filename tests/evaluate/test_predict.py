"""Predictions of a linear-Gaussian model, whose predictive density is known exactly."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError, ContractError
from ppvae.evaluate import simulation_based_calibration
from ppvae.evaluate.predict import predict, predictive_log_likelihood
from ppvae.programs import data_plate
from ppvae.runs.run import Run

A, NOISE = torch.tensor([[1.0, 0.0, 2.0], [0.5, -1.0, 0.0]]), 0.3


class Linear(nn.Module):
    """x = c + z A + noise, z standard normal; with a plate within the data if asked for."""

    def __init__(self, *, inner: bool = False) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor | None = None, *, c: Tensor) -> Tensor:
        a = A.to(c)
        with data_plate(x, c):
            if self.inner:
                with pyro.plate("inner", 4, dim=-2):
                    pyro.sample("extra", dist.Normal(c.new_zeros(()), 1.0))
            z = pyro.sample("z", dist.Normal(c.new_zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(c + z @ a, NOISE).to_event(1), obs=x)


def exact(c: Tensor) -> dist.MultivariateNormal:
    covariance = A.T @ A + NOISE**2 * torch.eye(3)
    return dist.MultivariateNormal(c.double(), covariance.double())


@pytest.mark.parametrize("inner", [False, True])
def test_moments_and_intervals_are_those_of_the_predictive(inner):
    c = torch.randn(5, 3)
    found = predict(Linear(inner=inner), {"c": c}, num_draws=8000, interval=0.8)
    p = exact(c)
    scale = p.variance.sqrt()
    assert ((found.mean - p.mean).abs() < 5 * scale / 8000**0.5).all()
    torch.testing.assert_close(found.scale.double(), scale, rtol=0.05, atol=0)
    latent = (scale.square() - NOISE**2).sqrt()
    torch.testing.assert_close(found.latent_scale.double(), latent, rtol=0.05, atol=0)
    half = 1.2816 * scale
    torch.testing.assert_close((found.upper - found.lower).double(), 2 * half, rtol=0.08, atol=0)
    torch.testing.assert_close((found.upper + found.lower).double() / 2, p.mean, rtol=0, atol=0.2)
    assert found.draws is None


@pytest.mark.parametrize("inner", [False, True])
def test_log_likelihood_is_that_of_the_predictive(inner):
    c = torch.randn(4, 3)
    x = exact(c).sample().to(c)
    found = predictive_log_likelihood(Linear(inner=inner), {"x": x, "c": c}, num_draws=40_000)
    torch.testing.assert_close(found.double(), exact(c).log_prob(x.double()), rtol=0, atol=0.15)


def test_rows_in_parts_are_the_same_kind_of_numbers_and_the_caller_keeps_its_generator(
    monkeypatch,
):
    model, c = Linear().train(), torch.randn(7, 3)
    state = torch.get_rng_state()
    monkeypatch.setattr("ppvae.evaluate.predict.BUDGET", 10 * 3 * 2)
    found = predict(model, {"c": c}, num_draws=10, keep_draws=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert found.draws.shape == (10, 7, 3)
    assert found.mean.shape == found.lower.shape == (7, 3)
    again = predict(model, {"c": c}, num_draws=10, keep_draws=True)
    assert torch.equal(found.draws, again.draws)
    other = predict(model, {"c": c}, num_draws=10, keep_draws=True, seed=1)
    assert not torch.equal(found.draws, other.draws)


def test_ranks_are_those_of_the_draws_and_change_no_draw():
    c, x = torch.randn(7, 3), torch.randn(7, 3)
    columns = {"c": c, "x": x}
    plain = predict(Linear(), columns, num_draws=99)
    ranked = predict(Linear(), columns, num_draws=99, ranks=True, keep_draws=True)
    assert plain.ranks is None
    assert torch.equal(plain.mean, ranked.mean)
    assert torch.equal(plain.lower, ranked.lower)
    below = (ranked.draws < x).sum(0)
    assert ((ranked.ranks * 100 >= below) & (ranked.ranks * 100 <= below + 1)).all()


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="num_draws: expected an integer >= 2"):
        predict(Linear(), {"c": torch.zeros(2, 3)}, num_draws=1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        predict(Linear(), {"c": torch.zeros(2, 3)}, interval=90)


class Logged(nn.Module):
    """log x ~ N(z, I), observed at the logarithm of a column that the site is named after."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            obs = None if x is None else x.log()
            return pyro.sample("x", dist.Normal(z, self.scale).to_event(1), obs=obs)


def test_the_density_is_of_the_value_that_the_model_observes_not_of_the_column():
    x = torch.randn(5, 3).exp()
    estimate = predict(Logged(), {"x": x}, num_draws=20_000).log_density
    exact = dist.Normal(0.0, 1.25**0.5).expand([3]).to_event(1).log_prob(x.log())
    torch.testing.assert_close(estimate, exact, atol=0.15, rtol=0.05, check_dtype=False)


class LoggedGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            pyro.sample("z", dist.Normal(x.log(), self.scale).to_event(1))


def test_calibration_does_not_put_simulated_logarithms_into_a_column():
    run, x = Run(Logged(), LoggedGuide()), torch.randn(5, 3).exp()
    with pytest.raises(ArgumentError, match=r"got \['x'\], computed from columns"):
        simulation_based_calibration(run, {"x": x}, num_datasets=4, num_draws=4)


def test_factors_far_from_those_of_the_training_data_are_said(caplog):
    run = Run(Linear(), nn.Identity(), config={"ranges": {"c": [0.0, 1.0], "x": [-9.0, 9.0]}})
    with caplog.at_level("WARNING"):
        run.predict({"c": torch.tensor([[0.0, 0.5, 1.9]])}, num_draws=2)
        assert not caplog.messages
        run.predict({"c": torch.tensor([[0.0, 0.5, -1.1]])}, num_draws=2)
    assert caplog.messages == [
        "c: values from -1.1 to 0.5, where the run was fitted with 0 to 1; check the unit, as a "
        "model knows little so far from its data"
    ]


class TwoViews(nn.Module):
    """Views k = z + noise and x = z - k + noise of one latent z; or k of none."""

    def __init__(self, *, alone: bool = False) -> None:
        super().__init__()
        self.alone = alone
        self.unit = nn.Parameter(torch.ones(()))

    def forward(self, x=None, k=None, *, size=None):
        with data_plate(x, k, size=size):
            z = pyro.sample("z", dist.Normal(0 * self.unit, 1.0))
            loc = 0 * self.unit if self.alone else z
            k = pyro.sample("k", dist.Normal(loc, 0.3), obs=k)
            return pyro.sample("x", dist.Normal(z - k, 0.1), obs=x)


class Required(TwoViews):
    def forward(self, x=None, *, k, size=None):
        return super().forward(x, k, size=size)


def test_the_column_of_another_site_is_not_used():
    k = torch.randn(6)
    x = torch.randn(6) * 0.1**0.5
    found = predict(TwoViews(), {"x": x, "k": k}, num_draws=8000)
    p = dist.Normal(0.0, 0.1**0.5)
    assert found.mean.abs().max() < 0.03
    torch.testing.assert_close(found.scale, torch.full((6,), 0.1**0.5), rtol=0.05, atol=0)
    # Of one number, whose log-density is far from linear in the draws of its mean.
    torch.testing.assert_close(found.log_density, p.log_prob(x), rtol=0, atol=0.15)


def test_a_column_that_is_always_observed_is_a_condition_or_refused():
    k = torch.randn(6)
    found = predict(Required(alone=True), {"k": k}, site="x", num_draws=8000)
    torch.testing.assert_close(found.mean, -k, rtol=0, atol=0.06)
    with pytest.raises(ContractError, match="'k': expected to be sampled where nothing is obs"):
        predict(Required(), {"k": k}, site="x")
