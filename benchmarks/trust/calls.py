"""Good calls of scores, runs, fits and objectives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.trust.common import build, data, pair, settings
from ppvae import ensembles, evaluate, objectives, programs
from ppvae.distributions import RotationNormal
from ppvae.evaluate.predict import predict
from ppvae.fitting import (
    Checkpoint,
    Phase,
    Settings,
    fit,
    grouped_adam,
    warmup_cosine,
)
from ppvae.objectives import ELBO, Capacity, Cosine, Cyclic, Linear
from ppvae.runs import Recipe, Run

__all__ = ["Call", "of_fitting", "of_runs", "scores"]

Call = tuple[str, Callable[..., object], dict[str, Any]]


def scores() -> Iterator[Call]:
    """Scores of tensors."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 40, generator=generator)
    codes, other = torch.randn(2, 40, 3, generator=generator)
    classes, found = torch.randint(3, (2, 40), generator=generator)
    draws, turns = torch.randn(20, 40, generator=generator), torch.eye(3).expand(40, 3, 3).clone()
    two = {"codes": codes, "factors": torch.stack([classes, found], 1)}
    given: dict[str, dict[str, Any]] = {
        "active_units": {"means": codes, "threshold": 0.01},
        "align_rotations": {"estimate": turns, "true": turns},
        "batch_mixing": {"z": codes, "batch": classes, "k": 5},
        "circular_correlation": {"a": a, "b": b},
        "cluster_scores": {"found": found, "true": classes},
        "clustering_accuracy": {"found": found, "true": classes},
        "covered": {"draws": draws, "truth": a, "probability": 0.9},
        "crps": {"draws": draws, "truth": a},
        "dci": {**two, "trees": 3, "seed": 1},
        "dependencies": {"codes": codes},
        "interval": {"draws": draws, "probability": 0.9},
        "interval_score": {"draws": draws, "truth": a, "probability": 0.9},
        "invariance": {"codes": codes, "transformed": other},
        "kmeans": {"codes": codes, "clusters": 3, "seed": 1},
        "knn_overlap": {"data": other, "codes": codes, "k": 5},
        "knn_probe": {"features": codes, "target": classes, "k": 5},
        "linear_probe": {"features": codes, "target": classes},
        "linear_r2": {"features": codes, "target": a},
        "mig": {**two, "bins": 5},
        "mutual_information_matrix": {**two, "bins": 5},
        "neighbours": {"data": other, "codes": codes, "ks": (5, 10)},
        "pareto_k": {"log_weights": torch.randn(100, 4, generator=generator)},
        "pit": {"draws": draws, "truth": a},
        "r2": {"predicted": a, "true": b},
        "rotation_errors": {"estimate": turns, "true": turns},
        "sap": two,
        "path_ratio": {"images": other, "codes": codes, "share": 0.9},
        "credible_angle": {
            "q": RotationNormal(turns[:5], torch.ones(5, 3)),
            "mass": 0.9,
            "num_draws": 9,
            "seed": 1,
        },
        "tsne": {"codes": codes, "perplexity": 5.0, "seed": 1},
        "uniformity": {"u": torch.rand(40, generator=generator)},
    }
    for name, arguments in given.items():
        yield f"evaluate.{name}", getattr(evaluate, name), arguments


def of_runs(run: Run) -> Iterator[Call]:
    """Functions of a run and data."""
    columns = {"x": data()["x"][:24]}
    few = {"run": run, "data": columns, "seed": 1}
    given: dict[str, dict[str, Any]] = {
        "amortization_gap": {**few, "steps": 2, "max_rows": 4, "num_particles": 2},
        "check_predictions": {**few, "num_draws": 20, "max_rows": 10, "intervals": (0.5,)},
        "check_reconstructions": {**few, "num_draws": 20, "max_rows": 10, "intervals": (0.5,)},
        "elbo_surgery": {**few, "site": "z", "num_draws": 2, "max_rows": 20},
        "information": {**few, "site": "z", "num_draws": 2, "max_rows": 20},
        "refined_log_likelihood": {
            **few,
            "steps": 2,
            "max_rows": 4,
            "num_particles": 2,
            "num_draws": 5,
            "learning_rate": 0.05,
        },
        "impute": {**few, "column": "x", "num_draws": 10, "interval": 0.9},
        "log_likelihood": {**few, "num_particles": 4, "batch_size": 8},
        "quality_of_fit": {**few, "num_particles": 2, "batch_size": 8},
        "summary": {**few, "num_particles": 2, "max_rows": 10, "batch_size": 8},
        "to_arviz": {**few, "num_draws": 3, "max_rows": 10, "prior_rows": 2},
    }
    for name, arguments in given.items():
        yield f"evaluate.{name}", getattr(evaluate, name), arguments
    draws = {"like": columns, "num_datasets": 4, "num_draws": 9, "seed": 1}
    name = "simulation_based_calibration"
    yield f"evaluate.{name}", getattr(evaluate, name), {"run": run, **draws}
    numbers = {"num_particles": 2, "max_rows": 10}

    def compared(**given: Any) -> object:
        return evaluate.compare({"a": run, "b": run}, **given)

    yield "evaluate.compare", compared, {"data": columns, **numbers}
    runs = {"a": run, "b": run}
    yield "evaluate.compare", evaluate.compare, {"runs": runs, "data": columns, **numbers}
    yield from _of_programs(run, columns)


def _of_programs(run: Run, columns: dict[str, torch.Tensor]) -> Iterator[Call]:
    """Methods of a run, and the functions of programs that they call."""
    latents = {"z": torch.randn(5, 2)}
    numbers = {"num_draws": 5, "interval": 0.9, "seed": 1}
    flags = {"keep_draws": True, "ranks": True}
    yield "Run.encode", run.encode, {"data": columns, "batch_size": 8}
    yield "Run.decode", run.decode, {"latents": latents}
    yield "Run.columns", run.columns, {"data": columns}
    yield "Run.predict", run.predict, {"columns": columns, **numbers, **flags}
    yield "Run.predict", run.predict, {"rows": 3, **numbers, "site": "x"}
    yield "predict", predict, {"model": run.model, "columns": columns, **numbers, **flags}
    yield "posterior", programs.posterior, {"guide": run.guide, "batch": columns}
    yield "encode", programs.encode, {"guide": run.guide, "batch": columns}
    yield "decode", programs.decode, {"model": run.model, "latents": latents, "site": "x"}
    both = {"model": run.model, "guide": run.guide}
    yield "check_pair", programs.check_pair, {**both, "batch": columns}
    rows = {"guide": run.guide, "data": columns, "batch_size": 8}
    yield "encode_rows", programs.encode_rows, rows
    yield (
        "seen_per_datum",
        evaluate.seen_per_datum,
        {"data": columns, "column": "x", "max_rows": 9},
    )
    null = {"model": run.model, "train": columns, "data": columns, "column": "x", "max_rows": 9}
    yield "null_log_likelihood", evaluate.null_log_likelihood, null
    yield "Run.save", run.save, {"folder": str(Path(run.config["place"]) / "saved")}
    exported = {"path": str(Path(run.config["place"]) / "e.pt2"), "part": "encoder"}
    yield "Run.export", run.export, {**exported, "data": columns}


def of_fitting(place: Path) -> Iterator[Call]:
    """Fits, settings and objectives."""

    @functools.wraps(fit)
    def trained(**given: Any) -> object:
        return fit(**{**dict(zip(("model", "guide"), pair(), strict=True)), **given})

    numbers = {"batch_size": 16, "learning_rate": 1e-3, "epochs": 1, "seed": 1}
    more = {"clip_norm": 1.0, "average": 0.9, "validate_every": 1, "retries": 1}
    kept = {"progress": False, "compile": False, "device": "cpu"}
    chosen = {"out": str(place / "out"), "callbacks": ()}
    yield (
        "fit",
        trained,
        {"data": data(), "objective": ELBO(), **numbers, **more, **kept, **chosen},
    )
    model, guide = pair()
    yield "fit", fit, {"model": model, "guide": guide, "data": data(), **settings(epochs=1)}
    yield "Settings", Settings, {**numbers, **more}
    yield "Checkpoint", Checkpoint, {"folder": str(place / "c"), "every": 1, "seconds": 1.0}
    yield "Phase", Phase, {"epochs": 1, "hold": (model,)}
    yield "grouped_adam", grouped_adam, {"betas": (0.9, 0.999)}
    yield "warmup_cosine", warmup_cosine, {"warmup": 0.05, "floor": 0.1}
    yield "Recipe", Recipe, {"builder": "ppvae.zoo:build", "name": "vae", "options": {"a": 1}}
    yield from _of_objectives()
    members = {"build": build, "data": data(), "seeds": (0,), "epochs": 1, "batch_size": 32}

    @functools.wraps(ensembles.fit_ensemble)
    def trains(**given: Any) -> object:
        return ensembles.fit_ensemble(**{"device": "cpu", "compile": False, **given})

    yield "fit_ensemble", trains, members
    probs = torch.rand(2, 8, 3).softmax(-1)
    yield "agreement", ensembles.agreement, {"probs": probs, "reference": 1, "rounds": 2}


def _of_objectives() -> Iterator[Call]:
    """Objectives, schedules, terms and critics."""
    yield "ELBO", ELBO, {"weights": {"z": 2.0}, "num_particles": 1, "analytic": True, "terms": ()}
    yield "ELBO", ELBO, {"capacity": {"z": Capacity(1.0)}}
    yield "Capacity", Capacity, {"target": 1.0, "gamma": 1.0}
    for kind in (Linear, Cosine):
        yield kind.__name__, kind, {"start": 0.5, "end": 1.5, "steps": 3, "after": 2}
    yield "Cyclic", Cyclic, {"start": 0.5, "end": 1.5, "period": 3}
    yield "Constant", objectives.Constant, {"value": 2.0}
    yield "MINE", objectives.MINE, {"decay": 0.9, "slack": 1.0}
    yield "SMILE", objectives.SMILE, {"clip": 5.0}
    critic = objectives.critic_between((6,), (2,))
    more = {"estimator": objectives.InfoNCE(), "weight": 1.0, "updates": 2, "learning_rate": 0.01}
    ends = {"first": "x", "second": "z", "critic": critic}
    yield "MutualInformation", objectives.MutualInformation, {**ends, **more}
    for term in (objectives.Balance, objectives.Supervision):
        yield term.__name__, term, {"site": "y", "weight": 1.0}
    yield "Independence", objectives.Independence, {"site": "z", "column": "y", "weight": 1.0}
    changed = {"change": torch.neg, "site": "y", "column": "x", "weight": 1.0, "threshold": 0.5}
    yield "Consistency", objectives.Consistency, changed
    searched = {"rotations": 24, "contents": 2, "widths": (0.15, 0.005), "steps": 9, "weight": 1.0}
    yield "RotationSearch", objectives.RotationSearch, searched
    codes = {"z": torch.randn(10, 2), "y": torch.arange(10) % 3}
    yield "dependence", objectives.dependence, codes
    sizes = {"features": 8, "hidden": (8,), "convolutions": True, "form": "joint", "others": 3}
    yield "critic_between", objectives.critic_between, {"first": (3,), "second": (2,), **sizes}
    a, b = torch.randn(40, 6), torch.randn(40, 2)
    given = {"critic": critic, "estimator": objectives.InfoNCE(), "a": a, "b": b, "block": 20}
    yield "measure", objectives.measure, given
    asked = {"guide": pair()[1], "train": data(), "test": data(), "site": "z", "column": "x"}
    few = {"steps": 2, "batch_size": 16, "learning_rate": 0.01}
    yield "information_of", objectives.information_of, {**asked, **few}
