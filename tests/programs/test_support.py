"""Every row of every split is held to the support of the likelihood before training."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppvae
from ppvae import evaluate
from ppvae.data import Dataset, Splits
from ppvae.errors import DataError
from ppvae.guides import AmortizedGuide, ConditionalGuide
from ppvae.models import VAE, ConditionalVAE
from ppvae.nets import MLP, Columns, Conditions, heads
from ppvae.programs import check_values, data_plate


def _pair(head):
    return (
        VAE(MLP(2, head((3,)), hidden=[4]), latent_dim=2),
        AmortizedGuide(MLP(3, heads.DiagonalNormal(2), hidden=[4])),
    )


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("head", "value", "suits"),
    [
        (heads.Bernoulli, 1.5, "normal"),
        (heads.ContinuousBernoulli, -0.1, "normal"),
        (heads.Poisson, 2.5, "normal"),
        (heads.NegativeBinomial, -1.0, "normal"),
        (heads.Bernoulli, 7.0, "negative-binomial"),
    ],
)
def test_a_value_outside_is_refused_wherever_it_is(head, value, suits, part):
    rows = {name: torch.zeros(20, 3) for name in ("train", "validation", "test")}
    rows[part][17, 1] = value
    splits = Splits(**{name: Dataset({"x": x}) for name, x in rows.items()})
    with pytest.raises(
        DataError, match=f"support of .*got {value:g} in row 17 of the {part}.*{suits}"
    ):
        ppvae.fit(*_pair(head), splits, epochs=1, batch_size=8, seed=0, progress=False)


class Exceeds(VAE):
    """Observes whether x exceeds 1/2, under the name of the column."""

    def forward(self, x=None, *, size=None):
        return super().forward(None if x is None else (x > 0.5).to(x), size=size)


def test_a_function_of_a_column_is_not_held_to_the_columns_values():
    model = Exceeds(MLP(2, heads.Bernoulli((3,)), hidden=[4]), latent_dim=2)
    x = 9 * torch.rand(20, 3)
    guide = _pair_kept[1]
    run = ppvae.fit(model, guide, {"x": x}, epochs=1, batch_size=8, seed=0, progress=False)
    assert np.isfinite(evaluate.summary(run, {"x": x})["elbo"])


@pytest.mark.parametrize(
    ("head", "value"),
    [
        (heads.Poisson, 2.5),
        (heads.NegativeBinomial, -1.0),
        (heads.ContinuousBernoulli, 1.5),
        (partial(heads.Categorical, num_classes=4), 9.0),
    ],
)
@pytest.mark.parametrize(
    "evaluation",
    [
        lambda run, data: evaluate.summary(run, data),
        lambda run, data: evaluate.log_likelihood(run, data, num_particles=2),
        lambda run, data: evaluate.quality_of_fit(run, data),
        lambda run, data: evaluate.to_arviz(run, data, num_draws=2),
        lambda run, data: evaluate.check_reconstructions(run, data, num_draws=2, max_rows=1500),
    ],
)
def test_evaluations_refuse_a_value_outside_in_any_batch(head, value, evaluation):
    x = torch.zeros(3000, 3)
    run = ppvae.fit(*_pair(head), {"x": x[:20]}, epochs=1, seed=0, progress=False)
    x[2502, 1] = value
    with pytest.raises(DataError, match=f"support of .*got {value:g} in row 2502 "):
        evaluation(run, {"x": x})


def test_values_inside_pass_and_draws_are_not_moved():
    x = torch.rand(9, 3)
    splits = Splits(Dataset({"x": x}))
    before = torch.get_rng_state()
    for head in (heads.Bernoulli, heads.Normal, heads.ContinuousBernoulli):
        check_values(*_pair(head), {"x": x}, splits)
    before = torch.get_rng_state()
    check_values(*_pair_kept, {"x": x}, splits)
    assert torch.equal(before, torch.get_rng_state())
    bytes_ = Dataset({"x": np.full((9, 3), 255, np.uint8)})
    batch = bytes_.batch(slice(None), dtype=torch.get_default_dtype())
    check_values(*_pair_kept, batch, Splits(bytes_))


_pair_kept = _pair(heads.Bernoulli)


def test_class_numbers_with_gaps_are_warned_about():
    x = torch.rand(6, 3)
    for y, words in (([1001, 2002] * 3, "has 2003"), ([1, 2, 3] * 2, "from 1 to 3")):
        columns = {"x": x, "y": torch.tensor(y)}
        with pytest.warns(UserWarning, match=f"class numbers.*{words}"):
            check_values(*_pair_kept, columns, Splits(Dataset(columns)))
    columns = {"x": x, "y": torch.tensor([0, 1, 2] * 2)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_values(*_pair_kept, columns, Splits(Dataset(columns)))


def test_times_that_coincide_in_the_precision_of_the_model_are_refused():
    times = 1.7e9 + torch.arange(6, dtype=torch.float64)
    columns = {"x": torch.rand(6, 3).float(), "view": times}
    pair = [module.float() for module in _pair(heads.Bernoulli)]
    with pytest.raises(DataError, match="Subtract a common offset"):
        check_values(*pair, columns, Splits(Dataset(columns)))
    columns["view"] = times - 1.7e9
    check_values(*pair, columns, Splits(Dataset(columns)))
    # In a column of the user's own whole numbers stay whole, and others are rounded.
    for age, refused in ((times + 0.5, True), (times.long(), False), (times - 1.7e9, False)):
        columns = {"x": columns["x"], "age": age}
        with pytest.raises(DataError, match="column 'age'.*equal") if refused else nullcontext():
            check_values(*pair, columns, Splits(Dataset(columns)))


def _given_factors(conditions, size):
    decoder = MLP([2, size], heads.Normal((3,)), hidden=[4])
    encoder = MLP([3, size], heads.DiagonalNormal(2), hidden=[4])
    model = ConditionalVAE(decoder, conditions, latent_dim=2)
    return model, ConditionalGuide(encoder, conditions)


@pytest.mark.parametrize(
    ("c", "scaled"),
    [
        (lambda u: 2000 + 40 * u, False),
        (lambda u: 10 + u, False),
        (lambda u: 1e-6 * u, False),
        (lambda u: torch.cat([u, 100 * u], 1), False),
        (lambda u: u, True),
        (lambda u: (u > 0.97).float(), True),
        (lambda u: torch.full_like(u, 2020.0), True),
    ],
)
def test_factors_of_a_size_that_networks_do_not_take_are_scaled_or_warned_of(c, scaled):
    torch.manual_seed(0)
    c = c(torch.rand(40, 1))
    size = c.size(1)
    data = Dataset({"x": torch.randn(40, 3), "c": c})
    batch = data.batch(slice(0, 4), dtype=torch.get_default_dtype())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_values(*_given_factors(Columns("c"), size), batch, Splits(data))
    assert len(said) == (not scaled)
    conditions = Conditions(factor_dim=size)
    conditions.scaling.prepare(data)
    (given,) = conditions(c=c)
    if said:
        text = str(said[0].message)
        assert "Scale it, in new data, too: (c - " in text
        mean, sd = map(float, text.partition("(c - ")[2].rstrip(".").split(") / "))
        torch.testing.assert_close(given[:, -1], (c[:, -1] - mean) / sd)
        assert given.abs().max() < 4
    assert torch.equal(given[:, :1], c[:, :1]) == (scaled or size > 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_values(*_given_factors(conditions, size), batch, Splits(data))
    # Once learned it stays: further fits and new data have the same units.
    conditions.scaling.prepare(Dataset({"c": 3 * c + 5}))
    assert torch.equal(conditions(c=c)[0], given)


class Tutorial(nn.Module):
    """A decoder's Bernoulli without validation, as in Pyro's tutorial of the VAE."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, 3)

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            fn = dist.Bernoulli(logits=self.decoder(z), validate_args=False)
            return pyro.sample("x", fn.to_event(1), obs=x)


def test_fractions_under_a_bernoulli_of_pyro_are_sent_to_the_head_that_takes_them():
    x = torch.rand(20, 3)
    with pytest.raises(DataError, match=r"likelihood of ppvae.nets.heads that suits: bernoulli"):
        check_values(Tutorial(), _pair(heads.Bernoulli)[1], {"x": x}, Splits(Dataset({"x": x})))
    check_values(*_pair(heads.Bernoulli), {"x": x}, Splits(Dataset({"x": x})))
