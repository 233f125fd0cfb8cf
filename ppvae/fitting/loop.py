"""Train a model and a guide on data: one loop for every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from ppvae.data import Dataset, Splits, as_splits
from ppvae.errors import ArgumentError, DivergenceError
from ppvae.fitting.batches import columns_used, fits, make_feed
from ppvae.fitting.callbacks import Progress, check_callbacks, load_checkpoint
from ppvae.fitting.compiled.gradients import CompiledGradients, pays
from ppvae.fitting.devices import choose_device, forked
from ppvae.fitting.layout import channels_last
from ppvae.fitting.rates import RateSchedule
from ppvae.fitting.record import Fault
from ppvae.fitting.step import Critic, Gradients, Step, adam, split_parameters
from ppvae.fitting.tensors import Average, restore
from ppvae.fitting.training import Training
from ppvae.objectives import ELBO
from ppvae.programs import INDEX, needs_index, signature
from ppvae.runs.folder import refuse_unwritable
from ppvae.runs.run import Recipe, Run, describe, is_run

__all__ = ["DivergenceError", "fit"]


def fit(
    model: nn.Module,
    guide: nn.Module,
    data: Splits | Dataset | Mapping[str, Any],
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
    callbacks: Sequence[Any] = (),
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
    epoch. Nothing global is moved: neither the caller's random numbers nor Pyro's parameter store.

    Arguments:
        model: The generative program.
        guide: The variational program.
        data: What to train on, and in :class:`~ppvae.data.Splits` what to validate on.
        objective: What to optimise; the plain ELBO by default.
        epochs: Passes over the training data, in all, those before ``resume`` too.
        batch_size: Data a step; the last batch of an epoch is smaller where N does not divide.
        learning_rate: Handed to ``optimizer``.
        optimizer: Makes the optimiser from parameters and a learning rate; fused Adam by default.
        schedule: The learning rate over the steps, such as :func:`ppvae.fitting.cosine`.
        clip_norm: The largest norm of the gradient of all parameters together.
        average: The decay of an exponential moving average of the weights, such as 0.999. The
            averaged weights are those validated, and those left at the end.
        validate_every: Epochs between two validations on the plain ELBO, every weight one.
        patience: End after this many validations in a row that brought nothing better.
        restore_best: Whether to leave the weights of the best validation rather than the last
            ones. By default where ``patience`` is given; never without validation data.
        seed: Of the order of the data and of the latent noise. By default drawn from torch's
            global generator; recorded in the run.
        device: ``"cuda"``, ``"mps"`` or ``"cpu"``; by default the best one here.
        precision: ``torch.bfloat16`` for mixed precision in training (:class:`torch.autocast`).
        compile: Whether the forward and backward pass are compiled
            (:mod:`ppvae.fitting.compiled.gradients`), handlers and all; by default where so many
            steps are to be made that it pays. A model that cannot be trained compiled is trained
            in eager torch, and the log says why. What a model or guide changes from step to step
            must then be a parameter, a buffer or a column.
        resident: Whether the data are kept on the device; by default if they fit and none is
            memory-mapped. Else a torch DataLoader reads them.
        workers: Processes that read data which are not resident.
        callbacks: Objects as :mod:`ppvae.fitting.callbacks` describes.
        progress: Show a bar on stderr.
        out: A folder to write the run to at the end, whether it ended well or not.
        recipe: How to build the model and the guide again, for :func:`ppvae.load`.
        resume: The folder of a :class:`~ppvae.fitting.Checkpoint` to go on from.

    Returns:
        The :class:`~ppvae.runs.run.Run`; model and guide are in evaluation mode, on the device.

    Raises:
        ArgumentError: If an argument is out of its range.
        ContractError: If model, guide and data do not fit together.
        DataError: If the data cannot be used.
        DivergenceError: If a loss is not finite; the weights are then the last good ones.
        RunError: If ``out`` cannot be written, or ``resume`` cannot be read.
    """
    _at_least_one(
        epochs=epochs, batch_size=batch_size, validate_every=validate_every, patience=patience
    )
    _positive(learning_rate=learning_rate, clip_norm=clip_norm)
    _check(average is None or 0 < average < 1, "average", "a decay between 0 and 1", average)
    _check(
        seed is None or (isinstance(seed, Integral) and 0 <= int(seed) < 2**63),
        "seed",
        "an integer from 0 to 2**63 - 1",
        seed,
    )
    _check(workers >= 0, "workers", "an integer >= 0", workers, "Use 0.")
    _check(
        precision in (None, torch.bfloat16),
        "precision",
        "torch.bfloat16 or None",
        precision,
        "float16 would need its losses scaled.",
    )
    _check(compile in (True, False, "auto"), "compile", 'True, False or "auto"', compile)
    check_callbacks(tuple(callbacks))
    splits = as_splits(data)
    train, validation = splits.train, splits.validation
    if validation is None and (patience is not None or restore_best):
        raise ArgumentError(
            "patience and restore_best: expected validation data; got none. "
            "Pass Splits, such as ppvae.data.split_rows(data), or leave them out."
        )
    keep_best = validation is not None and (
        patience is not None if restore_best is None else restore_best
    )
    folder = None if out is None else Path(out)
    if folder is not None:
        refuse_unwritable(folder, is_run)

    spec = ELBO() if objective is None else objective
    whole = spec(model, guide, num_data=train.num_rows)
    place = choose_device(device, whole)
    checkpoint = None if resume is None else load_checkpoint(resume)
    if seed is not None:
        seed = int(seed)
    else:
        seed = checkpoint["run"]["seed"] if checkpoint else int(torch.randint(2**31, ()))
    whole.to(place)
    dtype = _dtype(whole)

    everything = len(whole.terms) > 0
    train = columns_used(train, model, guide, everything=everything)
    resident = fits(train, place) if resident is None else resident
    if resident:
        train = train.to(place)
    if validation is not None:
        validation = columns_used(validation, model, guide, everything=everything)
        validation = validation.to(place) if resident and fits(validation, place) else validation
    index = INDEX in {**signature(model), **signature(guide)} or needs_index(whole)

    plain = ELBO(num_particles=spec.num_particles, analytic=spec.analytic)(
        model, guide, num_data=train.num_rows
    )
    fast = channels_last(whole) if place.type in ("cpu", "cuda") else nullcontext()
    with forked(place, seed), fast:
        training = _prepare(
            whole,
            plain,
            feed=make_feed(
                train,
                batch_size,
                seed=seed,
                dtype=dtype,
                index=index,
                device=place,
                resident=resident,
                workers=workers,
            ),
            train=train,
            validation=validation,
            epochs=epochs,
            device=place,
            dtype=dtype,
            seed=seed,
            batch_size=batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            schedule=schedule,
            clip_norm=clip_norm,
            average=average,
            precision=precision,
            index=index,
            compiled=compile,
        )
        if checkpoint is not None:
            training.load_state_dict(checkpoint)
        run = Run(
            model=model,
            guide=guide,
            objective=spec,
            config=_config(
                splits,
                spec,
                recipe,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                optimizer=describe(optimizer),
                schedule=describe(schedule),
                clip_norm=clip_norm,
                average=average,
                validate_every=validate_every,
                patience=patience,
                restore_best=keep_best,
                device=str(place),
                precision=None if precision is None else str(precision),
                dtype=str(dtype),
                compile=compile,
                resident=resident,
                workers=workers,
                resumed=checkpoint is not None,
            ),
            seed=seed,
        )
        hooks = [*callbacks, *([Progress()] if progress else [])]
        fault = None
        status = "interrupted"
        try:
            status, fault = _loop(
                training, hooks, validate_every=validate_every, patience=patience, best=keep_best
            )
        finally:
            _finish(training, run, status, keep_best=keep_best, splits=splits)
            if folder is not None:
                run.save(folder)
    if fault is not None:
        raise DivergenceError(_explain(fault, training, clip_norm, precision), run)
    return run


def _config(splits: Splits, spec: ELBO, recipe: Recipe | None, **settings: Any) -> dict[str, Any]:
    """What the run's ``config.json`` says of this fit."""
    rows = {name: None if d is None else d.num_rows for name, d in splits._asdict().items()}
    return {
        "recipe": None if recipe is None else recipe.to_json(),
        "data": {"columns": splits.train.spec, "rows": rows},
        "objective": describe(spec),
        "fit": settings,
    }


def _prepare(
    whole: Any,
    plain: Any,
    *,
    learning_rate: float,
    optimizer: Callable[[Iterable[nn.Parameter], float], Optimizer],
    schedule: RateSchedule | None,
    clip_norm: float | None,
    average: float | None,
    precision: torch.dtype | None,
    index: bool,
    compiled: bool | Literal["auto"],
    **rest: Any,
) -> Training:
    """Check the pair against the data, and put the parts together."""
    parameters, critics = split_parameters(whole)
    moved = optimizer(parameters, learning_rate)
    total_steps = rest["epochs"] * len(rest["feed"])
    gradients: Any = Gradients(whole, parameters, precision=precision, context=bool(critics))
    if pays(rest["device"], total_steps) if compiled == "auto" else compiled:
        gradients = CompiledGradients(gradients)
    step = Step(
        whole,
        gradients,
        parameters,
        moved,
        scheduler=None if schedule is None else schedule(moved, total_steps),
        clip_norm=clip_norm,
        average=None if average is None else Average(parameters, average),
        critics=[Critic(term) for term in critics],
    )
    training = Training(objective=whole, plain=plain, step=step, average=step.average, **rest)
    for hook in training.hooks:
        hook.prepare(training.train)
    first = slice(0, training.batch_size)
    batch = training.train.batch(first, dtype=training.dtype, device=training.device)
    if index:
        batch[INDEX] = torch.arange(len(next(iter(batch.values()))), device=training.device)
    whole.check(batch)
    if training.validation is not None:
        plain.check(training.validation.batch(first, dtype=training.dtype, device=training.device))
    return training


def _loop(
    training: Training,
    callbacks: Sequence[Any],
    *,
    validate_every: int,
    patience: int | None,
    best: bool,
) -> tuple[str, Fault | None]:
    """All epochs; how it ended."""
    on_step_end = [c.on_step_end for c in callbacks if hasattr(c, "on_step_end")]
    try:
        _call(callbacks, "on_fit_start", training)
        while training.epoch < training.epochs and not training.stop:
            fault = training.run_epoch(on_step_end)
            if fault is not None:
                return "diverged", fault
            last = training.epoch == training.epochs
            if training.validation is not None and (last or not training.epoch % validate_every):
                training.validate(keep_best=best)
                if patience is not None and training.best.stale >= patience:
                    training.stop = True
            _call(callbacks, "on_epoch_end", training)
    finally:
        _call(callbacks, "on_fit_end", training)
    return ("completed" if training.epoch >= training.epochs else "stopped"), None


def _call(callbacks: Sequence[Any], hook: str, training: Training) -> None:
    for callback in callbacks:
        if hasattr(callback, hook):
            with forked(training.device):
                getattr(callback, hook)(training)


def _finish(training: Training, run: Run, status: str, *, keep_best: bool, splits: Splits) -> None:
    """Leave the weights that are wanted, settled and in evaluation mode; fill in the run."""
    best = training.best
    if keep_best and best.tensors is not None:
        restore(training.objective, best.tensors)
    elif training.average is not None:
        training.average.apply()
    training.objective.eval()
    with torch.no_grad():
        training.settle()
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
    if best.epoch:
        run.metrics |= {"best_epoch": best.epoch, "best_val_elbo": best.elbo}


def _explain(
    fault: Fault, training: Training, clip_norm: float | None, precision: torch.dtype | None
) -> str:
    where = f"step {fault.step} (epoch {training.epoch + 1} of {training.epochs})"
    rate = training.optimizer.param_groups[0]["lr"]
    if precision is torch.bfloat16:
        remedy = "Train in full precision (precision=None)."
    elif clip_norm is None:
        remedy = "Clip the gradient (clip_norm=10.0), or lower the learning rate."
    else:
        remedy = f"Lower the learning rate (it was {rate:g})."
    what = "the weights were" if fault.name == "weights" else f"{fault.name!r} was"
    return (
        f"training diverged at {where}: {what} the first that was not finite. The weights from "
        f"before are kept, and the run so far is in this error's `run`. {remedy}"
    )


def _dtype(module: nn.Module) -> torch.dtype:
    """The dtype that most of the weights have."""
    counts: dict[torch.dtype, int] = {}
    for parameter in module.parameters():
        if parameter.is_floating_point():
            counts[parameter.dtype] = counts.get(parameter.dtype, 0) + parameter.numel()
    return max(counts, key=lambda dtype: counts[dtype]) if counts else torch.get_default_dtype()


def _at_least_one(**numbers: int | None) -> None:
    for name, value in numbers.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        _check(value is None or (whole and int(value) >= 1), name, "an integer >= 1", value)


def _positive(**numbers: float | None) -> None:
    for name, value in numbers.items():
        good = value is None or (value > 0 and math.isfinite(value))
        _check(good, name, "a finite number > 0", value)


def _check(
    good: bool, name: str, rule: str, value: object, remedy: str = "Use the default."
) -> None:
    if not good:
        raise ArgumentError(f"{name}: expected {rule}; got {value}. {remedy}")
