"""The class that a small change of a datum leaves the same."""

from __future__ import annotations

import pytest
import torch

from ppvae.objectives import ELBO, Consistency
from tests.pairs import build


def flip(x):
    return x.flip(-1)


def consistency(name, **options):
    pair = build(name)
    terms = (ELBO() + Consistency(flip, **options))(pair.model, pair.guide)(pair.batch)
    return pair, terms


def test_it_is_the_kl_from_the_guides_own_posterior():
    pair, terms = consistency("jvae", weight=3.0)
    q, changed = (pair.guide.encoder(x)["y"] for x in (pair.batch["x"], flip(pair.batch["x"])))
    expected = 3.0 * torch.distributions.kl_divergence(q, changed).mean()
    torch.testing.assert_close(terms.extras["consistency_y"], expected)
    torch.testing.assert_close(terms.loss, -terms.elbo.mean() + expected)


def test_a_known_label_is_the_target():
    pair, terms = consistency("ssvae, class")
    y, x = pair.batch["y"], pair.batch["x"]
    target = pair.guide.classifier(x).probs
    target = torch.where((y >= 0)[:, None], torch.eye(target.size(-1))[y], target)
    log_changed = pair.guide.classifier(flip(x)).logits
    expected = (torch.xlogy(target, target) - target * log_changed).sum(-1).mean()
    torch.testing.assert_close(terms.extras["consistency_y"], expected)


def test_no_change_costs_nothing_and_the_target_gets_no_gradient():
    pair = build("jvae")
    same = ELBO() + Consistency(lambda x: x)
    extra = same(pair.model, pair.guide)(pair.batch).extras["consistency_y"]
    assert abs(extra.item()) < 1e-9
    gradients = torch.autograd.grad(extra, pair.guide.parameters())
    # The KL is at its least in the changed posterior, and constant in the target.
    assert all(g.abs().max() < 1e-9 for g in gradients)


def test_data_below_the_threshold_count_nothing():
    assert consistency("jvae", threshold=0.99)[1].extras["consistency_y"] == 0
    assert consistency("jvae", threshold=0.0)[1].extras["consistency_y"] > 0
    with pytest.raises(ValueError, match="threshold from 0 to below 1; got 1"):
        Consistency(flip, threshold=1.0)


def test_the_gradient_is_that_at_a_fixed_target():
    pair, terms = consistency("jvae")
    q, changed = (pair.guide.encoder(x)["y"] for x in (pair.batch["x"], flip(pair.batch["x"])))
    target = q.probs.detach()
    expected = (target * (target.log() - changed.logits)).sum(-1).mean()
    parameters = list(pair.guide.parameters())
    found, right = (
        torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        for loss in (terms.extras["consistency_y"], expected)
    )
    torch.testing.assert_close(found, right)
