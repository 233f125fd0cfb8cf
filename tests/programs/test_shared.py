"""Latents that all data share, once trained: predictions and means come from their posterior."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.errors import ContractError
from ppvae.evaluate import check_predictions, log_likelihood
from ppvae.objectives import ELBO
from ppvae.programs import data_plate
from ppvae.runs.run import Run

LOC, SPREAD = 5.0, 0.1


class Level(nn.Module):
    """mu ~ N(0, 100), z_n ~ N(0, 0.01), x_n ~ N(mu + z_n, 0.01)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x=None, *, size=None):
        mu = pyro.sample("mu", dist.Normal(self.zero, 10.0))
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, SPREAD))
            return pyro.sample("x", dist.Normal(mu + z, SPREAD), obs=x)


class LevelGuide(nn.Module):
    """q(mu) near the level of the data; computed from the batch if ``amortised``."""

    def __init__(self, *, amortised: bool = False) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(LOC))
        self.amortised = amortised

    def forward(self, x):
        loc = x.mean() if self.amortised else self.loc
        mu = pyro.sample("mu", dist.Normal(loc, 1e-3))
        with data_plate(x):
            pyro.sample("z", dist.Normal((x - mu) / 2, SPREAD / 2**0.5))


def level_run(**options: bool) -> tuple[Run, torch.Tensor]:
    x = LOC + 2**0.5 * SPREAD * torch.randn(200)
    return Run(Level(), LevelGuide(**options), config={"data": {"rows": {"train": 200}}}), x


def test_an_objective_needs_the_number_of_data_that_share_a_latent():
    run, x = level_run()
    with pytest.raises(ContractError, match=r"num_data: expected .* \['mu'\]"):
        ELBO()(run.model, run.guide)({"x": x})
    whole, halves = (
        ELBO()(run.model, run.guide, num_data=count)({"x": x}).kl["mu"].sum()
        for count in (200, 400)
    )
    torch.testing.assert_close(whole, 2 * halves)


def test_predictions_come_from_the_posterior_of_a_global_latent():
    run, x = level_run()
    exact = dist.Normal(LOC, 2**0.5 * SPREAD)
    for prediction in (run.predict(rows=4, num_draws=400), run.predict({"x": x}, num_draws=400)):
        assert (prediction.mean - LOC).abs().max() < 0.03
        torch.testing.assert_close(
            prediction.scale, exact.scale.expand(len(prediction.scale)), rtol=0.1, atol=0
        )
    density = prediction.log_density.mean()
    torch.testing.assert_close(density, exact.log_prob(x).mean(), rtol=0, atol=0.03)
    means = check_predictions(run, {"x": x}, num_draws=200).means()
    assert means["coverage/0.5"] == pytest.approx(0.5, abs=0.12)


def test_a_shared_latent_left_out_is_decoded_at_its_posterior_mean():
    run, _ = level_run()
    decoded = run.decode({"z": torch.tensor([0.0, 0.1])})
    torch.testing.assert_close(decoded["x"], torch.tensor([LOC, LOC + 0.1]))
    torch.testing.assert_close(decoded["mu"], torch.tensor(LOC))


def test_a_shared_posterior_computed_from_the_batch_needs_the_batch():
    run, x = level_run(amortised=True)
    with pytest.raises(ContractError, match=r"expected the columns \['x'\] of the guide.*'mu'"):
        run.predict(rows=4)
    assert (run.predict({"x": x}).mean - LOC).abs().max() < 0.05
    # No posterior without data: decoded at the prior's mean, as documented.
    assert run.decode({"z": torch.zeros(2)})["mu"] == 0


class Component(nn.Module):
    """k ~ Categorical, for all data; x_n ~ N(loc_k, I)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loc", torch.tensor([[-1.0, 0.0], [0.0, 0.5], [1.0, 0.0]]))

    def forward(self, x=None, *, size=None):
        k = pyro.sample("k", dist.Categorical(self.loc.new_ones(3)))
        with data_plate(x, size=size):
            return pyro.sample("x", dist.Normal(self.loc[k], 1.0).to_event(1), obs=x)


class ComponentGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.0, 1.0, -1.0]))

    def forward(self, x):
        pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})


def test_the_likelihood_averages_over_the_posterior_of_a_global_class():
    model, guide = Component(), ComponentGuide()
    x = torch.randn(30, 2)
    scores = dist.Normal(model.loc[:, None], 1.0).to_event(1).log_prob(x)
    exact = (guide.logits.log_softmax(0)[:, None] + scores).logsumexp(0).detach().double()
    for draws in (1, 8):
        estimate = log_likelihood(Run(model, guide), {"x": x}, num_particles=draws)
        torch.testing.assert_close(estimate.log_likelihood, exact, rtol=0, atol=1e-5)


class Slope(nn.Module):
    """A regression, whose column x is an input: w ~ N(0, I), t_n ~ N(x_n w, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(2))

    def forward(self, x, t=None):
        w = pyro.sample("w", dist.Normal(self.zero, 1.0).to_event(1))
        with data_plate(x, t):
            return pyro.sample("t", dist.Normal((x * w).sum(-1), 1.0), obs=t)


class SlopeGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, x, t):
        pyro.sample("w", dist.Normal(self.loc, 1e-3).to_event(1))


def test_an_input_may_be_called_x():
    run, x = Run(Slope(), SlopeGuide()), torch.randn(5, 2)
    prediction = run.predict({"x": x}, num_draws=50)
    torch.testing.assert_close(prediction.mean, x @ torch.tensor([1.0, -2.0]), rtol=0, atol=0.01)
