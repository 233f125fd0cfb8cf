"""Predictions of a fitted run at chosen columns, written to a folder: ``ppvae predict``."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ppvae.app.exports import as_named, rows_like
from ppvae.app.memory import expect_memory
from ppvae.app.outputs import array_files
from ppvae.app.pictured import first_rows, grid_of
from ppvae.app.places import read_by, refuse_taken
from ppvae.data.columns import found_as, kind_of
from ppvae.data.dialects import suiting_dialect
from ppvae.data.paths import existing
from ppvae.data.record import BLANK, Record
from ppvae.data.scales import warn_far
from ppvae.data.tables import TABLES, column_of, read_table
from ppvae.errors import ArgumentError, DataError, RunError
from ppvae.evaluate.predict import Prediction, predict
from ppvae.expected import real_path
from ppvae.gp.additive import AdditivePrior, given_visits, shares
from ppvae.programs import placement, signature
from ppvae.runs.config import columns_of
from ppvae.runs.files import written
from ppvae.runs.run import Run
from ppvae.runs.run import load as load_run
from ppvae.typing import ColumnSpec, Keywords, Spec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["predict_run"]

logger = logging.getLogger(__name__)


def predict_run(
    folder: str | Path,
    columns: Mapping[str, Sequence[float | str]],
    out: str | Path,
    *,
    at: str | Path | None = None,
    visits: str | Path | None = None,
    keep_draws: bool = False,
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
            standard deviations, one row per object or per value of the first column, one picture
            per combination of the others).
        at: A .csv or .parquet table with the model's columns, one row per prediction, in place of
            ``columns``; it is read as the training data were. An empty cell is a missing value,
            which additive kernels alone take.
        visits: A .npz file or a table of further visits, for a run with an additive kernel over
            subjects: x and the model's columns. Predictions are made given them, without new
            training, for subjects that the run was not fitted to and for those it was.
        keep_draws: Whether ``predictions.npz`` has the draws, with shape (S, N, ...).
        num_draws: Predictive draws per datum.
        interval: Probability mass of the central interval from ``lower`` to ``upper``.
        device: Where to compute.

    Returns:
        The prediction, and the columns with one row per datum.

    Raises:
        ArgumentError: If a column is missing or unknown, the model cannot predict at a value,
            such as an object that it was not fitted to, or the draws do not fit into memory.
        DataError: If a table or the visits cannot be used.
    """
    run = load_run(folder, device=device)
    refuse_taken(*array_files(out, "predictions"), reads=(at, visits, *read_by(run)))
    spec: Spec = columns_of(run.config)
    prior = next((m for m in run.model.modules() if isinstance(m, AdditivePrior)), None)
    model = run.model
    if visits is not None:
        if prior is None or prior.subject is None:
            raise ArgumentError(
                "visits: expected a run with an additive kernel over subjects; got another. Leave "
                "out --visits; ppvae.gp.infer_objects predicts new objects of a run of gpvae."
            )
        model, spec = _with_visits(run, prior, Path(visits), spec)
    subject = None if prior is None else prior.subject
    if at is None:
        given = _combinations(run, columns)
    else:
        given = _table_rows(run, Path(at), columns, spec, subject)
        if prior is None:
            _refuse_missing(Path(at).name, given)
    shape = (spec.get("x") or {}).get("shape") or ()
    rows = len(next(iter(given.values()))) if keep_draws else 1
    expect_memory("draws", num_draws, 4 * rows * math.prod(shape))
    warn_far(given, run.config.get("ranges") or {})
    like = placement(model)
    moved = {
        name: value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)
        for name, value in given.items()
    }
    prediction = predict(
        model, moved, num_draws=num_draws, interval=interval, keep_draws=keep_draws
    )
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        named = ("mean", "scale", "latent_scale", "lower", "upper", *["draws"] * keep_draws)
        values = {name: getattr(prediction, name) for name in named}
        arrays = as_named(spec, given) | {name: v.cpu().numpy() for name, v in values.items()}
        if prior is not None:
            table = shares(prior)
            arrays["terms"] = np.array([*table])
            arrays["shares"] = torch.stack([*table.values()]).cpu().numpy()
        place = real_path(folder)
        with written(place / "predictions.npz") as new:
            np.savez_compressed(new, **arrays)
    except OSError as error:
        raise RunError(
            f"out: expected a folder that can be written; got {str(folder)!r} "
            f"({error.strerror or error}). Name another."
        ) from error
    if prediction.mean.dim() == 4:
        figure = (
            grid_of(prediction, columns) if at is None else first_rows(prediction, arrays, given)
        )
        with written(place / "predictions.png") as new:
            figure.savefig(new)
    return prediction, given


def _conditions(run: Run, spec: Spec) -> list[str]:
    """Columns of the data that the model takes, x aside."""
    taken = signature(run.model)
    needed = [name for name in taken if name in spec and name != "x"]
    if not needed:
        raise ArgumentError(
            f"predict: expected a run whose model takes object, view, y or c; got one that takes "
            f"{list(taken)} alone. Use ppvae sample or ppvae reconstruct."
        )
    return needed


def _combinations(run: Run, columns: Mapping[str, Sequence[float | str]]) -> dict[str, Tensor]:
    spec = columns_of(run.config)
    needed = _conditions(run, spec)
    if set(columns) != set(needed):
        raise ArgumentError(
            f"predict: expected values of {needed}; got {sorted(columns)}. Name them all, or "
            "give a table with these columns: --at."
        )
    if any(len(values) == 0 for values in columns.values()):
        raise ArgumentError(
            "predict: expected at least one value for each column; got none. Add one."
        )
    tensors = []
    for name, values in columns.items():
        if spec[name].get("shape") not in ([], [1], None):
            raise ArgumentError(
                f"{name}: expected {spec[name]['shape']} numbers per datum, as in the data; got "
                "one each. Give a table with all of its columns: --at."
            )
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


def _sources(
    name: str, columns: Sequence[str], spec: ColumnSpec, roles: Mapping[str, str | Sequence[str]]
) -> list[str]:
    """The columns of a table that make up a column of the data; none if some are absent.

    They are those that the run was fitted to (``--columns``), else the column of this name.
    """
    given = roles.get(name, ())
    fitted = [given] if isinstance(given, str) else list(given)
    if fitted and all(part in columns for part in fitted):
        return fitted
    column = found_as(name, columns)
    parts = list(spec.get("names") or ()) if spec["classes"] is None else []
    if column is not None:
        return [column]
    return parts if parts and all(part in columns for part in parts) else []


def _table_rows(
    run: Run,
    path: Path,
    columns: Mapping[str, Sequence[float | str]],
    spec: Spec,
    subject: str | None,
) -> dict[str, Tensor]:
    """The columns of a table that the model takes, one row per prediction."""
    needed = _conditions(run, spec)
    reading = run.config.get("reading") or {}
    frame = _frame(path, reading, {name: spec[name] for name in needed})
    roles = reading.get("columns") or {}
    sources = {name: _sources(name, frame.columns, spec[name], roles) for name in needed}
    absent = [name for name, parts in sources.items() if not parts]
    if absent or columns:
        raise ArgumentError(
            f"predict: expected a table with columns {needed} and no other values; got "
            f"{list(frame.columns)} and {sorted(columns)}. Add {absent} to {path.name}, and "
            "leave out the other flags."
        )
    names = spec[subject].get("names") if subject in needed else None
    new = _strangers(frame[sources[str(subject)][0]].to_numpy(), names) if names else []
    if names and new:
        raise DataError(
            f"column {subject!r}: expected subjects that the run was fitted to, "
            f"{', '.join(names[:4])}, ... ({len(names)} in all), or whose visits are given; got "
            f"{', '.join(new[:4])}. Give their visits (--visits FILE), or write -1 for a subject "
            "without visits."
        )
    rows = {}
    for name in needed:
        parts = [
            column_of(path.name, name, frame[part], Record(), spec)[0] for part in sources[name]
        ]
        values = np.stack(parts, 1) if spec[name].get("shape") and len(parts) > 1 else parts[0]
        # Whole numbers stay exact, as identifiers above 2^24 need it.
        whole = values.dtype.kind in "iub" and not kind_of(name).measured
        coded = whole or spec[name]["classes"] is not None
        rows[name] = torch.from_numpy(values.astype(np.int64 if coded else np.float32))
    return rows


def _refuse_missing(source: str, columns: Mapping[str, Tensor]) -> None:
    for name, values in columns.items():
        rows = values.isnan().reshape(len(values), -1).any(1).nonzero()
        if len(rows):
            raise DataError(
                f"{source}: expected a value of {name!r} in every row; got none in row "
                f"{int(rows[0])}. Complete the row, or leave it out."
            )


def _frame(path: Path, reading: Keywords, spec: Spec) -> pd.DataFrame:
    """A table, read as that of the training data was: the same words for missing values, say."""
    names = ("sep", "decimal", "thousands", "na")
    options, note = suiting_dialect(path, reading, spec)
    if note:
        logger.warning(note)
    return read_table(path, **{name: options[name] for name in names if options.get(name)})[0]


def _with_visits(run: Run, prior: AdditivePrior, path: Path, spec: Spec) -> tuple[nn.Module, Spec]:
    """The model given further visits, and the columns' spec with the names of new subjects."""
    subject = str(prior.subject)
    facts = spec[subject].copy()
    # Further subjects have further names, or numbers above those of the training data.
    facts["classes"] = None
    names = facts.get("names")
    if names is not None:
        reading = run.config.get("reading") or {}
        values = _values(path, subject, reading, {**spec, subject: facts})
        facts["names"] = [*names, *_strangers(values, names)]
    spec = {**spec, subject: facts}
    return given_visits(run.model, run.guide, rows_like(run, path, spec)), spec


def _strangers(values: np.ndarray, names: Sequence[str]) -> list[str]:
    """Subjects that are not among ``names``, in order of appearance."""
    texts = {str(value).strip() for value in values.tolist()}
    return sorted(t for t in texts - {*names, "-1"} if t.lower() not in BLANK)


def _values(path: Path, column: str, reading: Keywords, spec: Spec) -> np.ndarray:
    """A column of a .npz file or a table."""
    values: np.ndarray | None
    if path.name.lower().endswith(TABLES):
        frame = _frame(existing(path), reading, spec)
        values = frame[column].to_numpy() if column in frame.columns else None
    elif path.suffix.lower() == ".npz":
        with np.load(existing(path), allow_pickle=False) as arrays:
            values = arrays[column] if column in arrays.files else None
    else:
        raise DataError(
            f"{path.name}: expected visits in a .npz file or a table; got {path.suffix!r}. Save "
            "x and the kernel's columns with numpy.savez."
        )
    if values is None:
        raise DataError(
            f"{path.name}: expected a column {column!r} with the subject of each visit; got none. "
            "Add it."
        )
    return values
