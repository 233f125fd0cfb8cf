"""Optuna as the engine of a sweep.

Optuna keeps the study in a journal, ``study.log`` in the sweep's folder; any number of processes,
on any machines that share the folder, work on it together, and a sweep that stopped goes on.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from ppvae.app.axes import Axis
from ppvae.app.sweep import Sweep, Trial, fit_trial, ranked, refuse_other_data, trial_of
from ppvae.errors import PPVAEError, RunError
from ppvae.expected import expect_package
from ppvae.fitting import Training
from ppvae.runs.config import read_config, read_history
from ppvae.runs.files import inside

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as OptunaTrial
    from optuna.trial import FrozenTrial

__all__ = ["run_optuna"]

logger = logging.getLogger(__name__)

STUDY, JOURNAL = "ppvae", "study.log"
# Attribute of a trial of the grid, which distinguishes it from one that the sampler proposed.
ASKED = {"asked": True}
# Attributes of the study that name its processes, each HOST:NUMBER.
JOINED = "joined "


def run_optuna(sweep: Sweep, axes: Sequence[Axis]) -> list[Trial]:
    """Run what is left of a sweep in this process, and return all its trials so far.

    Arguments:
        sweep: The sweep; its folder exists.
        axes: Its axes.

    Raises:
        MissingPackageError: If Optuna is not installed.
    """
    try:
        study = _study(sweep)
    except (ValueError, TypeError, LookupError, AssertionError, RecursionError) as error:
        if isinstance(error, PPVAEError):
            raise
        raise RunError(
            f"--out: expected Optuna's journal in {JOURNAL}; got a damaged one ({error}). Move it "
            "away, and give the same command again: runs that ended are not repeated."
        ) from error
    _join(study)
    _take_back(study)
    _claim(sweep, study, axes)
    while True:
        refuse_other_data(sweep)
        trial = _next(sweep, study)
        if trial is None:
            return _trials(sweep, study)
        _run(sweep, study, trial, axes)


def _optuna() -> ModuleType:
    optuna: ModuleType = expect_package("ppvae sweep", "optuna", "sweep")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(sweep: Sweep) -> Study:
    """The study in the sweep's folder, created if it does not exist."""
    optuna = _optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    search = sweep.trials is not None
    prune = search if sweep.prune is None else sweep.prune
    pruners = optuna.pruners
    storage = JournalStorage(JournalFileBackend(str(inside(sweep.out, JOURNAL))))
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
    there = [
        _params(trial)
        for trial in study.get_trials(deepcopy=False)
        if not _is_lost(study, trial.number)
    ]
    for seed, *texts in itertools.product(sweep.seeds, *(axis.texts for axis in axes)):
        params = {**dict(zip(names, texts, strict=True)), "seed": str(seed)}
        if params not in there:
            study.enqueue_trial(params, user_attrs=ASKED)


def _params(trial: FrozenTrial) -> dict[str, object]:
    """The parameters of a trial, with those that it was enqueued with and has not read yet."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _join(study: Study) -> None:
    """Name this process in the study, before it takes a trial."""
    study.set_user_attr(f"{JOINED}{_process()}", True)


def _take_back(study: Study) -> None:
    """Return to the study the trials of processes of this machine that no longer run."""
    from optuna.trial import TrialState

    joined = [n.removeprefix(JOINED) for n in study.user_attrs if n.startswith(JOINED)]
    others = [process for process in joined if process != _process()]
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        process = str(trial.user_attrs.get("process", ""))
        # One that was killed before it wrote its name is among those that have joined.
        at_work = [one for one in ([process] if process else others) if not _has_ended(one)]
        if not at_work:
            # In this order: a process that is killed in between leaves it to be taken back again.
            if _params(trial) not in map(_params, _waiting(study)):
                study.enqueue_trial(_params(trial), user_attrs=ASKED)
            study.set_user_attr(f"lost {trial.number}", True)
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        elif process:
            host, _, number = process.rpartition(":")
            logger.warning("Trial %d is run by process %s of %s.", trial.number, number, host)
        else:
            logger.warning(
                "Trial %d was started by a process that did not write its name, one of %s.",
                *(trial.number, ", ".join(at_work)),
            )


def _waiting(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


def _has_ended(process: str) -> bool:
    """Whether a process is known to run no more: one of this machine."""
    host, _, number = process.rpartition(":")
    here = host == socket.gethostname() and number.isdecimal()
    return here and not _is_alive(int(number))


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
    trial.set_user_attr("process", _process())
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
            run = fit_trial(sweep, texts, seed, watch)
        except PPVAEError as error:
            # A value that does not suit the model, or a fit that diverged, must not end the sweep.
            trial.set_user_attr("error", str(error))
            study.tell(trial, state=TrialState.FAIL)
            return
        watch.report(read_history(run.folder, read_config(run.folder)["epochs"]))
        if run.status == "pruned":
            study.tell(trial, state=TrialState.PRUNED)
            return
        assert run.elbo is not None
        elbos.append(run.elbo)
        watch = _Watch(None)
    study.tell(trial, sum(elbos) / len(elbos))


class _Watch:
    """A callback that reports each epoch's validation ELBO to a trial, and ends a poor trial.

    A run that goes on, or that ended before its process told the study so, belongs to a new trial:
    its earlier epochs are reported, too.
    """

    def __init__(self, trial: OptunaTrial | None) -> None:
        self.trial = trial
        self.reported = 0

    def report(self, history: Iterable[Mapping[str, float]]) -> None:
        """Report the epochs that have not been reported."""
        for row in history:
            if self.trial is not None and "val_elbo" in row and row["epoch"] > self.reported:
                self.reported = int(row["epoch"])
                self.trial.report(row["val_elbo"], self.reported)

    def on_epoch_end(self, training: Training) -> None:
        self.report(training.history)
        if self.trial is None or "val_elbo" not in training.history[-1]:
            return
        if training.epoch < training.epochs and self.trial.should_prune():
            training.stop = True
            training.config["pruned"] = training.epoch


def _trials(sweep: Sweep, study: Study) -> list[Trial]:
    """The runs of all trials, each once, the best first."""
    trials: dict[tuple[tuple[str, str], ...], Trial] = {}
    for trial in study.get_trials(deepcopy=False):
        if _is_lost(study, trial.number) or trial.state.name == "WAITING":
            continue
        params = _params(trial)
        single = params.pop("seed", None)
        texts = {name: str(value) for name, value in params.items()}
        for seed in sweep.seeds if single is None else [int(str(single))]:
            running, error = trial.state.name == "RUNNING", str(trial.user_attrs.get("error", ""))
            one = trial_of(sweep, texts, seed, running=running, error=error)
            trials[tuple(sorted({**texts, "seed": str(seed)}.items()))] = one
    return ranked(list(trials.values()))
