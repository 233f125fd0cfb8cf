"""Many runs of a model, by grid or search over options and settings, in one or many processes.

Optuna keeps the study in a journal, ``study.log`` in the sweep's folder; any number of processes,
on any machines that share the folder, work on it together, and a sweep that stopped goes on.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ppvae.app.axes import Axis, axes_of, split_values
from ppvae.app.workflow import fit_entry
from ppvae.errors import ArgumentError, PPVAEError, RunError
from ppvae.expected import expect_package
from ppvae.fitting import Checkpoint, Training, alone
from ppvae.fitting.callbacks import load_checkpoint
from ppvae.runs.config import is_run, read_config
from ppvae.runs.files import read_json
from ppvae.runs.folder import CHECKPOINT, write_json
from ppvae.typing import JsonObject, Keywords
from ppvae.zoo.entry import entry

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as OptunaTrial
    from optuna.trial import FrozenTrial

__all__ = ["Sweep", "Trial", "run_sweep"]

logger = logging.getLogger(__name__)

STUDY, JOURNAL, DEFINITION = "ppvae", "study.log", "sweep.json"
# Attribute of a trial of the grid, which distinguishes it from one that the sampler proposed.
ASKED = {"asked": True}
# Seconds between two checkpoints of a trial.
EACH_MINUTE = 60.0


@dataclass(frozen=True)
class Sweep:
    """The definition of a sweep.

    Attributes:
        model: Name of the entry.
        out: Folder of the sweep.
        sets: Axes, as ``NAME=VALUES`` (:func:`ppvae.app.axes.axes_of`).
        seeds: Seeds of every configuration.
        trials: Number of configurations for a search to try; None for the grid of all values.
        prune: Whether a trial ends early if its validation ELBO is below the median of the
            others at the same epoch; by default in a search only.
        data: File or folder of the data; the model's embedded data by default.
        reading: Options of the reader of the data.
        settings: Further arguments of :func:`~ppvae.app.workflow.fit_entry`.
    """

    model: str
    out: Path
    sets: Sequence[str]
    seeds: Sequence[int] = (0,)
    trials: int | None = None
    prune: bool | None = None
    data: Path | None = None
    reading: Keywords | None = None
    settings: Keywords = field(default_factory=dict)

    def definition(self) -> JsonObject:
        """The settings that must not change when a sweep is continued; ``trials`` may grow."""
        data = None if self.data is None else str(self.data.resolve())
        search = self.trials is not None
        sets = {"sets": sorted(self.sets), "seeds": list(self.seeds), "search": search}
        return {"kind": "ppvae sweep", "model": self.model, "data": data, **sets}


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        values: Value of each axis, as written on the command line.
        seed: Seed of the run.
        status: ``completed``, ``stopped`` (pruned, or out of patience), ``failed``, ``running``.
        elbo: Validation ELBO in nats per datum, the best one if the best weights are kept; the
            training ELBO where there are no validation data. None if there is no run.
        folder: Folder of the run.
        error: Message of the error that ended it, if it failed.
    """

    values: Mapping[str, str]
    seed: int
    status: str
    elbo: float | None
    folder: Path
    error: str = ""


def run_sweep(sweep: Sweep) -> list[Trial]:
    """Run what is left of a sweep, and return all its trials so far.

    Raises:
        ArgumentError: If an axis is wrong, or a grid has a range.
        MissingPackageError: If Optuna is not installed.
        RunError: If the folder holds another sweep, or cannot be written.
    """
    model = entry(sweep.model)
    axes = axes_of(model, sweep.sets)
    if sweep.trials is not None and sweep.trials < 1:
        raise ArgumentError(f"--trials: expected at least 1; got {sweep.trials}. Use 20.")
    ranged = [axis.name for axis in axes if axis.ranged]
    if sweep.trials is None and ranged:
        raise ArgumentError(
            f"--set: expected values with commas in a grid; got a range of {ranged}. Say how many "
            "configurations to try: --trials 20."
        )
    study = _study(sweep)
    _take_back(study)
    _claim(sweep, study, axes)
    with alone():
        while (trial := _next(sweep, study)) is not None:
            _run(sweep, study, trial, axes)
    return _trials(sweep, study)


def _optuna() -> ModuleType:
    optuna: ModuleType = expect_package("ppvae sweep", "optuna", "sweep")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(sweep: Sweep) -> Study:
    """The study in the sweep's folder, created if it does not exist."""
    optuna = _optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    definition, path = sweep.definition(), sweep.out / DEFINITION
    try:
        sweep.out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if any(sweep.out.iterdir()):
                raise RunError(
                    f"--out: expected an empty folder or that of a sweep; {str(sweep.out)!r} "
                    "holds other files. Name another."
                )
            write_json(path, definition)
    except OSError as error:
        raise RunError(
            f"--out: expected a folder that can be written; got {str(sweep.out)!r} "
            f"({error.strerror or error}). Name another."
        ) from error
    before = read_json(path)
    for name, value in definition.items():
        if before.get(name) != value:
            raise RunError(
                f"--out: expected the {name} of the sweep in {str(sweep.out)!r}, "
                f"{before.get(name)}; got {value}. Use the same arguments, or another folder."
            )
    search = sweep.trials is not None
    prune = search if sweep.prune is None else sweep.prune
    pruners = optuna.pruners
    storage = JournalStorage(JournalFileBackend(str(sweep.out / JOURNAL)))
    study = optuna.create_study(
        storage=storage,
        study_name=STUDY,
        direction="maximize",
        load_if_exists=True,
        pruner=pruners.MedianPruner() if prune else pruners.NopPruner(),
    )
    # Each process that joins samples with random numbers of its own.
    seed = len(study.get_trials(deepcopy=False)) if search else 0
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return study


def _claim(sweep: Sweep, study: Study, axes: Sequence[Axis]) -> None:
    """Enqueue the grid's configurations in the study, each once."""
    if sweep.trials is not None:
        return
    names = [axis.name for axis in axes]
    for seed, *texts in itertools.product(sweep.seeds, *(axis.texts for axis in axes)):
        params = {**dict(zip(names, texts, strict=True)), "seed": str(seed)}
        study.enqueue_trial(params, user_attrs=ASKED, skip_if_exists=True)


def _take_back(study: Study) -> None:
    """Return to the study the trials of processes of this machine that no longer run."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        host, _, number = str(trial.user_attrs.get("process", "")).rpartition(":")
        if host == socket.gethostname() and not _is_alive(int(number)):
            study.tell(trial.number, state=TrialState.FAIL)
            study.set_user_attr(f"lost {trial.number}", True)
            study.enqueue_trial(trial.params, user_attrs=ASKED)
        elif host:
            logger.warning("Trial %d is run by process %s of %s.", trial.number, number, host)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _next(sweep: Sweep, study: Study) -> OptunaTrial | None:
    """The next trial to run; None if all trials have been started."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    waiting = [t for t in trials if t.state == TrialState.WAITING]
    lost = [t for t in trials if _is_lost(study, t.number)]
    if not waiting and (sweep.trials is None or len(trials) - len(lost) >= sweep.trials):
        return None
    trial = study.ask()
    if sweep.trials is None and not trial.user_attrs.get("asked"):
        # Meanwhile another process has taken the last one.
        study.set_user_attr(f"lost {trial.number}", True)
        study.tell(trial, state=TrialState.FAIL)
        return None
    trial.set_user_attr("process", f"{socket.gethostname()}:{os.getpid()}")
    return trial


def _is_lost(study: Study, number: int) -> bool:
    return f"lost {number}" in study.user_attrs


def _run(sweep: Sweep, study: Study, trial: OptunaTrial, axes: Sequence[Axis]) -> None:
    """All runs of a trial: one of a grid, one per seed of a search."""
    from optuna.trial import TrialState

    texts = {axis.name: axis.suggest(trial) for axis in axes}
    if sweep.trials is None:
        texts_seeds = [int(trial.suggest_categorical("seed", [str(s) for s in sweep.seeds]))]
    else:
        texts_seeds = list(sweep.seeds)
    elbos: list[float] = []
    watch = _Watch(trial)
    for seed in texts_seeds:
        try:
            elbos.append(_fit(sweep, texts, seed, watch))
        except PPVAEError as error:
            # A value that does not suit the model, or a fit that diverged, must not end the sweep.
            trial.set_user_attr("error", str(error))
            study.tell(trial, state=TrialState.FAIL)
            return
        if watch.pruned:
            study.tell(trial, state=TrialState.PRUNED)
            return
        watch = _Watch(None)
    study.tell(trial, sum(elbos) / len(elbos))


def _fit(sweep: Sweep, texts: Mapping[str, str], seed: int, watch: _Watch) -> float:
    """Run or resume one fit in its folder, and return its ELBO."""
    folder = folder_of(sweep.out, texts, seed)
    if is_run(folder) and read_config(folder)["status"] in ("completed", "stopped"):
        return _elbo_of(folder)
    model = entry(sweep.model)
    options, settings = split_values(model, texts)
    checkpoint = folder / "checkpoint"
    resume = None
    if (checkpoint / CHECKPOINT).exists():
        try:
            load_checkpoint(checkpoint)
            resume = checkpoint
        except RunError as error:
            logger.warning("%s. The run starts from the beginning.", error)
    logger.info("%s", folder.name)
    fit_entry(
        sweep.model,
        folder,
        data=sweep.data,
        seed=seed,
        options=options,
        reading=sweep.reading,
        interruptible=True,
        callbacks=[Checkpoint(checkpoint, every=None, seconds=EACH_MINUTE), watch],
        progress=False,
        resume=resume,
        **{**sweep.settings, **settings},
    )
    return _elbo_of(folder)


class _Watch:
    """A callback that reports each epoch's validation ELBO to a trial, and ends a poor trial."""

    def __init__(self, trial: OptunaTrial | None) -> None:
        self.trial = trial
        self.pruned = False

    def on_epoch_end(self, training: Training) -> None:
        row = training.history[-1]
        if self.trial is None or "val_elbo" not in row:
            return
        self.trial.report(row["val_elbo"], training.epoch)
        if training.epoch < training.epochs and self.trial.should_prune():
            self.pruned = True
            training.stop = True
            training.config["pruned"] = training.epoch


def folder_of(out: Path, texts: Mapping[str, str], seed: int) -> Path:
    """The folder of a run, named by its values."""
    parts = [f"{name}={text}" for name, text in sorted(texts.items())]
    return out / "runs" / ",".join([*parts, f"seed={seed}"])


def _elbo_of(folder: Path) -> float:
    from ppvae.runs.config import read_history, read_metrics

    metrics = read_metrics(folder)
    if "best_val_elbo" in metrics:
        return float(metrics["best_val_elbo"])
    rows = list(read_history(folder, read_config(folder)["epochs"]))
    return float(
        next((r["val_elbo"] for r in reversed(rows) if "val_elbo" in r), rows[-1]["elbo"])
    )


def _trials(sweep: Sweep, study: Study) -> list[Trial]:
    """The runs of all trials, each once, the best first."""
    trials: dict[tuple[tuple[str, str], ...], Trial] = {}
    for trial in study.get_trials(deepcopy=False):
        if _is_lost(study, trial.number) or trial.state.name == "WAITING":
            continue
        texts = {name: str(value) for name, value in trial.params.items() if name != "seed"}
        single = trial.params.get("seed")
        for seed in sweep.seeds if single is None else [int(single)]:
            one = _trial(sweep, trial, texts, seed)
            trials[tuple(sorted({**texts, "seed": str(seed)}.items()))] = one
    return sorted(trials.values(), key=lambda t: float("inf") if t.elbo is None else -t.elbo)


def _trial(sweep: Sweep, trial: FrozenTrial, texts: Mapping[str, str], seed: int) -> Trial:
    folder = folder_of(sweep.out, texts, seed)
    error = str(trial.user_attrs.get("error", ""))
    if is_run(folder):
        config = read_config(folder)
        status = "pruned" if "pruned" in config else str(config["status"])
        return Trial(texts, seed, status, _elbo_of(folder), folder, error)
    status = "running" if trial.state.name == "RUNNING" else "failed"
    return Trial(texts, seed, status, None, folder, error)
