"""Conditional VAEs: what is given changes what is drawn, and must fit."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro import poutine

import ppvae
from ppvae.nets import Conditions, Embedding, OneHot
from ppvae.programs import ContractError, arguments
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
