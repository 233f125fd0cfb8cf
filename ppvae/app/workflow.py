"""The work of the commands, as functions: fit a model by name, evaluate, report, predict.

They add ``arviz.nc``, ``plots/*.png`` and ``report.html`` to the files that
:class:`ppvae.runs.run.Run` writes into a run's folder.
"""

from __future__ import annotations

import logging
import os
import shlex
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ppvae import report
from ppvae.app.exports import entry_of, new_rows, reading_of
from ppvae.app.places import expect_evaluation, free_evaluation
from ppvae.app.predictions import predict_run
from ppvae.app.users import trusting
from ppvae.data import Splits, load
from ppvae.data.scales import ranges_of
from ppvae.errors import ArgumentError, Interrupted, RunError
from ppvae.expected import real_path
from ppvae.fitting import Training, alone, ending_on_signals, fit, is_main
from ppvae.programs import seeded
from ppvae.runs.folder import refuse_unwritable
from ppvae.runs.run import Run, is_run
from ppvae.runs.run import load as load_run
from ppvae.runs.source import followed_reading, followed_source, noted_source
from ppvae.signals import pending_signal
from ppvae.typing import Keywords, Spec
from ppvae.zoo.entry import Entry, entry
from ppvae.zoo.observed import resolved
from ppvae.zoo.options import Options, auto_options, parse_options

__all__ = [
    "checked_data",
    "evaluate_run",
    "evaluation_folder",
    "fit_entry",
    "predict_run",
    "report_run",
    "splits_of",
]

logger = logging.getLogger(__name__)

# The metrics that a fit gives; all others are of the data that were evaluated.
_OF_THE_FIT = """
    train_seconds epochs n_train n_validation n_test seed compiled compile_seconds retries
    best_epoch best_val_elbo
""".split()


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
        Interrupted: After a signal, if ``interruptible``.
        RunError: If the folder cannot be written.
    """
    model_entry = entry(name)
    refuse_unwritable(Path(out), is_run)
    splits, chosen = checked_data(name, data, options=options, reading=reading)
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
        "ranges": {name: list(ends) for name, ends in ranges_of(splits).items()},
        **({"data_note": sentence} if sentence else {}),
    }
    callbacks = [_Noted(note), *settings.pop("callbacks", ())]
    settings |= {"seed": seed, "recipe": recipe, "out": out, "callbacks": callbacks}
    with ending_on_signals() if interruptible else nullcontext():
        run = fit(model, guide, splits, objective, **settings)
        received = pending_signal()
    try:
        if received is not None:  # In the last epoch, which then ended.
            raise Interrupted(received)
        # Where there are several processes, only one writes.
        if is_main():
            with alone():
                report.write_all(run, splits, out)
    except Interrupted as interruption:
        interruption.remedy = (
            f"The run is saved in {out}, without its evaluation. Evaluate it with: "
            f"ppvae evaluate {shlex.quote(str(out))}{trusting(name)}"
        )
        raise
    return run


def checked_data(
    name: str,
    data: str | Path | None,
    *,
    options: Mapping[str, object] | None = None,
    reading: Keywords | None = None,
) -> tuple[Splits, Options]:
    """The data that a model is fitted to, checked to be those that it needs, and its options.

    Arguments:
        name: As for :func:`fit_entry`, as all the others are.
        data: A file or a folder; the model's embedded data by default.
        options: The model's own options by name.
        reading: Options of the reader of ``data``.

    Raises:
        ArgumentError: If there is no such model or option.
        DataError: If the data cannot be used.
    """
    model_entry = entry(name)
    auto = {} if data is None else auto_options(model_entry.options)
    chosen = parse_options(model_entry.options, {**auto, **(options or {})})
    splits = _splits(model_entry, chosen, data, reading)
    model_entry.check(splits)
    return splits, chosen


class _Noted:
    """A callback that records where the data are before the first step of training."""

    def __init__(self, note: Mapping[str, object]) -> None:
        self.note = note

    def on_fit_start(self, training: Training) -> None:
        # A resumed run has the notes of the one that stopped, which says more of its data, as its
        # likelihood was chosen there. Its table of labels may be elsewhere now; and where it goes
        # on, no search has ended it.
        config = training.config
        kept = {name: config[name] for name in ("data_note",) if name in config}
        for name in ("labels_digest", *(() if training.stop else ("pruned",))):
            config.pop(name, None)
        config.update({**self.note, **kept})


def evaluate_run(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    labels: str | Path | None = None,
    out: str | Path | None = None,
    device: str | None = None,
) -> Run:
    """Evaluate a run again, or on new data: metrics, draws for ArviZ, plots and report.

    Every row of new data is scored, whatever its column ``split`` says; the result is a folder of
    its own, in the format of a run's, and the evaluated run's own files are not changed.

    Arguments:
        folder: Folder of the run.
        data: New data; by default, the data that the run was fitted with, or those of an
            evaluation, where ``folder`` is one.
        labels: Table of the classes of new pictures (:func:`ppvae.data.images`).
        out: Folder of an evaluation on new data; ``evaluations/NAME`` in the run's by default,
            or ``NAME-2`` and so on where that is of other data. An earlier evaluation of the same
            run on the same data is replaced.
        device: Where to compute.

    Raises:
        ArgumentError: If ``labels`` or ``out`` is given without data.
        DataError: If new data lack a feature of the run, or have a class that the run lacks.
        RunError: If the run cannot be read, or the folder cannot be written, or holds a trained
            run or an evaluation of another run or of other data.
    """
    run, _, splits = splits_of(folder, data=data, labels=labels, device=device)
    target = evaluation_folder(folder, data, out)
    max_rows: int | None = report.SUMMARY_ROWS
    if data is not None or "evaluation" in run.config:
        assert splits.test is not None
        kept = {name: value for name, value in run.metrics.items() if name in _OF_THE_FIT}
        run.metrics = kept | {"n_test": splits.test.num_rows}
        max_rows = None
    if data is not None:
        assert splits.test is not None
        if real_path(target) == real_path(folder):
            raise RunError(
                f"out: expected another folder than the run's; got {str(out)!r}. "
                "Name another: --out."
            )
        expect_evaluation(target, str(real_path(folder)), str(real_path(data)))
        wanted = Path(os.path.abspath(data)).stem
        if out is None and target.name != wanted:
            logger.warning("evaluations/%s is of other data; this goes to %s", wanted, target)
        fitted = run.config.get("source_digest")
        reading, _ = reading_of(run, data, _recorded(run), labels=labels)
        run.config |= noted_source(data, reading)
        run.config["evaluation"] = {
            "run": str(real_path(folder)),
            "rows": splits.test.num_rows,
            "fitted": fitted is not None and fitted == run.config["source_digest"],
        }
        run.id = uuid.uuid4().hex
    refuse_unwritable(target, is_run)  # Before the work, which would be lost.
    report.write_all(run, splits, target, max_rows=max_rows)
    return run


def evaluation_folder(
    folder: str | Path, data: str | Path | None, out: str | Path | None = None
) -> Path:
    """The folder of an evaluation: the run's, or ``evaluations/NAME`` in it for new data.

    Where that holds an evaluation of other data of this name, ``NAME-2`` and so on.

    Raises:
        ArgumentError: If ``out`` is given without data.
        RunError: If a folder on the way to it is a link.
    """
    if data is None:
        if out is not None:
            raise ArgumentError(
                f"out: expected new data with it; got {str(out)!r} alone. Name them: --data PATH."
            )
        return Path(folder)
    if out is not None:
        return Path(out)
    return free_evaluation(Path(folder), data)


def report_run(folder: str | Path) -> Path:
    """Write a run's ``report.html`` from the files in its folder; nothing is computed again."""
    return report.write(Path(folder))


def splits_of(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    labels: str | Path | None = None,
    device: str | None = None,
) -> tuple[Run, Entry | None, Splits]:
    """A run, its entry if it has one, and its data; or new data, all of them as test data.

    The data of an evaluation are new data.

    Raises:
        ArgumentError: If a table of labels is given without new data.
        RunError: If the run has no recipe, or its data are no longer there.
    """
    if labels is not None and data is None:
        raise ArgumentError(
            f"labels: expected new pictures with it; got {str(labels)!r} alone. Name them: --data "
            "PATH."
        )
    run = load_run(folder, device=device)
    model_entry = entry_of(run)
    source = data if data is not None else followed_source(Path(folder), run.config)
    if data is None and "evaluation" in run.config:
        data, labels = source, followed_reading(Path(folder), run.config).get("labels")
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
        splits = _splits(model_entry, options, source, reading)
        recorded = _recorded(run)
        if source is not None and _other_column(recorded, splits, own=True) is not None:
            # As a version before this one read the file.
            splits = _splits(model_entry, options, source, {**reading, "like": recorded})
            note = "columns: read by the names of the run, as this version would read others"
            logger.warning("%s", note)
            splits = splits._replace(train=splits.train.noted(note))
        _refuse_other_columns(folder, run, splits, own=source is not None)
        return run, model_entry, splits
    rows = new_rows(run, data, labels=labels)
    rows = rows.noted(f"all {rows.num_rows} rows scored")
    splits = Splits(rows, None, rows)
    arranged = splits if model_entry is None else model_entry.arrange(splits, options)
    return run, model_entry, Splits(arranged.train, None, arranged.held_out)


def _refuse_other_columns(folder: str | Path, run: Run, splits: Splits, *, own: bool) -> None:
    """Raise an error if data have other columns, or rows, than when the run was fitted to them.

    A run's ``own`` files may be read otherwise; the data of an entry change by shape alone.
    """
    other = _other_column(_recorded(run), splits, own=own)
    if other is not None:
        name, fact, then, now = other
        cause, remedy = "the entry's own data of this version", "Name the run's data"
        if own:
            cause = "as this version of ppvae reads these data"
            remedy = "Fit again, or name the file, of which all rows are then scored"
        raise RunError(
            f"{folder}: expected {name!r} with the {fact} that the run was fitted to, "
            f"{str(then)[:60]}; got {str(now)[:60]}, {cause}. {remedy}: --data PATH."
        )
    rows = (run.config.get("data") or {}).get("rows") or {}
    for part, data in splits._asdict().items() if own else ():
        count = None if data is None else data.num_rows
        if rows.get(part, count) != count:
            # Rows for testing would be among those of the training.
            raise RunError(
                f"{folder}: expected {rows[part] or 0} rows of {part} data, as the run was fitted "
                f"with; got {count or 0}, as this version of ppvae reads these data. Fit again, "
                "or name rows that the run has not seen: --data PATH."
            )


def _other_column(
    recorded: Spec, splits: Splits, *, own: bool
) -> tuple[str, str, object, object] | None:
    """The first column that is not as a run was fitted to it: its name, and in what it differs."""
    for name in sorted(recorded.keys() & splits.train.spec.keys()):
        for fact in ("shape", "dtype", "names") if own else ("shape",):
            then, now = recorded[name].get(fact), splits.train.spec[name].get(fact)
            if then != now:
                return name, fact, then, now
    return None


def _recorded(run: Run) -> Spec:
    """The columns that a run was fitted with; empty where it does not say."""
    columns: Spec = (run.config.get("data") or {}).get("columns") or {}
    return columns


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
