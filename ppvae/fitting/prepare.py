"""The first phase of a fit: the pair and its data moved to their device, checked and assembled."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ppvae.data import Dataset, Splits
from ppvae.data.known import refuse_unknown
from ppvae.errors import ArgumentError, DataError, PPVAEError
from ppvae.fitting.batches import columns_used, fits, make_feed
from ppvae.fitting.belonging import refuse_another_optimizer, refuse_other_parts
from ppvae.fitting.compiled.gradients import CompiledGradients, pays
from ppvae.fitting.devices import choose_device, emulates_bfloat16
from ppvae.fitting.distributed import ProcessShards
from ppvae.fitting.evaluated import check_evaluated
from ppvae.fitting.groups import GroupedAdam
from ppvae.fitting.settings import Settings
from ppvae.fitting.step import Critic, Gradients, Step, split_parameters
from ppvae.fitting.tensors import Average
from ppvae.fitting.training import Training
from ppvae.objectives import ELBO, Objective
from ppvae.objectives.mixing import mixed_columns
from ppvae.objectives.shards import ALONE, Shards
from ppvae.programs import (
    INDEX,
    check_rows,
    check_values,
    evaluating,
    needs_index,
    own_generators,
    signature,
)

__all__ = ["Placed", "assemble", "for_processes", "place"]

logger = logging.getLogger(__name__)

# Rows by which it is found whether rows depend on each other.
ROWS = 4


@dataclass(frozen=True)
class Placed:
    """A pair and its data on the device that they are trained on.

    Attributes:
        objective: The objective of the pair.
        plain: Plain ELBO of the pair, for validation.
        train: Training data, with only the columns in use.
        validation: Validation data, or None.
        device: Device of the pair.
        dtype: Dtype of the floating-point columns.
        settings: Settings with all defaults resolved.
        index: Whether a batch has the column ``index``.
    """

    objective: Objective
    plain: Objective
    train: Dataset
    validation: Dataset | None
    device: torch.device
    dtype: torch.dtype
    settings: Settings
    index: bool


def for_processes(settings: Settings, shards: Shards) -> Settings:
    """The settings, adapted to several processes.

    Raises:
        ArgumentError: If a setting is not possible with several processes.
    """
    if shards.size == 1:
        return settings
    if settings.compile is True:
        raise ArgumentError(
            "compile: expected False or 'auto' with several processes, which train in eager "
            "torch; got True. Leave it out."
        )
    if settings.batch_size < shards.size:
        raise ArgumentError(
            f"batch_size: expected a row for each of {shards.size} processes; got "
            f"{settings.batch_size}. Raise it, or start fewer processes."
        )
    device = settings.device
    if device is None and not torch.cuda.is_available():
        device = "cpu"
    if torch.device(device or "cuda").type == "mps":
        raise ArgumentError(
            "device: expected 'cuda' or 'cpu' with several processes; got 'mps'. Use one process."
        )
    return replace(settings, compile=False, device=device)


def place(
    model: nn.Module, guide: nn.Module, splits: Splits, spec: ELBO, settings: Settings
) -> Placed:
    """Move a pair and its data to their device.

    Arguments:
        model: The generative program.
        guide: The variational program.
        splits: Training data, and validation and test data or None.
        spec: Objective, before it is bound to the pair.
        settings: The settings of the fit, with a seed.

    Raises:
        DataError: If a column has no known value in the training data.
    """
    objective = spec(model, guide, num_data=splits.train.num_rows)
    indexed = INDEX in {**signature(model), **signature(guide)} or needs_index(objective)
    if indexed:
        _refuse_index(splits)
    device = choose_device(settings.device, objective)
    objective.to(device)
    everything = len(objective.terms) > 0
    train = columns_used(splits.train, model, guide, everything=everything)
    refuse_unknown(train, "training")
    resident = fits(train, device) if settings.resident is None else settings.resident
    validation = splits.validation
    if validation is not None:
        validation = columns_used(validation, model, guide, everything=everything)
        refuse_unknown(validation, "validation", "x")
        if resident and fits(validation, device):
            validation = validation.to(device)
    for part in (splits.validation, splits.test):
        if part is not None:
            for hook in objective.hooks:
                hook.check(part)
    plain = ELBO(num_particles=spec.num_particles, analytic=spec.analytic)(
        model, guide, num_data=train.num_rows
    )
    plain.unscaled = True  # As in evaluations: poutine.scale weighs training alone.
    return Placed(
        objective=objective,
        plain=plain,
        train=train.to(device) if resident else train,
        validation=validation,
        device=device,
        dtype=_dtype(objective),
        settings=replace(
            settings,
            device=device,
            resident=resident,
            restore_best=settings.keeps_best(validated=validation is not None),
        ),
        index=indexed,
    )


def _refuse_index(splits: Splits) -> None:
    """Refuse a column ``index`` of the training data that is not the numbers of its rows."""
    if INDEX not in splits.train:
        return
    rows = torch.as_tensor(splits.train[INDEX])
    if rows.shape != (splits.train.num_rows,) or not bool(
        (rows.cpu() == torch.arange(len(rows))).all()
    ):
        raise DataError(
            f"column {INDEX!r}: expected the numbers of the training rows from 0, which a fit "
            "adds itself under this name; got other values. Rename the column, in model and "
            "guide too."
        )


def assemble(placed: Placed, splits: Splits, shards: Shards = ALONE) -> Training:
    """Assemble the parts of a step, and check the pair against its data.

    Arguments:
        placed: Pair and data on their device.
        splits: All data, including the test data.
        shards: Division of each batch's rows among processes.

    Raises:
        ContractError: If model, guide and data do not fit together.
        DataError: If a value in some row is outside the support of its likelihood.
    """
    settings, objective = placed.settings, placed.objective
    if isinstance(shards, ProcessShards):
        shards.begin(objective, placed.train)
    assert settings.seed is not None
    assert settings.resident is not None
    for hook in objective.hooks:
        hook.prepare(placed.train)
    # Before the optimiser is made: an automatic guide of Pyro has no parameters until it has run.
    _check(placed, splits)
    feed = make_feed(
        placed.train,
        settings.batch_size,
        seed=settings.seed,
        dtype=placed.dtype,
        index=placed.index,
        device=placed.device,
        resident=settings.resident,
        workers=settings.workers,
        shards=shards,
    )
    training = Training(
        objective=objective,
        plain=placed.plain,
        step=_step(placed, settings.epochs * len(feed)),
        feed=feed,
        train=placed.train,
        validation=placed.validation,
        settings=settings,
        device=placed.device,
        dtype=placed.dtype,
    )
    if isinstance(shards, ProcessShards):
        _share(placed, shards)
    return training


def _step(placed: Placed, total_steps: int) -> Step:
    settings, objective = placed.settings, placed.objective
    parameters, critics = split_parameters(objective)
    optimizer = _optimizer(settings, parameters, objective)
    eager = Gradients(objective, parameters, precision=settings.precision, context=bool(critics))
    compiled = settings.compile
    if compiled == "auto":
        compiled = pays(placed.device, total_steps)
    if compiled and own_generators() is not None:
        logger.warning(
            "compile: the steps run in eager torch, because other threads may draw random numbers."
        )
        compiled = False
    if settings.precision is torch.bfloat16 and emulates_bfloat16(placed.device):
        logger.warning(
            "precision: this device has no instructions for bfloat16, with which steps can take "
            "several times as long. Leave precision out."
        )
    schedule, average = settings.schedule, settings.average
    scheduler = None if schedule is None else schedule(optimizer, total_steps)
    if schedule is not None and not isinstance(scheduler, LRScheduler):
        raise ArgumentError(
            "schedule: expected a function that makes a learning rate's scheduler; got one that "
            f"makes {type(scheduler).__name__}. Return a torch LRScheduler."
        )
    if scheduler is not None:
        refuse_another_optimizer(scheduler, optimizer)

    def other() -> dict[str, torch.Tensor]:
        return _first(placed, placed.train, index=placed.index)

    return Step(
        objective,
        CompiledGradients(eager, other=other) if compiled else eager,
        parameters,
        optimizer,
        scheduler=scheduler,
        clip_norm=settings.clip_norm,
        average=None if average is None else Average(parameters, average),
        critics=[Critic(term) for term in critics],
    )


def _share(placed: Placed, shards: ProcessShards) -> None:
    """Record the draws of the objective and of the plain ELBO, which is used for validation."""
    placed.objective.train()
    shards.learn(placed.objective, _first(placed, placed.train, index=placed.index))
    if placed.validation is not None:
        placed.objective.eval()
        placed.plain.eval()
        shards.learn(placed.plain, _first(placed, placed.validation))
        placed.objective.train()


def _first(placed: Placed, data: Dataset, *, index: bool = False) -> dict[str, torch.Tensor]:
    """The first batch of some data."""
    first = slice(0, placed.settings.batch_size)
    batch = data.batch(first, dtype=placed.dtype, device=placed.device)
    if index:
        batch[INDEX] = torch.arange(len(next(iter(batch.values()))), device=placed.device)
    return batch


def _optimizer(
    settings: Settings, parameters: list[nn.Parameter], objective: nn.Module
) -> Optimizer:
    """The optimiser of these parameters of an objective.

    Raises:
        ArgumentError: If the function makes none, one whose step evaluates the loss itself, or
            one of other parameters.
    """
    if isinstance(settings.optimizer, GroupedAdam):
        settings.optimizer.check(objective.parameters())
    optimizer = settings.optimizer(parameters, settings.learning_rate)
    if not isinstance(optimizer, Optimizer) or isinstance(optimizer, LBFGS):
        raise ArgumentError(
            "optimizer: expected a function that makes an optimiser whose step needs no closure; "
            f"got {type(optimizer).__name__}. Use torch.optim.Adam."
        )
    refuse_other_parts(
        "optimizer",
        [p for group in optimizer.param_groups for p in group["params"]],
        objective.parameters(),
        remedy="Make a new optimiser at each call, of the parameters that are passed to it.",
    )
    return optimizer


def _check(placed: Placed, splits: Splits) -> None:
    objective = placed.objective
    batch = _first(placed, placed.train, index=placed.index)
    # Before, for a guide that has run on another number of rows; after, for one that runs now.
    check_rows(objective.guide)
    objective.check(batch)
    check_rows(objective.guide)
    validated = placed.validation is not None
    check_evaluated(objective.model, objective.guide, batch, validated=validated)
    _warn_of_mixing(placed, batch)
    if placed.validation is not None:
        placed.plain.check(_first(placed, placed.validation))
    _check_classes(placed, splits, batch)
    check_values(objective.model, objective.guide, batch, splits)


def _warn_of_mixing(placed: Placed, batch: dict[str, torch.Tensor]) -> None:
    """Warn of a pair that is another one in evaluation mode for other rows of a batch."""
    plain, few = placed.plain, {name: column[:ROWS] for name, column in batch.items()}
    plain.structures = dict(placed.objective.structures)
    try:
        with evaluating(plain):
            mixed = mixed_columns(plain, few)
    except (PPVAEError, RuntimeError, ValueError, IndexError):
        return  # A program of as many rows as the batch has; or one that has no gradients.
    finally:
        plain.structures = {}
    if mixed:
        warnings.warn(
            f"model {type(plain.model).__name__} and guide {type(plain.guide).__name__}: expected "
            f"each row to be computed by itself in evaluation mode; got rows that change with "
            f"{mixed} of the rows that they are passed with, and so do encodings and evaluations. "
            "Compute means, sorts and sums over dimensions of one datum, and statistics of all "
            "data before the fit, or with BatchNorm, which keeps them.",
            stacklevel=2,
        )


def _check_classes(placed: Placed, splits: Splits, batch: dict[str, torch.Tensor]) -> None:
    """Try the largest class of all rows, whichever part has it, in a row of the first batch.

    Raises:
        ArgumentError: If the pair has no such class.
        ContractError: If the pair fails with it.
    """
    if "y" not in batch or batch["y"].is_floating_point():
        return
    parts = [part.select("y") for part in splits if part is not None and "y" in part]
    largest = max(int(part.batch(slice(None))["y"].max()) for part in parts)
    if largest > int(batch["y"].max()):
        tried = batch["y"].clone()
        tried[0] = largest
        placed.plain.check({**batch, "y": tried})


def _dtype(module: nn.Module) -> torch.dtype:
    """The dtype that most of the weights have."""
    counts: dict[torch.dtype, int] = {}
    for parameter in module.parameters():
        if parameter.is_floating_point() and not is_lazy(parameter):
            counts[parameter.dtype] = counts.get(parameter.dtype, 0) + parameter.numel()
    return max(counts, key=lambda dtype: counts[dtype]) if counts else torch.get_default_dtype()
