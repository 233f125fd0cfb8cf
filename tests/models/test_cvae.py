"""Conditional VAEs: what is given changes what is drawn, and must fit."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

import ppvae
from ppvae.errors import RunError
from ppvae.nets import Conditions, Embedding, OneHot
from ppvae.programs import ContractError, arguments
from ppvae.runs.weights import fill, gather
from tests.pairs import K, N, Z, build


def image(model, **columns):
    return poutine.trace(model).get_trace(**columns).nodes["x"]["fn"].mean


def test_a_class_swapped_at_fixed_content_changes_the_image():
    model = build("cvae, class").model
    z = torch.randn(1, Z).expand(K, Z)
    held = pyro.condition(model, data={"z": z})
    swapped = image(held, y=torch.arange(K))
    assert swapped.shape == (K, 1, 8, 8)
    assert (swapped[0] - swapped[1]).abs().max() > 1e-4
    # do() cuts what condition() scores: the same image, and no log-density of z.
    trace = poutine.trace(poutine.do(model, data={"z": z})).get_trace(y=torch.arange(K))
    torch.testing.assert_close(trace.nodes["x"]["fn"].mean, swapped)


def test_condition_scores_a_latent_and_do_does_not():
    pair = build("cvae, class")
    x, y = pair.batch["x"], pair.batch["y"]
    z = torch.randn(N, Z)
    likelihood = pair.model.decoder(z, *pair.model.conditions(y, None)).log_prob(x).sum()
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
    held = poutine.trace(poutine.condition(pair.model, {"z": z})).get_trace(x, y=y)
    torch.testing.assert_close(held.log_prob_sum(), likelihood + prior)
    done = poutine.trace(poutine.do(pair.model, {"z": z})).get_trace(x, y=y)
    done.compute_log_prob()
    torch.testing.assert_close(done.nodes["x"]["log_prob_sum"], likelihood)
    assert not done.nodes["z"]["is_observed"]


def test_a_model_conditioned_on_an_image_is_the_model_given_that_image():
    pair = build("cvae, class")
    x, y = pair.batch["x"], pair.batch["y"]
    elbos = []
    for model, batch in (
        (pair.model, {"x": x, "y": y}),
        (poutine.condition(pair.model, {"x": x}), {"y": y}),
    ):
        torch.manual_seed(1)
        guide_trace = poutine.trace(pair.guide).get_trace(x, y=y)
        trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(**batch)
        elbos.append(trace.log_prob_sum() - guide_trace.log_prob_sum())
    torch.testing.assert_close(*elbos)


def test_factors_of_one_dimension_may_be_a_plain_column():
    conditions = Conditions(factor_dim=1)
    (c,) = conditions(None, torch.arange(3.0))
    assert c.shape == (3, 1)


def test_an_embedding_is_a_row_a_class():
    embedding = Embedding(K, 2)
    y = torch.tensor([[2], [0]])
    assert torch.equal(embedding(y), embedding.weight[y])


def test_sizes_say_what_the_networks_need():
    assert Conditions(OneHot(10), factor_dim=2).sizes == (10, 2)
    assert Conditions(Embedding(10, 4)).sizes == (4,)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.full((N,), K), f"expected labels from 0 to {K - 1}; got {K}"),
        (torch.full((N,), -1), "got -1. Drop the rows without a label"),
    ],
)
def test_labels_out_of_range_are_refused(y, message):
    pair = build("cvae, class")
    with pytest.raises(ValueError, match=message):
        ppvae.fit(pair.model, pair.guide, {**pair.batch, "y": y}, epochs=1, progress=False)
    with pytest.raises(ValueError, match=message):
        OneHot(K)(y)


def test_a_wrong_label_late_in_the_data_is_found_before_the_first_step():
    pair = build("cvae, class")
    y = pair.batch["y"].clone()
    y[-1] = K
    with pytest.raises(ValueError, match=f"got {K}"):
        ppvae.fit(
            pair.model, pair.guide, {**pair.batch, "y": y}, epochs=1, batch_size=2, progress=False
        )


def test_conditions_that_are_missing_or_do_not_fit_are_refused():
    pair = build("cvae, embedded class and factor")
    with pytest.raises(ValueError, match="y: expected a column"):
        pair.guide(pair.batch["x"], c=pair.batch["c"])
    with pytest.raises(ContractError, match="c: expected a column"):
        ppvae.fit(
            pair.model,
            pair.guide,
            {"x": pair.batch["x"], "y": pair.batch["y"]},
            epochs=1,
            progress=False,
        )
    with pytest.raises(ValueError, match=r"c: expected shape \(..., 1\); got \(12, 3\)"):
        pair.model(**arguments(pair.model, {**pair.batch, "c": torch.zeros(N, 3)}))
    with pytest.raises(ValueError, match="expected classes, factors or both"):
        Conditions()
    with pytest.raises(ValueError, match="num_classes"):
        OneHot(0)


def _aged(**options):
    """A fit to two curves of an age in years; the numbers of the model do not know the unit."""
    torch.manual_seed(0)
    age = 20 + 60 * torch.rand(400, 1)
    x = torch.cat([((age - 50) / 6).sigmoid(), ((35 - age) / 6).sigmoid()], 1)
    columns = {"x": (x > torch.rand(400, 2)).float(), "c": options.get("c", lambda a: a)(age)}
    data = ppvae.data.Dataset(columns)
    model, guide, objective = ppvae.zoo.build("cvae", data.spec, latent_dim=1, hidden=(16,))
    settings = {"batch_size": 50, "learning_rate": 1e-2, "seed": 0, "progress": False}
    return ppvae.fit(model, guide, data, objective, epochs=15, **settings), data, settings


@pytest.fixture(scope="module")
def aged():
    return _aged()


def test_factors_in_years_are_learned_as_those_of_unit_scale_are(aged):
    run, data, _ = aged
    m, s = data["c"].mean(), data["c"].std()
    found = run.model.conditions.scaling
    torch.testing.assert_close(found.center, m.reshape(1), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.unit, s.reshape(1), rtol=1e-2, atol=0)
    by_hand = _aged(c=lambda age: (age - m) / s)[0]
    assert run.history[-1]["elbo"] == pytest.approx(by_hand.history[-1]["elbo"], abs=0.02)
    # The null model, which has the rates of the whole data, and does not know the age.
    rates = data["x"].mean(0)
    null = torch.distributions.Bernoulli(rates).log_prob(data["x"]).sum(1).mean()
    assert run.history[-1]["elbo"] > null + 0.2


def test_a_saved_run_and_one_of_an_older_version_keep_the_unit_of_their_factors(aged, tmp_path):
    run, data, settings = aged
    weights, shared = gather(nn.ModuleList([run.model, run.guide]))
    empty = ppvae.zoo.build("cvae", data.spec, latent_dim=1, hidden=(16,))
    fill(nn.ModuleList(empty[:2]), weights, shared)
    assert torch.equal(empty.model.conditions.scaling.unit, run.model.conditions.scaling.unit)
    old = {name: value for name, value in weights.items() if "scaling" not in name}
    kept = {name: of for name, of in shared.items() if "scaling" not in name}
    assert len(old) == len(weights) - 3
    empty = ppvae.zoo.build("cvae", data.spec, latent_dim=1, hidden=(16,))
    fill(nn.ModuleList(empty[:2]), old, kept)
    ppvae.fit(empty.model, empty.guide, data, epochs=1, **settings)
    (given,) = empty.model.conditions(c=data["c"])
    assert torch.equal(given, data["c"])
    with pytest.raises(RunError, match="the file lacks"):
        fill(nn.ModuleList(empty[:2]), dict(list(old.items())[1:]), kept)
