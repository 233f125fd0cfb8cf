"""What a researcher does with a fit, on a simulated GPU, with data and truth on the CPU.

``fit`` takes a GPU where there is one, so that the pair is there, and its data are not.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

import ppvae
from ppvae.active import calibration
from ppvae.ensembles import fit_ensemble
from ppvae.evaluate import (
    cluster_scores,
    covered,
    crps,
    interval_score,
    invariance,
    log_likelihood,
    pit,
    quality_of_fit,
    rotation_errors,
)
from ppvae.evaluate.scores import (
    circular_correlation,
    clustering_accuracy,
    linear_r2,
    r2,
    shift_r2,
)
from ppvae.fitting import Checkpoint
from ppvae.objectives import ELBO
from tests.pairs import build as build_pair
from tests.simulated_gpu import simulated_gpu


@pytest.fixture(autouse=True)
def gpu():
    with simulated_gpu() as device:
        yield device


def trained(name, **options):
    pair = build_pair(name)
    columns = dict(pair.batch)
    run = ppvae.fit(
        pair.model,
        pair.guide,
        columns,
        pair.objective,
        **{"epochs": 1, "seed": 0, "progress": False, **options},
    )
    return run, columns


def devices(values):
    return {value.device.type for value in values if isinstance(value, torch.Tensor)}


PAIRS = ["vae, mlp", "vae, sphere", "ssvae, class", "gpvae"]


@pytest.mark.parametrize("name", PAIRS)
def test_a_fit_is_there_and_its_results_are_here(name, gpu):
    run, columns = trained(name)
    assert devices(run.model.parameters()) == devices(run.guide.parameters()) == {"cuda"}
    latents = run.encode(columns)
    known = {n: v for n, v in columns.items() if n not in ("x", *latents)}
    decoded = run.decode({n: v for n, v in latents.items() if not n.endswith("_probs")}, **known)
    predicted = run.predict(columns, num_draws=3)
    assert devices([*latents.values(), *decoded.values(), *vars(predicted).values()]) == {"cpu"}
    assert (predicted.mean - columns["x"]).shape == columns["x"].shape
    assert torch.isfinite(log_likelihood(run, columns, num_particles=2).elbo).all()
    assert torch.isfinite(quality_of_fit(run, columns).elbo).all()


def test_a_run_is_saved_loaded_anywhere_and_resumed(tmp_path, gpu):
    kept = [Checkpoint(tmp_path / "checkpoint", every=1)]
    run, columns = trained("vae, mlp", out=tmp_path / "run", callbacks=kept)
    pair = build_pair("vae, mlp")
    here = ppvae.load(tmp_path / "run", pair.model, pair.guide, device="cpu")
    assert devices(here.model.parameters()) == {"cpu"}
    torch.testing.assert_close(here.encode(columns)["z"], run.encode(columns)["z"])
    pair = build_pair("vae, mlp")
    there = ppvae.load(tmp_path / "run", pair.model, pair.guide, device="cuda")
    assert devices(there.model.parameters()) == {"cuda"}
    longer, _ = trained("vae, mlp", resume=tmp_path / "checkpoint", epochs=2)
    assert longer.epochs == 2
    assert longer.history[0]["loss"] == run.history[0]["loss"]


def test_an_ensemble_agrees_with_classes_on_the_cpu():
    def member():
        pair = build_pair("jvae")
        return pair.model, pair.guide, pair.objective or ELBO()

    columns = dict(build_pair("jvae").batch)
    ensemble = fit_ensemble(member, columns, seeds=range(2), epochs=1)
    agreed = ensemble.agree(columns)
    assert devices(vars(agreed).values()) == {"cpu"}
    classes = torch.arange(len(columns["x"])) % 2
    assert 0 <= clustering_accuracy(agreed.mean.argmax(-1), classes) <= 1


A, B = torch.linspace(0, 1, 12), torch.linspace(0, 2, 12).sin()
CLASSES = torch.arange(12) % 3
TURNS = torch.eye(3)[[1, 2, 0]].repeat(4, 1, 1)
DRAWS = torch.linspace(-1, 2, 60).reshape(5, 12)
SCORES = {
    "circular_correlation": (circular_correlation, A, B),
    "r2": (r2, A, B),
    "shift_r2": (shift_r2, A[:, None].expand(-1, 2), B[:, None].expand(-1, 2), A),
    "linear_r2": (linear_r2, A[:, None], B),
    "clustering_accuracy": (clustering_accuracy, CLASSES, CLASSES.flip(0)),
    "cluster_scores": (cluster_scores, CLASSES, CLASSES.flip(0)),
    "invariance": (invariance, A[:, None], B[:, None]),
    "rotation_errors": (rotation_errors, TURNS, TURNS.mT),
    "crps": (crps, DRAWS, A),
    "pit": (pit, DRAWS, A),
    "covered": (partial(covered, probability=0.5), DRAWS, A),
    "interval_score": (partial(interval_score, probability=0.5), DRAWS, A),
    "calibration": (calibration, A, B, B + 1),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_take_results_there_and_truth_here(name):
    function, result, *others = SCORES[name]
    for mixed in ([result.cuda(), *others], [result, *(other.cuda() for other in others)]):
        torch.manual_seed(0)
        value = function(*mixed)
        torch.manual_seed(0)
        expected = function(result, *others)
        if isinstance(expected, torch.Tensor):
            assert value.device == mixed[0].device
            torch.testing.assert_close(value.cpu(), expected)
        elif isinstance(expected, float):
            assert value == pytest.approx(expected, rel=1e-12)
        else:
            assert value == expected
