"""The work of the commands, as functions: fit a model by name, evaluate, report, predict.

They add ``arviz.nc``, ``plots/*.png`` and ``report.html`` to the files that
:class:`ppvae.runs.run.Run` writes into a run's folder.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppvae import plots, report
from ppvae.app.exports import as_named, entry_of, new_rows
from ppvae.data import Splits, load
from ppvae.data.record import Record
from ppvae.data.tables import column_of, read_table
from ppvae.errors import ArgumentError, RunError
from ppvae.evaluate.predict import Prediction, predict
from ppvae.fitting import Training, alone, ending_on_signals, fit, is_main
from ppvae.programs import placement, seeded, signature
from ppvae.runs.files import written
from ppvae.runs.folder import refuse_unwritable
from ppvae.runs.run import Run, is_run
from ppvae.runs.run import load as load_run
from ppvae.runs.source import followed_reading, followed_source, noted_source
from ppvae.typing import ColumnSpec, Keywords, Spec
from ppvae.zoo.entry import Entry, entry
from ppvae.zoo.observed import resolved
from ppvae.zoo.options import Options, auto_options, parse_options

__all__ = [
    "evaluate_run",
    "evaluation_folder",
    "fit_entry",
    "predict_run",
    "report_run",
    "splits_of",
]

logger = logging.getLogger(__name__)
# Number of rows of a table for which predictions are plotted.
DRAWN = 12


def fit_entry(
    name: str,
    out: str | Path,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    reading: Keywords | None = None,
    interruptible: bool = False,
    **settings: Any,
) -> Run:
    """Fit a model by name and write its run's folder, evaluated and with a report.

    Arguments:
        name: One of :func:`ppvae.zoo.names`, or ``"module:function"`` of an entry of your own.
        out: Folder of the run; a run that it already holds is replaced.
        data: A file or a folder (:func:`ppvae.data.load`); the model's embedded data by default.
        seed: Random seed of the initial weights, the order of the data and the latent noise.
        options: The model's own options by name; the likelihood is chosen from ``data`` unless
            it is given here.
        reading: Options of the reader of ``data``, such as ``size`` of pictures.
        interruptible: Whether SIGTERM and SIGINT end training after the current step and save
            the run (:func:`ppvae.fitting.ending_on_signals`).
        settings: Arguments of :func:`ppvae.fit` other than the model's defaults.

    Raises:
        ArgumentError: If there is no such model or option.
        DataError: If the data cannot be used.
        ContractError: If the data lack a column that the model needs.
        DivergenceError: If training diverges; the run up to there is in the folder.
        RunError: If the folder cannot be written.
    """
    model_entry = entry(name)
    auto = {} if data is None else auto_options(model_entry.options)
    chosen = parse_options(model_entry.options, {**auto, **(options or {})})
    refuse_unwritable(Path(out), is_run)
    splits = _splits(model_entry, chosen, data, reading)
    model_entry.check(splits)
    spec, chosen, sentence = resolved(splits, chosen)
    if sentence:
        logger.warning(sentence)
    recipe = model_entry.recipe(chosen, spec)
    with seeded(seed):
        model, guide, objective = model_entry.build(spec, chosen)
    settings = {**model_entry.fit, **model_entry.tune(model, guide), **settings}
    note = {
        **noted_source(data, reading or {}),
        "summary": model_entry.summary,
        **({"data_note": sentence} if sentence else {}),
    }
    callbacks = [_Noted(note), *settings.pop("callbacks", ())]
    settings |= {"seed": seed, "recipe": recipe, "out": out, "callbacks": callbacks}
    with ending_on_signals() if interruptible else nullcontext():
        run = fit(model, guide, splits, objective, **settings)
    # Where there are several processes, only one writes.
    if is_main():
        with alone():
            report.write_all(run, splits, out)
    return run


class _Noted:
    """A callback that records where the data are before the first step of training."""

    def __init__(self, note: Mapping[str, object]) -> None:
        self.note = note

    def on_fit_start(self, training: Training) -> None:
        training.config.update(self.note)


def evaluate_run(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    device: str | None = None,
) -> Run:
    """Evaluate a run again, or on new data: metrics, draws for ArviZ, plots and report.

    Every row of new data is scored, whatever its column ``split`` says; the result is a folder of
    its own, in the format of a run's, and the evaluated run's own files are not changed.

    Arguments:
        folder: Folder of the run.
        data: New data; by default, the data that the run was fitted with.
        out: Folder of an evaluation on new data; ``evaluations/NAME`` in the run's by default.
        device: Where to compute.

    Raises:
        DataError: If new data lack a feature of the run, or have a class that the run lacks.
        RunError: If the run cannot be read, or the folder cannot be written.
    """
    run, _, splits = splits_of(folder, data=data, device=device)
    target = evaluation_folder(folder, data, out)
    max_rows: int | None = report.SUMMARY_ROWS
    if data is not None:
        assert splits.test is not None
        if target.resolve() == Path(folder).resolve():
            raise RunError(
                f"out: expected another folder than the run's; got {str(out)!r}. "
                "Name another: --out."
            )
        refuse_unwritable(target, is_run)
        run.metrics |= {"n_test": splits.test.num_rows}
        run.config |= noted_source(data)
        run.config["evaluation"] = {
            "run": str(Path(folder).resolve()),
            "rows": splits.test.num_rows,
        }
        run.id = uuid.uuid4().hex
        max_rows = None
    report.write_all(run, splits, target, max_rows=max_rows)
    return run


def evaluation_folder(
    folder: str | Path, data: str | Path | None, out: str | Path | None = None
) -> Path:
    """The folder of an evaluation: the run's, or ``evaluations/NAME`` in it for new data."""
    if data is None:
        if out is not None:
            raise ArgumentError(
                f"out: expected new data with it; got {str(out)!r} alone. Name them: --data PATH."
            )
        return Path(folder)
    return Path(out) if out is not None else Path(folder) / "evaluations" / Path(data).stem


def report_run(folder: str | Path) -> Path:
    """Write a run's ``report.html`` from the files in its folder; nothing is computed again."""
    return report.write(Path(folder))


def predict_run(
    folder: str | Path,
    columns: Mapping[str, Sequence[float | str]],
    out: str | Path,
    *,
    at: str | Path | None = None,
    num_draws: int = 200,
    interval: float = 0.9,
    device: str | None = None,
) -> tuple[Prediction, dict[str, Tensor]]:
    """Predict x at all combinations of columns, as ``predictions.npz`` and pictures.

    Arguments:
        folder: Folder of the run.
        columns: Values of each column, such as ``object`` and ``view``; every combination is
            predicted.
        out: Folder for ``predictions.npz`` and, for images, ``predictions.png`` (means above
            standard deviations, one row per object or per value of the first column).
        at: A .csv or .parquet table with the model's columns, one row per prediction, in place of
            ``columns``; an empty cell is a missing value.
        num_draws: Predictive draws per datum.
        interval: Probability mass of the central interval from ``lower`` to ``upper``.
        device: Where to compute.

    Returns:
        The prediction, and the columns with one row per datum.

    Raises:
        ArgumentError: If a column is missing or unknown, or the model cannot predict at a value,
            such as an object that it was not fitted to.
    """
    run = load_run(folder, device=device)
    given = _combinations(run, columns) if at is None else _table_rows(run, at, columns)
    like = placement(run.model)
    moved = {
        name: value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)
        for name, value in given.items()
    }
    prediction = predict(run.model, moved, num_draws=num_draws, interval=interval)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        named = ("mean", "scale", "latent_scale", "lower", "upper")
        values = {name: getattr(prediction, name) for name in named}
        arrays = as_named(run, given) | {name: v.cpu().numpy() for name, v in values.items()}
        with written(folder / "predictions.npz") as new:
            np.savez_compressed(new, **arrays)
    except OSError as error:
        raise RunError(
            f"out: expected a folder that can be written; got {str(folder)!r} "
            f"({error.strerror or error}). Name another."
        ) from error
    if prediction.mean.dim() == 4:
        # For a table, the first rows are plotted, each with a picture of its own.
        first, shown_of = next(iter((columns if at is None else given).items()))
        shown: list[object] = (
            [*shown_of] if at is None else torch.as_tensor(shown_of)[:DRAWN].tolist()
        )
        count = len(prediction.mean) if at is None else len(shown)
        shape = (len(shown), -1, *prediction.mean.shape[1:])
        both = prediction.mean[:count], prediction.scale[:count]
        mean, scale = (v.cpu().reshape(shape) for v in both)
        pictures = torch.stack([mean, scale / scale.max()], 1).flatten(0, 1)
        labels = [text for value in shown for text in (f"{first} {value}", "s.d.")]
        figure = plots.images(pictures.clamp(0, 1), row_labels=labels)
        with written(folder / "predictions.png") as new:
            figure.savefig(new)
    return prediction, given


def splits_of(
    folder: str | Path, *, data: str | Path | None = None, device: str | None = None
) -> tuple[Run, Entry | None, Splits]:
    """A run, its entry if it has one, and its data; or new data, all of them as test data.

    Raises:
        RunError: If the run has no recipe, or its data are no longer there.
    """
    run = load_run(folder, device=device)
    model_entry = entry_of(run)
    source = data if data is not None else followed_source(Path(folder), run.config)
    if source is None and (model_entry is None or model_entry.data is None):
        raise RunError(
            f"{folder}: expected data; the run does not record where they are. "
            "Name them: --data PATH."
        )
    options = None
    if model_entry is not None:
        options = parse_options(model_entry.options, run.config["recipe"]["options"])
    if data is None:
        reading = followed_reading(Path(folder), run.config)
        return run, model_entry, _splits(model_entry, options, source, reading)
    rows = new_rows(run, data)
    rows = rows.noted(f"all {rows.num_rows} rows scored")
    splits = Splits(rows, None, rows)
    arranged = splits if model_entry is None else model_entry.arrange(splits, options)
    return run, model_entry, Splits(arranged.train, None, arranged.held_out)


def _splits(
    found: Entry | None,
    options: Options | None,
    data: str | Path | None,
    reading: Keywords | None = None,
) -> Splits:
    if found is None or options is None:
        assert data is not None
        return load(data, **(reading or {}))
    if data is None:
        splits = found.default_data()
    else:
        splits = load(data, **found.reading(data, options, reading))
    return found.arrange(splits, options)


def _conditions(run: Run, spec: Spec) -> list[str]:
    """Columns of the data that the model takes, x aside."""
    taken = signature(run.model)
    needed = [name for name in taken if name in spec and name != "x"]
    if not needed:
        raise ArgumentError(
            f"predict: expected a run whose model takes object, view, y or c; got one that takes "
            f"{list(taken)} alone. Its report shows what it draws and reconstructs."
        )
    return needed


def _combinations(run: Run, columns: Mapping[str, Sequence[float | str]]) -> dict[str, Tensor]:
    spec = run.config["data"]["columns"]
    needed = _conditions(run, spec)
    if set(columns) != set(needed):
        raise ArgumentError(
            f"predict: expected values of {needed}; got {sorted(columns)}. Name them all, or "
            "give a table with these columns: --at."
        )
    if any(len(values) == 0 for values in columns.values()):
        raise ArgumentError("predict: expected at least one value a column; got none. Give some.")
    tensors = []
    for name, values in columns.items():
        if spec[name]["classes"] is not None:
            tensors.append(_numbers_of(name, values, spec[name]))
        else:
            tensors.append(torch.tensor(values, dtype=torch.float32))
    grids = torch.meshgrid(*[torch.arange(len(values)) for values in tensors], indexing="ij")
    return {
        name: values[grid.reshape(-1)]
        for name, values, grid in zip(columns, tensors, grids, strict=True)
    }


def _numbers_of(name: str, values: Sequence[object], spec: ColumnSpec) -> Tensor:
    """Numbers of classes or objects, given by name, or by number where they have no names."""
    names = spec.get("names")
    numbers = []
    for value in values:
        text = str(value).strip()
        if names is not None and text in names:
            numbers.append(names.index(text))
        elif names is None and re.fullmatch(r"-?\d+(\.0)?", text):
            numbers.append(int(float(text)))
        else:
            known = f"one of {', '.join(names[:12])}" if names else "a whole number"
            raise ArgumentError(f"{name}: expected {known}; got {text!r}. Name it as in the data.")
    return torch.tensor(numbers, dtype=torch.int64)


def _table_rows(
    run: Run, path: str | Path, columns: Mapping[str, Sequence[float | str]]
) -> dict[str, Tensor]:
    """The columns of a table that the model takes, one row per prediction."""
    spec = run.config["data"]["columns"]
    needed = _conditions(run, spec)
    frame, _ = read_table(Path(path))
    absent = [name for name in needed if name not in frame.columns]
    if absent or columns:
        raise ArgumentError(
            f"predict: expected a table with columns {needed} and no other values; got "
            f"{list(frame.columns)} and {sorted(columns)}. Add {absent} to {Path(path).name}, and "
            "leave out the other flags."
        )
    rows = {}
    for name in needed:
        values, _ = column_of(Path(path).name, name, frame[name], Record(), spec)
        named = spec[name].get("names") is not None and values.dtype.kind == "i"
        coded = named or spec[name]["classes"] is not None
        rows[name] = torch.from_numpy(values.astype(np.int64 if coded else np.float32))
    return rows
