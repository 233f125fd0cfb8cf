"""What the command line does, as functions: fit a model by name, evaluate, report, predict.

A run's folder then holds, beside what :class:`ppvae.runs.run.Run` writes, ``arviz.nc``,
``plots/*.png`` and ``report.html``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppvae import evaluate, plots, report
from ppvae.data import Splits, load
from ppvae.errors import ArgumentError, RunError
from ppvae.evaluate.predict import Prediction, predict
from ppvae.fitting import fit
from ppvae.programs import placement, seeded, signature
from ppvae.report.gallery.pictures import common_figures
from ppvae.runs.folder import refuse_unwritable
from ppvae.runs.run import Recipe, Run, is_run
from ppvae.runs.run import load as load_run
from ppvae.zoo.entry import Entry, build, entry
from ppvae.zoo.options import parse_options

__all__ = ["evaluate_run", "fit_entry", "predict_run", "report_run", "splits_of"]

# How much of the test data goes into arviz.nc, and how many draws of each datum.
ARVIZ_ROWS, ARVIZ_DRAWS = 100, 50


def fit_entry(
    name: str,
    out: str | Path,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Fit a model by name and write its run's folder, evaluated and with a report.

    Arguments:
        name: One of :func:`ppvae.zoo.names`.
        out: The folder; a run that is there already is replaced.
        data: A file or a folder (:func:`ppvae.data.load`); the model's embedded data by default.
        seed: Of the weights, of the order of the data and of the latent noise.
        options: The model's own options by name.
        settings: Arguments of :func:`ppvae.fit` other than the model's defaults.

    Raises:
        ArgumentError: If there is no such model or option.
        DataError: If the data cannot be used.
        ContractError: If they lack what the model needs.
        DivergenceError: If training diverges; the run up to there is in the folder.
        RunError: If the folder cannot be written.
    """
    found = entry(name)
    chosen = parse_options(found.options, options or {})
    refuse_unwritable(Path(out), is_run)
    splits = _splits(found, chosen, data)
    found.check(splits)
    recipe = Recipe("ppvae.zoo:build", name=name, options=asdict(chosen), spec=splits.train.spec)
    with seeded(seed):
        model, guide, objective = build(name, splits.train.spec, **asdict(chosen))
    settings = {"optimizer": found.optimizer(model, guide), **found.fit, **settings}
    run = fit(model, guide, splits, objective, seed=seed, recipe=recipe, out=out, **settings)
    run.config["source"] = None if data is None else str(Path(data).resolve())
    _write(found, run, splits, Path(out))
    return run


def evaluate_run(
    folder: str | Path, *, data: str | Path | None = None, device: str | None = None
) -> Run:
    """Evaluate a run anew: its metrics, draws for ArviZ, plots and report.

    Arguments:
        folder: A run's folder.
        data: Other data than it was fitted with.
        device: Where to compute.
    """
    run, found, splits = splits_of(folder, data=data, device=device)
    _write(found, run, splits, Path(folder))
    return run


def report_run(folder: str | Path) -> Path:
    """Write a run's ``report.html`` from what is in its folder, computing nothing."""
    return report.write(Path(folder))


def predict_run(
    folder: str | Path,
    columns: Mapping[str, Sequence[float]],
    out: str | Path,
    *,
    num_draws: int = 200,
    interval: float = 0.9,
    device: str | None = None,
) -> tuple[Prediction, dict[str, Tensor]]:
    """Predict x at all combinations of columns, as ``predictions.npz`` and pictures.

    Arguments:
        folder: A run's folder.
        columns: Values a column, such as ``object`` and ``view``; every combination is predicted.
        out: A folder for ``predictions.npz`` and, of images, ``predictions.png`` (means above
            standard deviations, a row an object or first column).
        num_draws: Draws a datum.
        interval: Probability of the interval from ``lower`` to ``upper``.
        device: Where to compute.

    Returns:
        The prediction, and the columns with one row a datum.

    Raises:
        ArgumentError: If a column is missing or unknown, or a value is one that the model cannot
            say anything about.
    """
    run = load_run(folder, device=device)
    given = _combinations(run, columns)
    like = placement(run.model)
    moved = {
        name: value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)
        for name, value in given.items()
    }
    _check_known(run, moved)
    prediction = predict(run.model, moved, num_draws=num_draws, interval=interval)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        named = ("mean", "scale", "latent_scale", "lower", "upper")
        values = given | {name: getattr(prediction, name) for name in named}
        arrays: Any = {name: value.cpu().numpy() for name, value in values.items()}
        np.savez_compressed(folder / "predictions.npz", **arrays)
    except OSError as error:
        raise RunError(
            f"out: expected a folder that can be written; got {str(folder)!r} "
            f"({error.strerror or error}). Name another."
        ) from error
    if prediction.mean.dim() == 4:
        rows = len(next(iter(columns.values())))
        shape = (rows, -1, *prediction.mean.shape[1:])
        mean, scale = (v.cpu().reshape(shape) for v in (prediction.mean, prediction.scale))
        pictures = torch.stack([mean, scale / scale.max()], 1).flatten(0, 1)
        first = next(iter(columns))
        labels = [
            text
            for value in next(iter(columns.values()))
            for text in (f"{first} {value:g}", "s.d.")
        ]
        figure = plots.images(pictures.clamp(0, 1), row_labels=labels)
        figure.savefig(folder / "predictions.png")
    return prediction, given


def splits_of(
    folder: str | Path, *, data: str | Path | None = None, device: str | None = None
) -> tuple[Run, Entry, Splits]:
    """A run, its entry, and the data it was fitted with (or other data).

    Raises:
        RunError: If the run was not fitted by name, or its data are no longer there.
    """
    run = load_run(folder, device=device)
    recipe = run.config.get("recipe") or {}
    if recipe.get("builder") != "ppvae.zoo:build":
        raise RunError(
            f"{folder}: expected a run of ppvae fit; got one with another recipe. "
            "Evaluate it from Python: ppvae.evaluate, ppvae.to_arviz."
        )
    found = entry(recipe["name"])
    options = parse_options(found.options, recipe["options"])
    source = data if data is not None else run.config.get("source")
    if source is not None and not Path(source).exists():
        raise RunError(
            f"{folder}: expected its data at {str(source)!r}; there is nothing. "
            "Say where they are: --data PATH."
        )
    return run, found, _splits(found, options, source)


def _splits(found: Entry, options: Any, data: str | Path | None) -> Splits:
    if data is None:
        splits = found.default_data()
    else:
        is_npz = Path(data).suffix == ".npz"
        splits = load(data, missing_ok=found.missing_ok) if is_npz else load(data)
    return found.arrange(splits, options)


def _write(found: Entry, run: Run, splits: Splits, folder: Path) -> None:
    held_out = splits.held_out
    run.metrics |= evaluate.summary(run, held_out)
    run.metrics |= found.metrics(run, splits)
    run.save(folder)
    evaluate.to_arviz(
        run,
        held_out,
        num_draws=ARVIZ_DRAWS,
        max_rows=ARVIZ_ROWS,
        unseen=found.unseen(splits),
        path=folder / "arviz.nc",
    )
    figures = [*found.figures(run, splits), *common_figures(run, splits)]
    plots.save(folder / "plots", figures)
    report.write(folder)


def _combinations(run: Run, columns: Mapping[str, Sequence[float]]) -> dict[str, Tensor]:
    spec = run.config["data"]["columns"]
    taken = signature(run.model)
    needed = [name for name in ("object", "view", "y", "c") if name in spec and name in taken]
    if not needed:
        raise ArgumentError(
            f"predict: expected a run whose model takes object, view, y or c; got one that takes "
            f"{list(taken)} alone. Its report shows what it draws and reconstructs."
        )
    if set(columns) != set(needed):
        raise ArgumentError(
            f"predict: expected values of {needed}; got {sorted(columns)}. Name them all."
        )
    if any(len(values) == 0 for values in columns.values()):
        raise ArgumentError("predict: expected at least one value a column; got none. Give some.")
    tensors = []
    for name, values in columns.items():
        whole = spec[name]["classes"] is not None
        tensors.append(torch.tensor(values, dtype=torch.int64 if whole else torch.float32))
    grids = torch.meshgrid(*[torch.arange(len(values)) for values in tensors], indexing="ij")
    return {
        name: values[grid.reshape(-1)]
        for name, values, grid in zip(columns, tensors, grids, strict=True)
    }


def _check_known(run: Run, columns: Mapping[str, Tensor]) -> None:
    """Ask each feature map of a GP prior about the values."""
    prior = getattr(run.model, "prior", None)
    for name, part in (("object", "objects"), ("view", "views")):
        check = getattr(getattr(prior, part, None), "check", None)
        if check is not None and name in columns:
            check(columns[name])
