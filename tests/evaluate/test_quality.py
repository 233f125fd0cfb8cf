"""The quality of each datum's fit, by site."""

from __future__ import annotations

import pytest
import torch

import ppvae
from ppvae.evaluate.quality import quality_of_fit
from ppvae.objectives import ELBO
from tests.pairs import build


def run_of(name, epochs=1):
    pair = build(name)
    options = {"epochs": epochs, "batch_size": 6, "seed": 0, "progress": False}
    options["learning_rate"] = 1e-2
    return ppvae.fit(pair.model, pair.guide, pair.batch, ELBO(), **options), pair.batch


def test_the_terms_of_each_datum_add_up_by_site():
    run, batch = run_of("two stages, single embedding")
    found = quality_of_fit(run, batch, batch_size=5)
    assert set(found.log_likelihood) == {"x1", "x2"}
    assert set(found.kl) == {"z1", "z2"}
    assert found.elbo.shape == (12,)
    exact = ELBO()(run.model, run.guide)(batch)
    # The KLs are in closed form, and do not depend on a draw nor on the batches.
    for name, kl in found.kl.items():
        torch.testing.assert_close(kl, exact.kl[name].detach())
    log, kl = found.log_likelihood, found.kl
    torch.testing.assert_close(found.elbo, log["x1"] + log["x2"] - kl["z1"] - kl["z2"])


def test_it_moves_nothing_and_says_the_same_again():
    run, batch = run_of("vae, mlp")
    state, before = torch.get_rng_state(), [p.clone() for p in run.guide.parameters()]
    first, second = quality_of_fit(run, batch), quality_of_fit(run, batch)
    assert torch.equal(first.elbo, second.elbo)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before, run.guide.parameters(), strict=True))
    assert not first.elbo.requires_grad


def test_an_outlier_is_the_worst():
    run, batch = run_of("vae, mlp", 40)
    x = batch["x"].clone()
    x[7] = 1 - x[7]
    found = quality_of_fit(run, {"x": x})
    assert found.worst(1).tolist() == [7]
    assert found.worst(3, by="x")[0] == 7
    assert found.kl["z"][found.worst(12, by="z")].diff().le(0).all()


@pytest.mark.parametrize(
    ("count", "by", "message"),
    [(1, "loss", r"by: expected one of \['elbo', 'x', 'z'\]; got 'loss'"), (13, "x", "1 to 12")],
)
def test_what_cannot_be_asked_is_refused(count, by, message):
    run, batch = run_of("vae, mlp")
    with pytest.raises(ValueError, match=message):
        quality_of_fit(run, batch).worst(count, by=by)
