"""The evenness of classes over a batch."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.objectives import ELBO, Balance
from tests.pairs import K, build


def balance(logits, *, weight=1.0):
    pair = build("jvae")
    linear = pair.guide.encoder.rest[-1]
    with torch.no_grad():
        linear.weight[-K:] = 0
        linear.bias[-K:] = torch.tensor(logits)
    return (ELBO() + Balance(weight=weight))(pair.model, pair.guide)(pair.batch)


def test_even_classes_cost_nothing_and_one_class_for_all_costs_its_surprise():
    assert balance([0.0, 0.0, 0.0]).extras["balance_y"].item() == pytest.approx(0.0, abs=1e-6)
    terms = balance([50.0, 0.0, 0.0], weight=2.0)
    assert terms.extras["balance_y"].item() == pytest.approx(2 * math.log(K), rel=1e-4)
    torch.testing.assert_close(terms.loss, -terms.elbo.mean() + terms.extras["balance_y"])


def test_it_is_the_kl_less_the_mutual_information():
    pair = build("jvae")
    with torch.no_grad():
        pair.guide.encoder.rest[-1].weight[-K:] *= 20
    terms = (ELBO() + Balance())(pair.model, pair.guide)(pair.batch)
    probs = pair.guide.encoder(pair.batch["x"])["y"].probs
    information = (probs * (probs / probs.mean(0)).log()).sum(-1).mean()
    torch.testing.assert_close(
        terms.kl["y"].mean(), information + terms.extras["balance_y"], rtol=1e-6, atol=1e-6
    )


def test_it_works_for_partly_known_classes():
    pair = build("ssvae, class")
    terms = (pair.objective + Balance())(pair.model, pair.guide)(pair.batch)
    assert torch.isfinite(terms.extras["balance_y"])
