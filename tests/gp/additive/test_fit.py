"""Fitting with an additive prior: resumed runs, saved runs, missing pixels, later visits."""

from __future__ import annotations

import pytest
import torch

import ppvae
from ppvae.data import visits
from ppvae.evaluate.predict import predict
from ppvae.fitting import Checkpoint
from ppvae.fitting.compiled import gradients
from ppvae.gp.additive import AdditivePrior, LeaveVisitsOut
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, Calibrated, MaskedEncoder, heads, masked_shape
from ppvae.objectives import ELBO

SHAPE = (1, 36, 36)
KERNEL = "cat(id) + rbf(age)*cat(id) + rbf(age)*cat(sex) + rbf(disease_age)*obs(disease_age)"
SPLITS = visits(num_subjects=4, num_test=2, num_visits=6, given=2)


def pair():
    torch.manual_seed(0)
    prior = AdditivePrior(KERNEL, latent_dim=2, order="age", refresh=3)
    decoder = Calibrated(MLP(2, heads.Masked(heads.Normal(SHAPE, heads.Shared())), hidden=[8]))
    shape = masked_shape(SHAPE)
    encoder = MLP(2 * 36 * 36, heads.DiagonalNormal(2), hidden=[8], in_shape=shape)
    return VAE(decoder, prior=prior), AmortizedGuide(MaskedEncoder(encoder, event_dim=3))


def build(**spec):
    """The builder of this module's runs."""
    return (*pair(), ELBO() + LeaveVisitsOut())


def train(epochs, **options):
    model, guide = pair()
    settings = {"batch_size": 9, "progress": False, "seed": 0, "compile": False, **options}
    objective = ELBO() + LeaveVisitsOut()
    return ppvae.fit(model, guide, SPLITS.train, objective, epochs=epochs, **settings)


def given():
    return {
        name: torch.as_tensor(SPLITS.test[name]) for name in ("id", "age", "sex", "disease_age")
    }


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    whole = train(4).model.state_dict()
    train(2, callbacks=[Checkpoint(tmp_path / "at")])
    resumed = train(4, resume=tmp_path / "at").model.state_dict()
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key


def test_a_saved_run_predicts_the_same_later_visits(tmp_path):
    from ppvae.runs import Recipe

    run = train(2, recipe=Recipe("tests.gp.additive.test_fit:build"))
    run.save(tmp_path / "run")
    loaded = ppvae.load(tmp_path / "run", builders=[build])
    found, again = (predict(r.model, given(), num_draws=5).mean for r in (run, loaded))
    assert torch.equal(found, again)


@pytest.mark.slow
def test_compiled_steps_are_the_eager_ones(monkeypatch):
    # As traced: TorchInductor itself is tested on gpvae, and takes two minutes here.
    monkeypatch.setattr(gradients, "inductor", lambda code, inputs: code)
    eager, compiled = (train(1, compile=c) for c in (False, True))
    assert compiled.metrics["compiled"]
    assert compiled.history[-1]["loss"] == pytest.approx(eager.history[-1]["loss"], rel=1e-4)


def test_training_moves_kernels_variances_and_the_calibrated_scale():
    start, _ = pair()
    found = train(3).model
    moved = {
        name
        for (name, before), after in zip(start.named_parameters(), found.parameters(), strict=True)
        if not torch.equal(before, after)
    }
    assert moved == {name for name, p in start.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("scale", "few"), [(2.0, False), (0.02, True)])
def test_features_too_few_for_the_learned_lengthscale_are_said_at_the_end(scale, few, caplog):
    model, guide = pair()
    (age,) = [f for term in model.prior.kernel for f in term if f.written == "rbf(age)"][:1]
    age.features.kernel.lengthscale = scale
    run = ppvae.fit(
        model, guide, SPLITS.train, epochs=1, batch_size=9, progress=False, compile=False
    )
    texts = run.config.get("cautions", [])
    assert any("rbf(age): its 12 features hold" in text for text in texts) is few
    assert ("rbf(age): its 12 features hold" in caplog.text) is few
