"""Public functions under bad arguments: each call is refused in words, or its result is right.

    python -m benchmarks.trust.entries [--only evaluate.]

Each function is called with good arguments, of which one in turn is replaced by a bad value of the
kinds in :func:`spoiled`. An error is *clear* if it says what was expected and what came instead;
any other error is *obscure*, and a call without an error is *silent*, unless the value is one that
the function documents (:data:`RIGHT`). Obscure and silent calls are printed.
"""

from __future__ import annotations

import argparse
import collections
import logging
import math
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ppvae
from benchmarks.trust.common import build, data, pair, settings
from ppvae import data as reading
from ppvae import ensembles, evaluate, gp, objectives
from ppvae.errors import PPVAEError
from ppvae.fitting import Checkpoint, Settings, fit
from ppvae.objectives import ELBO, Capacity, Cosine, Cyclic, Linear
from ppvae.runs import Run

Call = tuple[str, Callable[..., object], dict[str, Any]]

# Seconds that a call may take.
SECONDS = 30
# Values that are documented, by the end of "function argument value".
RIGHT = (
    *("x: half", "x: one", "as_splits data x: deep", "as_splits data wide", "draws half"),
    *("describe data x: deep", "describe data wide", "columns x: deep", "columns wide"),
    *("columns x: nan", "means half", "codes half", "u half", "u one", "probs half", "probs one"),
    # Classes of any numbers; quantities as factors and targets.
    *("found negative", "found fractions", "true negative", "true fractions"),
    *("factors negative", "factors fractions", "target fractions", "y fractions", "y negative"),
    # Rows are flattened.
    *("features deep", "target deep", "data deep", "codes deep", "y deep", "draws deep"),
    # NaN and zero as documented.
    *("log_weights empty", "log_weights half", "log_weights one", "log_weights nan"),
    *("log_weights inf", "dependence z nan", "dependence z inf", "rounds 0", "rounds 1e30"),
    # None, zero, nothing and a lot, where they have a meaning.
    *(
        "ks empty",
        "intervals empty",
        "prior_rows 0",
        "retries 0",
        "reference 0",
        "callbacks empty",
    ),
    *("fit seed None", "clip_norm None", "average None", "device None", "out None", "every None"),
    *("load seed None", "batch_size 1e30", "validate_every 1e30", "retries 1e30", "epochs 1e30"),
    *("first empty", "second empty", "start -1", "end -1", "x texts", "missing_ok empty"),
    *("missing_ok texts", "take rows half", "take rows one"),
)


def spoiled(good: object) -> Iterator[tuple[str, object]]:
    """Bad values in place of a good one, each with a name."""
    yield from (("None", None), ("object", object()))
    if isinstance(good, Tensor):
        yield from _spoiled_tensors(good)
    elif isinstance(good, bool):
        yield from (("text", "no"), ("2", 2))
    elif isinstance(good, int):
        yield from (("text", "3"), ("-1", -1), ("0", 0), ("1.5", 1.5), ("nan", math.nan))
        yield from (("True", True), ("1e30", 10**30), ("list", [good]))
    elif isinstance(good, float):
        yield from (("text", "0.5"), ("-1", -1.0), ("nan", math.nan), ("inf", math.inf))
        yield from (("True", True), ("list", [good]))
    elif isinstance(good, str | Path):
        yield from (("3", 3), ("empty", ""), ("strange", "no such\0thing"))
    elif isinstance(good, Mapping):
        yield from (("text", "x"), ("empty", {}), ("list", [good]))
        x = good["x"]
        yield from ((f"x: {name}", {**good, "x": value}) for name, value in _spoiled_tensors(x))
        yield "wide", {**good, "x": torch.cat([x, x], 1)}
    elif isinstance(good, Sequence):
        yield from (("3", 3), ("empty", ()), ("texts", ["a"]), ("nan", [math.nan]))
    else:
        yield from (("text", "text"), ("3", 3))


def _spoiled_tensors(good: Tensor) -> Iterator[tuple[str, object]]:
    yield from (("text", "values"), ("list", ["a"]), ("number", 3), ("scalar", good.flatten()[0]))
    yield from (("empty", good[:0]), ("half", good[: len(good) // 2]), ("one", good[:1]))
    yield from (("complex", good.to(torch.complex64)), ("deep", good[..., None, None]))
    if good.is_floating_point():
        holed = good.clone()
        holed.view(-1)[0] = math.nan
        yield from (("nan", holed), ("inf", torch.full_like(good, math.inf)))
    else:
        yield from (("negative", -good - 5), ("fractions", good + 0.5))


def outcome(function: Callable[..., object], given: Mapping[str, object]) -> tuple[str, str]:
    """``"clear"``, ``"obscure"`` or ``"silent"``, and the error or the result."""
    signal.alarm(SECONDS)
    try:
        result = function(**given)
    except Exception as error:
        text = " ".join(str(error).split())
        ours = isinstance(error, PPVAEError) or "got" in text
        clear = ours and "expected" in text
        return ("clear" if clear else "obscure"), f"{type(error).__name__}: {text[:90]}"
    finally:
        signal.alarm(0)
    return "silent", " ".join(repr(result).split())[:60]


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
        "dci": {**two, "trees": 3, "seed": 0},
        "dependencies": {"codes": codes},
        "interval": {"draws": draws, "probability": 0.9},
        "interval_score": {"draws": draws, "truth": a, "probability": 0.9},
        "invariance": {"codes": codes, "transformed": other},
        "kmeans": {"codes": codes, "clusters": 3, "seed": 0},
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
        "uniformity": {"u": torch.rand(40, generator=generator)},
    }
    for name, arguments in given.items():
        yield f"evaluate.{name}", getattr(evaluate, name), arguments


def of_runs(run: Run) -> Iterator[Call]:
    """Functions of a run and data."""
    columns = {"x": data()["x"][:24]}
    few = {"run": run, "data": columns, "seed": 0}
    given: dict[str, dict[str, Any]] = {
        "amortization_gap": {**few, "steps": 2, "max_rows": 4, "num_particles": 2},
        "check_predictions": {**few, "num_draws": 20, "max_rows": 10, "intervals": (0.5,)},
        "check_reconstructions": {**few, "num_draws": 20, "max_rows": 10, "intervals": (0.5,)},
        "elbo_surgery": {**few, "site": "z", "num_draws": 2, "max_rows": 20},
        "impute": {**few, "column": "x", "num_draws": 10, "interval": 0.9},
        "log_likelihood": {**few, "num_particles": 4, "batch_size": 8},
        "quality_of_fit": {**few, "num_particles": 2, "batch_size": 8},
        "summary": {**few, "num_particles": 2, "max_rows": 10, "batch_size": 8},
        "to_arviz": {**few, "num_draws": 3, "max_rows": 10, "prior_rows": 2},
    }
    for name, arguments in given.items():
        yield f"evaluate.{name}", getattr(evaluate, name), arguments
    draws = {"like": columns, "num_datasets": 4, "num_draws": 9, "seed": 0}
    name = "simulation_based_calibration"
    yield f"evaluate.{name}", getattr(evaluate, name), {"run": run, **draws}
    numbers = {"num_particles": 2, "max_rows": 10}

    def compared(**given: Any) -> object:
        return evaluate.compare({"a": run, "b": run}, **given)

    yield "evaluate.compare", compared, {"data": columns, **numbers}


def of_fitting(place: Path) -> Iterator[Call]:
    """Fits, settings and objectives."""

    def trained(**given: Any) -> object:
        return fit(**{**dict(zip(("model", "guide"), pair(), strict=True)), **given})

    numbers = {"batch_size": 16, "learning_rate": 1e-3, "epochs": 1, "seed": 0}
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
    yield "ELBO", ELBO, {"num_particles": 1, "analytic": True}
    yield "Capacity", Capacity, {"target": 1.0, "gamma": 1.0}
    for kind in (Linear, Cosine):
        yield kind.__name__, kind, {"start": 0.0, "end": 1.0, "steps": 3}
    yield "Cyclic", Cyclic, {"start": 0.0, "end": 1.0, "period": 3}
    members = {"build": build, "data": data(), "seeds": (0,), "epochs": 1, "batch_size": 32}
    trains = ensembles.fit_ensemble
    yield "fit_ensemble", lambda **g: trains(**{"device": "cpu", "compile": False, **g}), members
    probs = torch.rand(2, 8, 3).softmax(-1)
    yield "agreement", ensembles.agreement, {"probs": probs, "reference": 0, "rounds": 2}
    codes = {"z": torch.randn(10, 2), "y": torch.arange(10) % 3}
    yield "dependence", objectives.dependence, codes
    yield "critic_between", objectives.critic_between, {"first": (3,), "second": (2,)}


def of_reading(place: Path) -> Iterator[Call]:
    """Reading and making data."""
    (place / "a.csv").write_text("a,b,y\n" + "1.5,2,0\n3,4.5,1\n" * 4)
    table = {"path": str(place / "a.csv"), "x": ("a", "b"), "sep": ",", "decimal": "."}
    yield "data.table", reading.table, table
    yield "data.load", reading.load, {"path": str(place / "a.csv"), "seed": 0}
    yield "data.as_splits", reading.as_splits, {"data": data()}
    yield "data.describe", reading.describe, {"data": data()}
    yield "Dataset", reading.Dataset, {"columns": data(), "missing_ok": ("x",)}
    rows = reading.Dataset(data())
    yield (
        "split_rows",
        reading.split_rows,
        {"data": rows, "validation": 0.1, "test": 0.1, "seed": 0},
    )
    yield "Dataset.take", rows.take, {"rows": torch.arange(4)}
    yield "data.symmetries", reading.symmetries, {"name": "cube"}
    yield "data.cells", reading.cells, {"num_cells": 4, "size": 16, "noise": 1.0, "seed": 0}
    few = {"num_cells": 20, "num_genes": 8, "num_factors": 2, "num_types": 2, "num_batches": 1}
    yield "data.expression", reading.expression, {**few, "inflation": 0.1, "seed": 0}
    image, at = torch.rand(20, 20), torch.tensor([[10, 10], [8, 9]])
    yield "data.patches", reading.patches, {"image": image, "positions": at, "size": 5}
    yield "ppvae.load", ppvae.load, {"folder": str(place / "run"), "builders": (build,)}


def of_gps() -> Iterator[Call]:
    """Gaussian processes."""
    yield "gp.ObjectTable", gp.ObjectTable, {"num_objects": 4, "num_features": 2}
    views = {"num_frequencies": 2, "period": 6.28}
    yield "gp.FourierFeatures", gp.FourierFeatures, views
    codes, at = torch.randn(12, 2), torch.arange(12) % 3
    given = {"codes": codes, "objects": at, "views": torch.linspace(0, 3, 12)}
    asked = {"at_objects": torch.tensor([0, 1]), "at_views": torch.tensor([0.5, 1.0])}
    yield "gp.interpolate_latents", gp.interpolate_latents, {**given, **asked, "period": 6.28}
    yield "gp.angular_kernel", gp.angular_kernel, {"lengthscale": 1.0, "period": 6.28}
    parts = {"objects": gp.ObjectTable(3, 2), "views": gp.FourierFeatures(num_frequencies=2)}
    yield "gp.GPPrior", gp.GPPrior, {**parts, "latent_dim": 2, "noise": 0.1, "folds": 2}
    prior = gp.GPPrior(**parts, latent_dim=2)
    prior.prepare({"object": at, "view": given["views"]})
    yield "gp.infer_objects", gp.infer_objects, {"prior": prior, **given}
    yield "gp.leave_one_out", gp.leave_one_out, {"prior": prior, "chunk": 4}


def _default(function: Callable[..., object], name: str) -> object:
    parameters = signature(function).parameters
    return parameters[name].default if name in parameters else Parameter.empty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="text in the names of the functions to call")
    parser.add_argument("--skip", default="?", help="text in the names of those that are not")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _late)
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run = fit(*pair(), data(), out=place / "run", **settings(epochs=1))
        calls = [*scores(), *of_runs(run), *of_fitting(place), *of_reading(place), *of_gps()]
        for name, function, good in calls:
            if arguments.only not in name or arguments.skip in name:
                continue
            word, detail = outcome(function, good)
            if word != "silent":
                sys.exit(f"{name}: the good arguments are refused: {detail}")
            for argument, value in good.items():
                for label, bad in spoiled(value):
                    if bad is None and _default(function, argument) is None:
                        continue
                    word, detail = outcome(function, {**good, argument: bad})
                    tried = f"{name} {argument} {label}"
                    if word != "clear" and tried.endswith(RIGHT):
                        word = "right"
                    counts[word] += 1
                    if word in ("silent", "obscure"):
                        print(f"{word}: {tried}: {detail}", flush=True)
    print(f"{counts.total()} bad calls: {dict(counts)}")


def _late(number: int, frame: object) -> None:
    raise TimeoutError(f"no end after {SECONDS} s at {time.ctime()}")


if __name__ == "__main__":
    main()
