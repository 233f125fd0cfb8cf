"""The entries with mutual-information terms: built, fitted, measured, loaded."""

from __future__ import annotations

import math

import pytest
import torch

import ppvae
from ppvae import objectives
from ppvae.data import Dataset, Splits
from ppvae.objectives import MutualInformation
from ppvae.report.gallery import Subject, draw, measure
from ppvae.runs.run import Recipe
from ppvae.zoo import build
from ppvae.zoo.entries.infomax import ESTIMATORS
from tests.pairs import K, N, images

NAMES = ["infomax", "two-stage-single", "two-stage-double"]
SMALL = {"network": "mlp", "hidden": [8], "latent_dim": 2}
STAGES = {**SMALL, "first_latent_dim": 3, "second_hidden": [4]}
OPTIONS = {name: SMALL if name == "infomax" else STAGES for name in NAMES}


def splits() -> Splits:
    part = Dataset({"x": images(3, 8, 8), "y": torch.arange(N) % K})
    return Splits(part, part, part)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_trains_is_measured_and_comes_back_from_its_recipe(name, tmp_path):
    data = splits()
    recipe = Recipe("ppvae.zoo:build", name=name, options=OPTIONS[name], spec=data.train.spec)
    model, guide, objective = recipe.build()
    run = ppvae.fit(model, guide, data, objective, epochs=2, seed=0, progress=False, recipe=recipe)
    state = torch.get_rng_state()
    metrics = measure(Subject(run, data))
    assert torch.equal(state, torch.get_rng_state())
    assert math.isfinite(metrics["mutual_information"])
    bounds = {n.partition("/")[0] for n in metrics} - {"mutual_information"}
    assert bounds == {"information", "information_upper", "information_limit"}
    if name != "infomax":
        # Embedded twice, z2 has no posterior given the data alone.
        assert ("information/z2" in metrics) == (name == "two-stage-single")
        second = "x,z2" if name == "two-stage-single" else "z1,z2"
        assert {n for n in metrics if n.startswith("mutual")} == {
            "mutual_information",
            "mutual_information/x,z1",
            f"mutual_information/{second}",
        }
    shown = {file for file, *_ in draw(Subject(run, data))}
    assert {"latents.png", "manifold.png", "traversals.png", "loss.png"} <= shown
    assert ("latents_z2.png" in shown) == (name != "infomax")
    run.save(tmp_path / name)
    again = ppvae.load(tmp_path / name)
    # The critics come back, too.
    assert measure(Subject(again, data)) == pytest.approx(metrics)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_can_be_chosen(name, estimator):
    spec = splits().train.spec
    *_, objective = build(name, spec, **OPTIONS[name], estimator=estimator, critic="joint")
    terms = [t for t in objective.terms if isinstance(t, MutualInformation)]
    assert len(terms) == (1 if name == "infomax" else 2)
    assert all(isinstance(t.estimator, getattr(objectives, ESTIMATORS[estimator])) for t in terms)


def test_alpha_beta_and_gamma_are_the_objectives():
    chosen = {"alpha1": 2.0, "alpha2": 3.0, "beta1": 4.0, "beta2": 5.0, "gamma": 0.5}
    *_, objective = build("two-stage-single", splits().train.spec, **STAGES, **chosen)
    assert objective.weights == {"x1": 0.5, "z1": 2.0, "z2": 5.0}
    step = torch.zeros(())
    assert [float(t.weight(step)) for t in objective.terms] == [1.0, 3.0]
    *_, objective = build("infomax", splits().train.spec, **SMALL, alpha=2.0, beta=4.0)
    assert objective.weights == {"z": 4.0}
    assert [float(t.weight(step)) for t in objective.terms] == [2.0]


def test_without_a_term_or_with_one_datum_nothing_is_measured():
    data = splits()
    model, guide, objective = build("vae", data.train.spec, hidden=[8], latent_dim=2)
    run = ppvae.fit(model, guide, data, objective, epochs=1, progress=False)
    assert "mutual_information" not in measure(Subject(run, data))
    model, guide, objective = build("infomax", data.train.spec, **SMALL)
    run = ppvae.fit(model, guide, data, objective, epochs=1, progress=False)
    one = data._replace(test=data.test.take(torch.tensor([0])))
    assert measure(Subject(run, one)) == {}
