"""Imputation and null models of fitted pairs."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch

from ppvae import evaluate, fit
from ppvae.data import Dataset
from ppvae.data.record import Record
from ppvae.errors import ArgumentError
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.runs.run import Run
from tests.models.test_missing import NOISE, D, Exact, Linear, Z
from tests.pairs import build

NAN = math.nan


def test_imputation_of_a_linear_model_is_the_conditional_normal():
    decoder = Linear(torch.randn(D, Z), torch.randn(D))
    run = Run(VAE(decoder, latent_dim=Z), AmortizedGuide(Exact(decoder)))
    x = torch.randn(3, D)
    x[0, :2], x[1] = NAN, NAN
    found = evaluate.impute(run, {"x": x}, num_draws=20_000)
    covariance = decoder.weight @ decoder.weight.T + NOISE**2 * torch.eye(D)
    cross = covariance[:2, 2:] @ covariance[2:, 2:].inverse()
    mean = decoder.bias[:2] + cross @ (x[0, 2:] - decoder.bias[2:])
    sd = (covariance[:2, :2] - cross @ covariance[2:, :2]).diagonal().sqrt()
    torch.testing.assert_close(found.mean[0, :2], mean, atol=0.05, rtol=0)
    torch.testing.assert_close(found.scale[0, :2], sd, atol=0, rtol=0.03)
    torch.testing.assert_close(found.upper[0, :2], mean + 1.645 * sd, atol=0.1, rtol=0)
    torch.testing.assert_close(found.mean[1], decoder.bias, atol=0.1, rtol=0)
    for value in (found.mean, found.lower, found.upper):
        assert torch.equal(value[2], x[2])
    assert (found.scale[2] == 0).all()
    assert found.seen.tolist() == (~x.isnan()).tolist()


@pytest.mark.parametrize(
    "name", ["gpvae, missing values", "ssvae, missing values", "vae, missing counts"]
)
def test_every_kind_of_model_imputes(name):
    pair = build(name)
    found = evaluate.impute(Run(pair.model, pair.guide), pair.batch, num_draws=8)
    x = pair.batch["x"]
    assert found.mean.shape == x.shape
    for value in (found.mean, found.scale, found.lower, found.upper):
        assert value.isfinite().all()
    assert (found.scale[found.seen] == 0).all()


class Shares(VAE):
    """A model that observes the shares of x in its sum."""

    def forward(self, x=None, *, size=None):
        return super().forward(None if x is None else x / x.nansum(-1, keepdim=True), size=size)


def test_a_column_that_the_model_observes_in_another_form_is_not_imputed():
    decoder = Linear(torch.randn(D, Z), torch.randn(D))
    run = Run(Shares(decoder, latent_dim=Z), AmortizedGuide(Exact(decoder)))
    x = torch.rand(3, D)
    x[0, 0] = NAN
    with pytest.raises(ArgumentError, match="observes the column 'x' itself; got one computed"):
        evaluate.impute(run, {"x": x})
    plain = Run(VAE(decoder, latent_dim=Z), AmortizedGuide(Exact(decoder)))
    with pytest.raises(ArgumentError, match=r"a site 'w' .* got the sites \['x'\]"):
        evaluate.impute(plain, {"x": torch.rand(3, D), "w": x}, column="w")


def test_imputation_takes_columns_like_those_of_the_training_data_alone():
    pair = build("ssvae, missing values")
    names = {"y": ("a", "b", "c")}
    train = Dataset(pair.batch, missing_ok=["x"], record=Record(names))
    run = fit(pair.model, pair.guide, train, pair.objective, epochs=1, progress=False)
    others = Dataset(pair.batch, missing_ok=["x"], record=Record({"y": ("b", "c", "d")}))
    with pytest.raises(ArgumentError, match="names of the training data in their order"):
        evaluate.impute(run, others)
    assert evaluate.impute(run, train, num_draws=2).seen.shape == pair.batch["x"].shape


def test_imputation_refuses_settings_out_of_range():
    pair = build("vae, missing values")
    with pytest.raises(ArgumentError, match="num_draws: expected an integer >= 2"):
        evaluate.impute(Run(pair.model, pair.guide), pair.batch, num_draws=1)


def test_the_null_model_is_each_element_by_itself():
    x = torch.randn(400, 3) * torch.tensor([1.0, 2, 3]) + 5
    head = heads.Normal((3,), heads.Shared(shape=(3,)))
    model = VAE(MLP(2, head, hidden=[4]), latent_dim=2)
    found = evaluate.null_log_likelihood(model, {"x": x}, {"x": x[:100]}, max_rows=None)
    normal = dist.Normal(x.mean(0), x.std(0, correction=0))
    # Data are scored in float32, as models see them.
    assert found == pytest.approx(float(normal.log_prob(x[:100]).sum(1).mean()), rel=1e-5)


def test_models_without_a_likelihood_head_have_no_null_model():
    assert evaluate.null_log_likelihood(torch.nn.Linear(2, 2), {"x": torch.ones(3, 2)}, {}) is None


def test_seen_values_are_counted_where_some_are_missing():
    assert evaluate.seen_per_datum({"x": torch.ones(3, 2)}) is None
