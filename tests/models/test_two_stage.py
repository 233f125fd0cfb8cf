"""Two stages: the loss is the published one, and each guide embeds x as it says."""

from __future__ import annotations

import pytest
import torch

from ppvae.fitting import fit
from ppvae.objectives import ELBO, MutualInformation, critic_between
from ppvae.programs import check_pair, decode, encode
from tests.pairs import SHAPE, Z, build

NAMES = ["two stages, single embedding", "two stages, double embedding"]
both = pytest.mark.parametrize("name", NAMES)


@both
def test_the_loss_is_the_published_one(name):
    alpha1, alpha2, beta1, beta2, gamma = 0.5, 2.0, 3.0, 1.5, 0.8
    pair = build(name)
    x = "z1" if "double" in name else "x"
    size = (3,) if "double" in name else SHAPE
    objective = (
        ELBO(weights={"x1": gamma, "z1": gamma * beta1, "z2": beta2})
        + MutualInformation("x", "z1", critic_between(SHAPE, (3,)), weight=gamma * alpha1)
        + MutualInformation(x, "z2", critic_between(size, (Z,)), weight=alpha2)
    )
    made = objective(pair.model, pair.guide)
    terms, context = made.evaluate(pair.batch)
    first, second = (float(term.information(context).detach()) for term in objective.terms)
    log, kl = terms.log_likelihood, terms.kl
    stages = [
        (log["x1"] - beta1 * kl["z1"]).mean() + alpha1 * first,
        (log["x2"] - beta2 * kl["z2"]).mean() + alpha2 * second,
    ]
    torch.testing.assert_close(terms.loss, -(stages[1] + gamma * stages[0]))


@both
def test_both_stages_observe_one_column(name):
    pair = build(name)
    structure = check_pair(pair.model, pair.guide, pair.batch)
    assert structure.latent == ("z1", "z2")
    assert structure.observed == ("x1", "x2")
    terms = ELBO()(pair.model, pair.guide)(pair.batch)
    torch.testing.assert_close(
        terms.elbo, sum(terms.log_likelihood.values()) - sum(terms.kl.values())
    )


@both
def test_the_second_stage_sees_the_first_latent_only_if_embedded_twice(name):
    pair = build(name)
    made = ELBO()(pair.model, pair.guide)
    draws = [made.evaluate(pair.batch)[1].q for _ in range(2)]
    same = torch.equal(draws[0]["z2"].mean, draws[1]["z2"].mean)
    assert same == ("single" in name)
    assert torch.equal(draws[0]["z1"].mean, draws[1]["z1"].mean)


@both
def test_each_stage_is_encoded_and_decoded(name):
    pair = build(name)
    latents = encode(pair.guide, pair.batch)
    assert latents["z1"].shape == (12, 3)
    assert latents["z2"].shape == (12, Z)
    for site in ("x1", "x2"):
        assert decode(pair.model, latents, site=site)[site].shape == pair.batch["x"].shape


@both
def test_it_trains_with_two_critics(name):
    pair = build(name)
    first = MutualInformation("x", "z1", critic_between(SHAPE, (3,)))
    second = MutualInformation("z1", "z2", critic_between((3,), (Z,)))
    run = fit(
        pair.model,
        pair.guide,
        pair.batch,
        pair.objective + first + second,
        epochs=20,
        batch_size=12,
        learning_rate=1e-2,
        seed=0,
        progress=False,
    )
    losses = run.history.column("elbo")
    assert losses[-1] > losses[0]
    assert {"critic/information_x_z1", "critic/information_z1_z2"} <= run.history[0].keys()
