"""Encoding, decoding and what evaluation runs under, for every model."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.data import Dataset
from ppvae.distributions import PartlyKnown
from ppvae.errors import ContractError
from ppvae.programs import (
    batches,
    data_plate,
    decode,
    encode,
    evaluating,
    placement,
    posterior,
    seeded,
)
from tests.pairs import PLAIN, build

laws = pytest.mark.parametrize("name", PLAIN)


@laws
def test_encoding_is_the_posteriors_mean_and_repeats(name):
    pair = build(name)
    first, second = encode(pair.guide, pair.batch), encode(pair.guide, pair.batch)
    q = posterior(pair.guide, pair.batch)
    for site, fn in q.items():
        value = first[site]
        assert torch.equal(value, second[site])
        assert len(value) == len(pair.batch["x"])
        if fn.has_enumerate_support:
            probs = first[f"{site}_probs"]
            torch.testing.assert_close(probs.sum(-1), torch.ones(len(value)).to(probs))
            assert torch.equal(probs.argmax(-1), value)
        elif name != "zuko, flow posterior":  # which has no mean in closed form
            torch.testing.assert_close(value, fn.mean)
    assert set(first) - {f"{site}_probs" for site in q} == set(q)


@laws
def test_what_is_encoded_can_be_decoded(name):
    pair = build(name)
    known = {k: v for k, v in pair.batch.items() if k not in ("x", "index")}
    site = "x" if "x" in _observed(pair) else _observed(pair)[-1]
    made = decode(pair.model, encode(pair.guide, pair.batch), columns=known, site=site)[site]
    assert made.shape == pair.batch["x"].shape
    assert torch.isfinite(made).all()


def _observed(pair):
    from ppvae.programs import check_pair

    return check_pair(pair.model, pair.guide, pair.batch).observed


def test_known_labels_are_what_is_encoded():
    pair = build("ssvae, class")
    y = pair.batch["y"]
    found = encode(pair.guide, pair.batch)
    assert torch.equal(found["y"][y >= 0], y[y >= 0])
    assert torch.equal(found["y_probs"][y >= 0].argmax(-1), y[y >= 0])


def test_evaluating_puts_each_module_back_as_it_was():
    frozen, trained = nn.Dropout(), nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    frozen.eval()
    with evaluating(frozen, trained):
        assert not trained[1].training
        assert not trained[0](torch.ones(2)).requires_grad
    assert trained[1].training
    assert not frozen.training
    with pytest.raises(KeyError), evaluating(trained):
        raise KeyError
    assert trained[1].training


def test_a_seed_of_its_own():
    before = torch.random.get_rng_state()
    with seeded(3):
        first = torch.randn(2)
    with seeded(3):
        assert torch.equal(first, torch.randn(2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_batches_are_all_rows_in_order_as_the_module_takes_them():
    module = nn.Linear(2, 2).to(torch.float32)
    data = Dataset({"x": torch.arange(7, dtype=torch.uint8), "y": torch.arange(7)})
    parts = list(batches(module, data, 3))
    assert [len(part["x"]) for part in parts] == [3, 3, 1]
    x = torch.cat([part["x"] for part in parts])
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, torch.arange(7) / 255, check_dtype=False)
    assert torch.equal(torch.cat([part["y"] for part in parts]), torch.arange(7))
    assert placement(nn.Identity()).dtype == torch.get_default_dtype()
    with pytest.raises(ValueError, match="batch_size: expected an integer >= 1; got 0"):
        next(batches(module, data, 0))


class Improper(nn.Module):
    """p(z) is constant over the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, 3)

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            flat = dist.ImproperUniform(dist.constraints.real_vector, (), (2,))
            z = pyro.sample("z", flat)
            return pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)


def test_a_prior_without_draws_cannot_be_decoded_from():
    with pytest.raises(ContractError, match="expected a distribution with a mean or draws"):
        decode(Improper(), {"z": torch.zeros(4, 2)})


class Gate(nn.Module):
    """A class with probability 1/2 wherever x is negative."""

    def __init__(self, *, guide: bool = False, known: bool = False) -> None:
        super().__init__()
        self.guide, self.known = guide, known
        self.slope = nn.Parameter(torch.tensor(1.0))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            if not self.guide:
                y = pyro.sample("y", dist.Bernoulli(self.slope.sigmoid()))
                return pyro.sample("x", dist.Normal(y * self.slope, 1.0), obs=x)
            q = dist.Bernoulli(logits=self.slope * x.relu())
            if self.known:
                q = PartlyKnown(q, torch.ones(len(x)), x > 1.5)
            return pyro.sample("y", q, infer={"enumerate": "parallel"})


@pytest.mark.parametrize("known", [False, True])
def test_a_class_with_probability_one_half_is_encoded_as_the_first(known):
    x = torch.tensor([-1.0, 0.0, 1.0, 2.0])
    found = encode(Gate(guide=True, known=known), {"x": x})
    assert found["y"].tolist() == [0.0, 0.0, 1.0, 1.0]
    if not known:
        assert found["y_probs"][0] == 0.5
        assert torch.isfinite(decode(Gate(), found)["x"]).all()


class HeavyTailed(nn.Module):
    """Scales that all data share, without a mean; as scales, zero is refused."""

    def forward(self, x=None, *, size=None):
        tau = pyro.sample("tau", dist.HalfCauchy(torch.full((3,), 2.0)).to_event(1))
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), tau).to_event(1))
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def test_a_scale_without_a_mean_is_decoded_at_its_median():
    made = decode(HeavyTailed(), {"z": torch.ones(4, 3)})
    assert torch.equal(made["x"], torch.ones(4, 3))
    torch.testing.assert_close(made["tau"], torch.full((3,), 2.0))
