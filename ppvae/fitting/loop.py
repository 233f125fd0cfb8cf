"""Train a model and a guide on data: one loop for every model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer

from ppvae.data import Splits, as_splits
from ppvae.data.mapped import ColumnsLike
from ppvae.data.scales import ranges_of
from ppvae.errors import ArgumentError, DivergenceError, Interrupted, RunError
from ppvae.expected import FLAG, expect, path_of
from ppvae.fitting.callbacks import (
    Progress,
    check_callbacks,
    comes_with_ppvae,
    load_checkpoint,
)
from ppvae.fitting.compiled.gradients import CompiledGradients
from ppvae.fitting.contents import contents
from ppvae.fitting.diagnose import diagnose, loss_of_elbo
from ppvae.fitting.ending import PATIENCE, note_end, out_of_patience, stay_ended
from ppvae.fitting.layout import channels_last
from ppvae.fitting.phases import told
from ppvae.fitting.plain import refuse_other_parameters, trainable
from ppvae.fitting.prepare import assemble, for_processes, place
from ppvae.fitting.processes import processes
from ppvae.fitting.rates import RateSchedule
from ppvae.fitting.record import Fault
from ppvae.fitting.settings import Settings
from ppvae.fitting.step import adam
from ppvae.fitting.tensors import restore
from ppvae.fitting.training import Training
from ppvae.objectives import ELBO
from ppvae.programs import forked
from ppvae.programs.running import as_module_remedy
from ppvae.runs.folder import refuse_unwritable
from ppvae.runs.keeping import keep, write
from ppvae.runs.run import Recipe, Run, describe, is_run
from ppvae.signals import ended_by_signals, pending_signal
from ppvae.typing import JsonObject

logger = logging.getLogger(__name__)

__all__ = ["DivergenceError", "fit"]


def fit(  # noqa: D417
    model: nn.Module,
    guide: nn.Module,
    data: Splits | ColumnsLike,
    objective: ELBO | None = None,
    *,
    epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    optimizer: Callable[[Iterable[nn.Parameter], float], Optimizer] = adam,
    schedule: RateSchedule | None = None,
    clip_norm: float | None = None,
    average: float | None = None,
    validate_every: int = 1,
    patience: int | None = None,
    restore_best: bool | None = None,
    seed: int | None = None,
    device: str | torch.device | None = None,
    precision: torch.dtype | None = None,
    compile: bool | Literal["auto"] = "auto",  # noqa: A002
    resident: bool | None = None,
    workers: int = 0,
    retries: int = 3,
    callbacks: Sequence[object] = (),
    progress: bool = True,
    out: str | Path | None = None,
    recipe: Recipe | None = None,
    resume: str | Path | None = None,
) -> Run:
    r"""Train a model and a guide, in place.

    .. math::
        \theta_{t+1} = \mathrm{Adam}\left(\theta_t, \nabla_\theta \,
            \mathrm{loss}(\mathrm{batch}_t)\right)

    Before the first step the pair is checked against the data
    (:func:`ppvae.programs.check_pair`). No step waits for the device; losses are read once an
    epoch. No global state changes: neither the caller's random numbers nor Pyro's parameter store.
    Fits, evaluations and predictions may run side by side in threads of a process, each with its
    own modules, with the same results as alone (:mod:`ppvae.programs.threads`); the same holds in
    processes, forked or spawned.

    The arguments from ``epochs`` to ``retries`` are the fields of
    :class:`~ppvae.fitting.Settings`, which documents them and their ranges.

    Arguments:
        model: The generative program.
        guide: The variational program.
        data: Training data; or :class:`~ppvae.data.Splits`, with validation and test data.
        objective: Objective to optimise; the plain ELBO by default.
        callbacks: Objects with methods as described in :mod:`ppvae.fitting.callbacks`.
        progress: Whether to show a progress bar on stderr.
        out: Folder to write the run to at the end, whether it ended well or not. A finished run
            that it already holds is replaced only by one that ends well; another is written to a
            numbered folder beside it, and the log says so. If the folder cannot be written, the
            run is written to a temporary folder, which the error names.
        recipe: Recipe to build the model and the guide again, for :func:`ppvae.load`.
        resume: Folder of a :class:`~ppvae.fitting.Checkpoint` to go on from, or of a run that
            contains one.

    Returns:
        The :class:`~ppvae.runs.run.Run`; model and guide are in evaluation mode, on the device.

    Raises:
        ArgumentError: If an argument is out of its range.
        ContractError: If model, guide and data do not fit together.
        DataError: If the data cannot be used.
        DivergenceError: If a loss, a gradient or a validation is not finite, or the ELBO has
            exploded, more than ``retries`` times; the weights are then the last good ones.
        RunError: If ``out`` cannot be written, or ``resume`` cannot be read; the trained run, if
            there is one, is the attribute ``run`` of the error.
        Interrupted: If a signal ended training within :func:`ppvae.fitting.ending_on_signals`.
    """
    given = locals()
    settings = Settings(**{f.name: given[f.name] for f in fields(Settings)})
    _check_kinds(model=model, guide=guide, objective=objective, recipe=recipe)
    expect(FLAG, "Use False for no bar.", progress=progress)
    check_callbacks(callbacks)
    splits = as_splits(data)
    settings.keeps_best(validated=splits.validation is not None)
    folder = None if out is None else path_of("out", out)
    if folder is not None:
        refuse_unwritable(folder, is_run)
    spec = ELBO() if objective is None else objective
    checkpoint = None if resume is None else load_checkpoint(path_of("resume", resume))
    shards = processes()
    if seed is None:
        seed = checkpoint["run"]["seed"] if checkpoint else int(torch.randint(2**31, ()))
    (seed,) = shards.first((seed,))
    settings = for_processes(settings, shards)
    if shards.rank > 0:
        folder, progress = None, False
        callbacks = [c for c in callbacks if not getattr(c, "main_process_only", False)]
    # Processes that wait for each other end after a step, together.
    ending = ended_by_signals if shards.size == 1 else nullcontext
    with ending():
        placed = place(model, guide, splits, spec, replace(settings, seed=int(seed)))
    on_device = placed.device.type in ("cpu", "cuda")
    fast = channels_last(placed.objective) if on_device else nullcontext()
    with forked(placed.device, seed=placed.settings.seed), fast:
        with ending():
            training = assemble(placed, splits, shards)
        training.config = _config(splits, spec, recipe, training, resumed=checkpoint is not None)
        training.around["callbacks"] = told(callbacks, training.objective)
        if checkpoint is not None:
            training.load_state_dict(checkpoint)
            stay_ended(training, checkpoint, callbacks)
        run = Run(model, guide, spec, seed=training.seed, id=training.run_id)
        hooks = [*callbacks, *([Progress()] if progress else [])]
        try:
            status, fault = _loop(training, hooks)
        except BaseException as error:
            _finish(training, run, "interrupted", splits=splits)
            if folder is not None:
                keep(run, folder)
            if isinstance(error, RunError | Interrupted):
                error.run = run
            raise
        _finish(training, run, status, splits=splits)
        if folder is not None:
            write(run, folder)
    if fault is not None:
        raise DivergenceError(_explain(fault, training), run)
    return run


_KINDS: dict[str, tuple[type, str]] = {
    "model": (nn.Module, "Pass an instance, such as ppvae.models.VAE(decoder, latent_dim=2)."),
    "guide": (nn.Module, "Pass an instance, such as ppvae.guides.AmortizedGuide(encoder)."),
    "objective": (ELBO, "Use ppvae.objectives.ELBO()."),
    "recipe": (Recipe, "Use ppvae.runs.Recipe(builder, options=...)."),
}


def _check_kinds(**given: object) -> None:
    """Refuse an argument of another kind by its name; the optional ones may be None.

    Raises:
        ArgumentError: Naming the first.
    """
    for name, value in given.items():
        kind, remedy = _KINDS[name]
        if not isinstance(value, kind) and (value is not None or kind is nn.Module):
            if kind is nn.Module:
                remedy = as_module_remedy(value, remedy)
            raise ArgumentError(
                f"{name}: expected a {kind.__module__.partition('.')[0]} {kind.__name__}; got "
                f"{str(value)[:60]!r}. {remedy}"
            )


def _config(
    splits: Splits, spec: ELBO, recipe: Recipe | None, training: Training, *, resumed: bool
) -> JsonObject:
    """The contents of ``config.json`` on this fit."""
    rows = {name: None if d is None else d.num_rows for name, d in splits._asdict().items()}
    settings = training.settings.to_json()
    del settings["seed"]  # It is written beside the id.
    scheduled = contents(training.settings.schedule)
    values = scheduled.get("values") if isinstance(scheduled, dict) else None
    if isinstance(values, dict) and len(values) > 1:  # Besides the defaults of arguments.
        settings["schedule_values"] = {k: v for k, v in values.items() if k != "defaults"}
    terms = {term.name: contents(term) for term in spec.terms}
    return {
        "recipe": None if recipe is None else recipe.to_json(),
        "data": {"columns": splits.train.spec, "rows": rows},
        "ranges": ranges_of(Splits(splits.train)) if training.settings.resident else {},
        "pair": {
            "model": type(training.objective.model).__name__,
            "guide": type(training.objective.guide).__name__,
            "shared": sorted(
                {site for s in training.objective.structures.values() for site in s.shared}
            ),
        },
        "objective": {**_named(describe(spec)), **({"settings": terms} if terms else {})},
        "fit": {**settings, "dtype": str(training.dtype), "resumed": resumed},
    }


def _named(value: object) -> JsonObject:
    assert isinstance(value, dict)
    return value


def _loop(training: Training, callbacks: Sequence[object]) -> tuple[str, Fault | None]:
    """Run all epochs; return the status at the end, and the fault if there was one."""
    known = trainable(training.objective) if callbacks else {}
    stepping = [c for c in callbacks if hasattr(c, "on_step_end")]
    on_step_end = [_noting(c) for c in stepping]
    if not all(map(comes_with_ppvae, stepping)):
        on_step_end.insert(0, lambda training: training.step.gradients.mark())
        on_step_end.append(lambda training: _notice(training, known, whole=False))
    try:
        _call(callbacks, "on_fit_start", training)
        # Training that is to end ends after an epoch.
        while training.epoch < training.epochs and (training.done or not training.stop):
            fault = _epoch(training, on_step_end)
            if fault is not None:
                if not training.retry(fault):
                    return "diverged", fault
                continue
            if training.done == 0:
                out = out_of_patience(training)
                if out:
                    training.stop, training.ended_by = True, PATIENCE
                if callbacks:
                    training.step.gradients.mark()
                    _call(callbacks, "on_epoch_end", training)
                    _notice(training, known)
                if out:  # Callbacks may have set it to False.
                    training.stop, training.ended_by = True, PATIENCE
                training.stop = bool(training.shards.agreed(int(training.stop)))
                if training.stop:
                    training.ended_by = training.shards.first(training.ended_by)
            number = training.shards.agreed(pending_signal() or 0)
            if number and training.epoch < training.epochs:
                raise Interrupted(number, training.epoch, training.epochs)
    finally:
        _call(callbacks, "on_fit_end", training)
    return ("completed" if training.epoch >= training.epochs else "stopped"), None


def _epoch(
    training: Training, on_step_end: Sequence[Callable[[Training], object]]
) -> Fault | None:
    """Run one epoch with its validation; return the fault that undid it, if any."""
    fault = training.run_epoch(on_step_end)
    if fault is not None:
        fault = replace(fault, detail=diagnose(training, fault))
        training.restore_good()
        return fault
    last = training.epoch == training.epochs
    due = last or training.epoch % training.settings.validate_every == 0
    if training.validation is not None and training.done == 0 and due:
        return training.validate()
    return None


def _notice(training: Training, known: Mapping[str, bool], *, whole: bool = True) -> None:
    """Let the step take note of what callbacks may have changed since it was marked."""
    if whole or not all(p.requires_grad for p in training.step.parameters):
        refuse_other_parameters(training.objective, known)
    training.step.gradients.notice()


def _call(callbacks: Sequence[object], hook: str, training: Training) -> None:
    for callback in callbacks:
        if hasattr(callback, hook):
            with forked(training.device):
                getattr(callback, hook)(training)
            note_end(training, callback)


def _noting(callback: object) -> Callable[[Training], object]:
    """The hook of a callback after each step, after which it is noted whether it ends training."""
    hook: Callable[[Training], object] = callback.on_step_end  # type: ignore[attr-defined]
    if comes_with_ppvae(callback):
        return hook

    def noting(training: Training) -> None:
        hook(training)
        note_end(training, callback)

    return noting


def _finish(training: Training, run: Run, status: str, *, splits: Splits) -> None:
    """Set the final weights, settle, enter evaluation mode, and complete the run."""
    best = training.best
    if training.settings.restore_best and best.tensors is not None:
        restore(training.objective, best.tensors)
    elif training.average is not None:
        training.average.apply()
    training.objective.eval()
    with torch.no_grad():
        training.settle()
    run.config = training.config
    cautions = [text for hook in training.objective.hooks if (text := hook.caution())]
    if not training.settings.restore_best:
        fallen = loss_of_elbo([row["elbo"] for row in training.history])
        cautions += [fallen] if fallen else []
    if cautions:
        run.config["cautions"] = cautions
        logger.warning(" ".join(cautions))
    run.history = training.history
    run.epochs = training.epoch
    run.status = status
    run.metrics = {
        "train_seconds": training.seconds,
        "epochs": training.epoch,
        "n_train": training.train.num_rows,
        "n_validation": 0 if splits.validation is None else splits.validation.num_rows,
        "n_test": 0 if splits.test is None else splits.test.num_rows,
        "seed": training.seed,
    }
    gradients = training.step.gradients
    run.metrics["compiled"] = isinstance(gradients, CompiledGradients) and gradients.used
    if gradients.compile_seconds is not None:
        run.metrics["compile_seconds"] = gradients.compile_seconds
    if training.faults:
        run.metrics["retries"] = len(training.faults)
        run.config["faults"] = training.faults
    if best.epoch:
        run.metrics |= {"best_epoch": best.epoch, "best_val_elbo": best.elbo}


def _explain(fault: Fault, training: Training) -> str:
    settings = training.settings
    rate = training.optimizer.param_groups[0]["lr"]
    if fault.name.startswith("val_"):
        remedy = "Look at those rows of the validation data."
    elif settings.precision is torch.bfloat16:
        remedy = "Train in full precision (precision=None)."
    elif settings.clip_norm is None:
        remedy = "Clip the gradient (clip_norm=10.0), or lower the learning rate."
    else:
        remedy = f"Lower the learning rate (it was {rate:g})."
    tries = f" after {len(training.faults)} retries" if training.faults else ""
    where = fault.words(len(training.feed), training.epochs)
    return (
        f"training diverged at {where}{tries}. The weights from before are kept, and the run so "
        f"far is in this error's `run`. {remedy}"
    )
