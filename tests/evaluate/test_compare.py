"""Comparing runs: known evidences, paired errors, and what cannot be compared."""

from __future__ import annotations

import pytest
import torch

from ppvae import evaluate
from ppvae.errors import ArgumentError
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.runs.run import Run
from tests.evaluate.programs import D, GaussianGuide, linear_run


def test_the_better_model_is_first_by_its_evidence():
    good, bad = linear_run(), linear_run()
    x = good.model.draw(80)
    with torch.no_grad():
        bad.model.weight.copy_(1.5 * good.model.weight)
        bad.model.bias.copy_(good.model.bias)
    bad = Run(bad.model, GaussianGuide(bad.model))
    first, second = evaluate.compare({"bad": bad, "good": good}, {"x": x}, num_particles=32)
    assert (first.name, second.name) == ("good", "bad")
    exact = good.model.log_evidence(x) - bad.model.log_evidence(x)
    assert second.difference == pytest.approx(float(exact.mean()), abs=1e-3)
    assert second.difference_error == pytest.approx(float(exact.std()) / 80**0.5, abs=1e-3)
    assert first.difference == first.difference_error == 0
    assert first.trusted
    assert first.log_likelihood == pytest.approx(
        float(good.model.log_evidence(x).mean()), abs=1e-3
    )
    # Paired: narrower than what two errors of their own would come to.
    assert second.difference_error < first.standard_error


def test_a_guide_that_misses_the_posterior_is_marked():
    good = linear_run()
    bad = Run(good.model, GaussianGuide(good.model, shift=4.0, spread=0.3))
    rows = evaluate.compare({"a": good, "b": bad}, {"x": good.model.draw(20)})
    assert {row.name: row.trusted for row in rows} == {"a": True, "b": False}


def plain(head: heads.Head) -> Run:
    encoder = MLP(D, heads.DiagonalNormal(2), hidden=[4])
    return Run(VAE(MLP(2, head, hidden=[4]), latent_dim=2), AmortizedGuide(encoder))


def test_what_is_not_of_one_kind_is_not_compared():
    x = torch.randint(0, 2, (8, D)).float()
    normal = plain(heads.Normal((D,)))
    for other in (heads.Poisson((D,)), heads.Bernoulli((D,))):
        with pytest.raises(ArgumentError, match="densities of all models or probabilities of"):
            evaluate.compare({"a": normal, "b": plain(other)}, {"x": x})
    with pytest.raises(ArgumentError, match="at least two runs"):
        evaluate.compare({"a": normal}, {"x": x})
