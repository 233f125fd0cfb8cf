"""Many runs of a model, by grid or search over options and settings.

An engine decides which run comes next and where: Optuna (:mod:`ppvae.app.sweep_optuna`) in any
number of processes that share the sweep's folder, or Ray Tune (:mod:`ppvae.app.sweep_ray`) on a
cluster. Everything else is here and the same for both: the axes, the folder of each run, how a run
that stopped goes on, and the table of all runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from ppvae.app.axes import Axis, axes_of, split_values
from ppvae.app.workflow import checked_data, evaluate_run, fit_entry
from ppvae.errors import ArgumentError, RunError
from ppvae.expected import expect, expect_device, integer, real_path
from ppvae.fitting import Checkpoint, Training, alone
from ppvae.fitting.callbacks import load_checkpoint
from ppvae.report.page import FILE as REPORT
from ppvae.runs.config import FINISHED, elbo_of, is_run, read_config
from ppvae.runs.files import digest_of, inside, read_json
from ppvae.runs.folder import CHECKPOINT, plain, write_json
from ppvae.runs.source import noted_source
from ppvae.typing import JsonObject, Keywords
from ppvae.zoo.entry import entry

__all__ = [
    "Engine",
    "Sweep",
    "Trial",
    "fit_trial",
    "folder_of",
    "ranked",
    "refuse_other_data",
    "run_sweep",
    "trial_of",
]

logger = logging.getLogger(__name__)

ENGINES = ("optuna", "ray")
DEFINITION = "sweep.json"
DIGESTS = ("source_digest", "labels_digest")
# Seconds between two checkpoints of a trial.
EACH_MINUTE = 60.0
# Bytes of a run's name: those that a file system takes, less the names that are made from it.
LONGEST, CUT = 240, 180


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
            others at the same epoch; by default in a search by Optuna only.
        data: File or folder of the data; the model's embedded data by default.
        reading: Options of the reader of the data.
        settings: Further arguments of :func:`~ppvae.app.workflow.fit_entry`.
        engine: ``"optuna"`` or ``"ray"``.
        address: Address of a Ray cluster, such as ``"auto"``; by default one is started here.
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
    engine: str = "optuna"
    address: str | None = None

    def definition(self) -> JsonObject:
        """The settings that must not change when a sweep is continued; ``trials`` may grow."""
        data = None if self.data is None else str(real_path(self.data))
        search = self.trials is not None
        sets = {"sets": sorted(self.sets), "seeds": list(self.seeds), "search": search}
        # Folders of sweeps before there was a choice name no engine.
        engine = {} if self.engine == "optuna" else {"engine": self.engine}
        named = {"kind": "ppvae sweep", "model": self.model, "data": data, **sets, **engine}
        reading = dict(self.reading or {})
        if reading.get("labels") is not None:
            reading["labels"] = str(real_path(reading["labels"]))
        return {**named, "reading": plain(reading)}

    def contents(self) -> JsonObject:
        """The checksums of the data and of their table of labels."""
        source = noted_source(self.data, self.reading or {})
        return {name: source.get(name) for name in DIGESTS}


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        values: Value of each axis, as written on the command line.
        seed: Seed of the run.
        status: ``completed``, ``stopped`` (pruned, or out of patience), ``failed``, ``running``.
        elbo: Validation ELBO in nats per datum, the best one if the best weights are kept; the
            training ELBO where there are no validation data. None if there is no epoch.
        folder: Folder of the run.
        error: Message of the error that ended it, if it failed.
    """

    values: Mapping[str, str]
    seed: int
    status: str
    elbo: float | None
    folder: Path
    error: str = ""


# Runs what is left of a sweep, and returns all its trials so far.
Engine: TypeAlias = Callable[[Sweep, Sequence[Axis]], "list[Trial]"]


class Callback(Protocol):
    """What watches a trial as it runs."""

    def on_epoch_end(self, training: Training) -> None:
        """Look at the last row of the history."""


def run_sweep(sweep: Sweep) -> list[Trial]:
    """Run what is left of a sweep, and return all its trials so far.

    Raises:
        ArgumentError: If an axis is wrong, a grid has a range, or the engine is unknown.
        MissingPackageError: If the engine's package is not installed.
        RunError: If the folder holds another sweep, or one of data that have changed since, or
            cannot be written.
    """
    axes = axes_of(entry(sweep.model), sweep.sets)
    engine = _engine(sweep)
    if sweep.trials is not None:
        expect(integer(1), "Use 20.", **{"--trials": sweep.trials})
    ranged = [axis.name for axis in axes if axis.ranged]
    if sweep.trials is None and ranged:
        raise ArgumentError(
            f"--set: expected values with commas in a grid; got a range of {ranged}. Say how many "
            "configurations to try: --trials 20."
        )
    _check_each(sweep, axes)
    _claim_folder(sweep)
    refuse_other_data(sweep)
    with alone():
        return engine(sweep, axes)


def _check_each(sweep: Sweep, axes: Sequence[Axis]) -> None:
    """Refuse what would end every trial in an error: the device, or the data.

    Raises:
        ArgumentError: If there is no such device.
        DataError: If the data cannot be read.
    """
    if sweep.settings.get("device") is not None:
        expect_device(sweep.settings["device"])
    if sweep.data is not None:
        options, _ = split_values(entry(sweep.model), {a.name: a.texts[0] for a in axes})
        checked_data(sweep.model, sweep.data, options=options, reading=sweep.reading)


def _engine(sweep: Sweep) -> Engine:
    if sweep.engine not in ENGINES:
        raise ArgumentError(
            f"--engine: expected one of {', '.join(ENGINES)}; got {sweep.engine!r}. Use optuna."
        )
    if sweep.engine == "ray":
        from ppvae.app.sweep_ray import run_ray

        return run_ray
    if sweep.address is not None:
        raise ArgumentError(
            f"--address: expected --engine ray with it; got {sweep.address!r} for Optuna, whose "
            "processes need none. Leave it out."
        )
    from ppvae.app.sweep_optuna import run_optuna

    return run_optuna


def _claim_folder(sweep: Sweep) -> None:
    """Write the definition into the sweep's folder, or compare it with the one that is there."""
    definition, path = sweep.definition(), sweep.out / DEFINITION
    try:
        sweep.out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if any(sweep.out.iterdir()):
                raise RunError(
                    f"--out: expected an empty folder or that of a sweep; {str(sweep.out)!r} "
                    "holds other files. Name another."
                )
            write_json(path, {**definition, **sweep.contents()})
    except OSError as error:
        raise RunError(
            f"--out: expected a folder that can be written; got {str(sweep.out)!r} "
            f"({error.strerror or error}). Name another."
        ) from error
    before = _definition(sweep)
    for name in {**definition, **before}:
        if name in DIGESTS or (name == "reading" and name not in before):
            continue  # Folders of sweeps of earlier versions do not record how data are read.
        mine, its = definition.get(name, "optuna"), before.get(name, "optuna")
        if mine != its:
            raise RunError(
                f"--out: expected the {name} of the sweep in {str(sweep.out)!r}, "
                f"{its}; got {mine}. Use the same arguments, or another folder."
            )


def _definition(sweep: Sweep) -> JsonObject:
    """The definition in the sweep's folder.

    Raises:
        RunError: If it is not that of a sweep.
    """
    before = read_json(sweep.out / DEFINITION)
    # Those of earlier versions have no engine, which was Optuna's, and no reading.
    needed = sweep.definition().keys() - {"engine", "reading", *DIGESTS}
    if not isinstance(before, dict) or needed - before.keys():
        raise RunError(
            f"--out: expected the definition of a sweep in {str(sweep.out / DEFINITION)!r}; got a "
            "damaged file. Restore it from a copy, or name another folder."
        )
    return before


def refuse_other_data(sweep: Sweep) -> None:
    """Refuse to go on with a sweep whose data have changed, as its table would mix the two.

    Raises:
        RunError: If the contents of the data, or of their table of labels, are not those that the
            sweep began with.
    """
    before = _definition(sweep)
    if sweep.data is None or not before.keys() & set(DIGESTS):
        return  # A sweep of an earlier version has no checksums.
    for name, digest in sweep.contents().items():
        if digest != before.get(name):
            what = "the data" if name == DIGESTS[0] else "the table of labels"
            raise RunError(
                f"--data: expected {what} that the sweep in {str(sweep.out)!r} began with; "
                f"{str(sweep.data)!r} has changed since. Put it back as it was, or start a new "
                "sweep: --out FOLDER."
            )


def fit_trial(
    sweep: Sweep,
    texts: Mapping[str, str],
    seed: int,
    *callbacks: Callback,
    interruptible: bool = True,
) -> Trial:
    """Run or resume one fit in its folder; a run that ended is not repeated.

    Arguments:
        sweep: The sweep.
        texts: Value of each axis, as written on the command line.
        seed: Seed of the run.
        callbacks: What watches the run.
        interruptible: As for :func:`~ppvae.app.workflow.fit_entry`.

    Raises:
        PPVAEError: If a value does not suit the model, or the fit diverges.
    """
    folder = folder_of(sweep.out, texts, seed)
    inside(sweep.out, *folder.relative_to(sweep.out).parts)
    if is_run(folder) and read_config(folder)["status"] in FINISHED:
        if not (folder / REPORT).exists():  # A signal came between the fit and its evaluation.
            evaluate_run(folder, data=None, device=sweep.settings.get("device"))
        return trial_of(sweep, texts, seed)
    options, settings = split_values(entry(sweep.model), texts)
    checkpoint = inside(folder, "checkpoint")
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
        interruptible=interruptible,
        callbacks=[Checkpoint(checkpoint, every=None, seconds=EACH_MINUTE), *callbacks],
        progress=False,
        resume=resume,
        **{**sweep.settings, **settings},
    )
    return trial_of(sweep, texts, seed)


def folder_of(out: Path, texts: Mapping[str, str], seed: int) -> Path:
    """The folder of a run, named by its values, and by a checksum where the name is too long."""
    parts = [f"{name}={text}" for name, text in sorted(texts.items())]
    name = ",".join([*parts, f"seed={seed}"])
    if len(name.encode()) > LONGEST:
        start = name.encode()[:CUT].decode(errors="ignore")
        name = f"{start}...,{digest_of(dict(texts))[:12]},seed={seed}"
    return out / "runs" / name


def trial_of(
    sweep: Sweep, texts: Mapping[str, str], seed: int, *, running: bool = False, error: str = ""
) -> Trial:
    """What the folder of a run says of it.

    Arguments:
        sweep: The sweep.
        texts: Value of each axis.
        seed: Seed of the run.
        running: Whether a process is at work on it.
        error: Message of the error that ended it.
    """
    folder = folder_of(sweep.out, texts, seed)
    if is_run(folder):
        config = read_config(folder)
        status = "pruned" if "pruned" in config else str(config["status"])
        elbo = elbo_of(folder) if config["epochs"] else None  # It may diverge in its first epoch.
        return Trial(texts, seed, status, elbo, folder, error)
    return Trial(texts, seed, "running" if running else "failed", None, folder, error)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, the best first."""
    return sorted(trials, key=lambda t: float("inf") if t.elbo is None else -t.elbo)
