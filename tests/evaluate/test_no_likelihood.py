"""Pairs whose evaluation would be of something else: points as posteriors, parts of plates."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae import evaluate
from ppvae.errors import ContractError
from ppvae.evaluate import log_likelihood, summary
from ppvae.evaluate.predict import predict
from ppvae.fitting import fit
from ppvae.programs import data_plate
from ppvae.runs.run import Run
from tests.evaluate.programs import LinearGaussian, Point, linear_run


def test_a_point_per_datum_has_no_likelihood():
    model = LinearGaussian()
    run, x = Run(model, Point()), model.draw(8)
    refused = r"expected a posterior with a density of each latent; got a point .* \['z'\]"
    with pytest.raises(ContractError, match=refused):
        log_likelihood(run, {"x": x})
    with pytest.raises(ContractError, match="compare, run 'point': expected a posterior with"):
        evaluate.compare({"exact": linear_run(), "point": run}, {"x": x})
    for parts in (evaluate.elbo_surgery, evaluate.information):
        with pytest.raises(ValueError, match="'z': expected a posterior with a density"):
            parts(run, {"x": x})
    assert set(summary(run, {"x": x})) == {"distortion", "active_units"}
    draws = evaluate.to_arviz(run, {"x": x}, num_draws=5)
    assert list(draws.sample_stats) == ["log_likelihood_given_latents_x"]
    assert "log_likelihood" not in draws.groups()
    found = log_likelihood(Run(model, Point(noise=True)), {"x": x}, num_particles=2)
    assert torch.isfinite(found.log_likelihood).all()


class Common(nn.Module):
    """One mean for all data, and a point as its posterior."""

    def __init__(self, *, guide: bool = False) -> None:
        super().__init__()
        self.guide = guide
        self.loc = nn.Parameter(torch.tensor(0.3))

    def forward(self, x=None, *, size=None):
        q = dist.Delta(self.loc) if self.guide else dist.Normal(0 * self.loc, 3.0)
        mu = pyro.sample("mu", q)
        if not self.guide:
            with data_plate(x, size=size):
                pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


def test_a_point_that_all_data_share_is_a_learned_parameter():
    x = torch.randn(6)
    found = log_likelihood(Run(Common(), Common(guide=True)), {"x": x}, num_particles=3)
    exact = dist.Normal(0.3, 1.0).log_prob(x).double()
    torch.testing.assert_close(found.log_likelihood, exact, rtol=0, atol=1e-6)


class Subsampled(nn.Module):
    """30 observations of z in a datum, of which training takes 10 at random."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.always = always
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x=None, *, size=None):
        some = 10 if self.always or self.training else None
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0))
            with pyro.plate("t", 30, dim=-2, subsample_size=some) as rows:
                obs = None if x is None else x.T[rows]
                return pyro.sample("x", dist.Normal(z, 1.0), obs=obs)


class MeanGuide(nn.Module):
    """The exact posterior of :class:`Subsampled`."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(30 / 31))

    def forward(self, x):
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.gain * x.mean(1), 31**-0.5))


REFUSING = (
    log_likelihood,
    summary,
    evaluate.to_arviz,
    evaluate.check_predictions,
    evaluate.check_reconstructions,
    lambda run, data: predict(run.model, data),
)


def test_a_random_part_of_a_plate_is_for_training_alone():
    x = torch.randn(4, 1) + torch.randn(4, 30)
    run = Run(Subsampled(always=True), MeanGuide())
    for call in REFUSING:
        with pytest.raises(ContractError, match="'t': expected all 30 entries in an evaluation"):
            call(run, {"x": x})
    # A fit of it would end without a number to show: before the first step.
    with pytest.raises(ContractError, match="'t': expected all 30 entries in an evaluation"):
        fit(Subsampled(always=True), MeanGuide(), {"x": x}, epochs=1)
    data, exact = {"x": x}, dist.MultivariateNormal(torch.zeros(30), torch.eye(30) + 1)
    run = fit(Subsampled(always=False), MeanGuide(), data, epochs=1, learning_rate=1e-9, seed=0)
    found = log_likelihood(run, data, num_particles=2)
    torch.testing.assert_close(found.log_likelihood, exact.log_prob(x).double(), rtol=0, atol=1e-3)


class Density(dist.TorchDistribution):
    """A density of one's own, without draws."""

    arg_constraints = {"loc": dist.constraints.real_vector}
    support = dist.constraints.real_vector

    def __init__(self, loc, validate_args=None):
        self.loc = loc
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def log_prob(self, value):
        return -(value - self.loc).abs().sum(-1)

    def expand(self, batch_shape, _instance=None):
        return Density(self.loc.expand((*batch_shape, *self.event_shape)))


class OwnDensity(nn.Module):
    """z, observed with a likelihood that cannot be drawn, or that can for one total alone."""

    def __init__(self, likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0))
            return pyro.sample("x", self.likelihood(z, x), obs=x)


@pytest.mark.parametrize(
    ("likelihood", "words", "drawn"),
    [
        (lambda z, x: Density(z.unsqueeze(-1).expand(*z.shape, 3)), "got Density", slice(None)),
        (
            lambda z, x: dist.DirichletMultinomial(
                z.exp().unsqueeze(-1).expand(*z.shape, 3), 9 if x is None else x.sum(-1)
            ),
            "got DirichletMultinomial.*Inhomogeneous total count",
            slice(2),
        ),
    ],
)
def test_a_likelihood_that_cannot_be_drawn_is_named_where_draws_are_needed(
    likelihood, words, drawn
):
    data = {"x": torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0]])}
    run = Run(OwnDensity(likelihood), MeanGuide())
    assert torch.isfinite(log_likelihood(run, data).log_likelihood).all()
    calls = (
        evaluate.to_arviz,
        evaluate.check_reconstructions,
        evaluate.check_predictions,
        lambda run, data: predict(run.model, data),
    )
    for call in calls[drawn]:
        with pytest.raises(ContractError, match=f"site 'x': expected a distribution .*{words}"):
            call(run, data)
