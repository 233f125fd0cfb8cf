"""The properties in which a stopped run and the run that resumes it must agree."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppvae.errors import ArgumentError, RunError
from ppvae.fitting.fingerprint import fingerprint
from ppvae.fitting.settings import Settings
from ppvae.fitting.tensors import State, named_tensors
from ppvae.runs.run import describe

if TYPE_CHECKING:
    from ppvae.fitting.training import Training

__all__ = ["check_state", "compare_identity", "identity", "state_differences"]

logger = logging.getLogger(__name__)

# Settings that may differ; the result then is not that of one run in one go, as the log says.
_MAY_DIFFER = ("validate_every", "patience", "restore_best", "retries", "compile", "workers")


def identity(training: Training) -> State:
    """The properties that would make the result a mixture of two runs if they differed."""
    settings, step = training.settings, training.step
    validation = training.validation
    groups = training.optimizer.param_groups
    moving = ("params", "lr", "initial_lr")
    return {
        "seed": training.seed,
        "batch_size": training.batch_size,
        "number of training data": training.train.num_rows,
        "device": training.device.type,
        "optimizer": type(training.optimizer).__name__,
        "scheduler": type(step.scheduler).__name__,
        "average": settings.average,
        "critics": [critic.term.name for critic in step.critics],
        "weights": {name: list(p.shape) for name, p in training.objective.named_parameters()},
        "training data": fingerprint(training.train),
        "validation data": None if validation is None else fingerprint(validation),
        "objective": describe(training.objective.spec),
        "learning_rate": settings.learning_rate,
        "clip_norm": settings.clip_norm,
        "schedule": describe(settings.schedule),
        "precision": str(settings.precision),
        "optimizer's settings": [
            {name: repr(value) for name, value in group.items() if name not in moving}
            for group in groups
        ],
    }


def compare_identity(mine: State, theirs: State) -> None:
    """Refuse an identity that differs from another.

    Raises:
        ArgumentError: If they differ; the message names the first difference.
    """
    for name in mine:
        if mine[name] != theirs.get(name):
            raise ArgumentError(
                f"resume: expected the {name} of the run that stopped, {theirs.get(name)}; "
                f"got {mine[name]}. Use the same arguments, or start a new run."
            )


def state_differences(settings: Settings, before: State) -> None:
    """Log which other settings differ from those of the run that stopped."""
    now = settings.to_json()
    names = [*_MAY_DIFFER, *(["epochs"] if settings.schedule is not None else [])]
    for name in names:
        if name in before and before[name] != now[name]:
            logger.warning(
                "resume: %s is %s; it was %s in the run that stopped, so the result is not that "
                "of one run in one go.",
                *(name, now[name], before[name]),
            )


def check_state(training: Training, state: State) -> None:
    """Check the shapes and dtypes of a state's tensors, and that its weights are finite.

    Raises:
        RunError: If one does not fit.
    """
    parameters = dict(training.objective.named_parameters())
    for name, value in named_tensors(training.objective).items():
        offered = state["tensors"][name]
        if offered.dtype != value.dtype:
            raise RunError(f"{name} has dtype {offered.dtype}, not {value.dtype}")
        if name in parameters and offered.shape != value.shape:
            raise RunError(f"{name} has shape {tuple(offered.shape)}, not {tuple(value.shape)}")
        if name in parameters and not offered.isfinite().all():
            raise RunError(f"{name} is not finite")
    optimizers = [training.optimizer, *(critic.optimizer for critic in training.step.critics)]
    states = [state["optimizer"], *state["critics"]]
    for optimizer, kept in zip(optimizers, states, strict=True):
        _check_optimizer(optimizer, kept)
    count = state["steps"]
    if not (isinstance(count, int) and 0 <= state["done"] <= len(training.feed)):
        raise RunError(f"step {count!r}, batch {state['done']!r}")


def _check_optimizer(optimizer: torch.optim.Optimizer, kept: State) -> None:
    """Check the optimiser's state, as a fused step reads it without checking its shape."""
    mine = [p for group in optimizer.param_groups for p in group["params"]]
    theirs = [number for group in kept["param_groups"] for number in group["params"]]
    for number, values in kept["state"].items():
        parameter = mine[theirs.index(number)]
        for name, value in values.items():
            if not isinstance(value, Tensor):
                continue
            if value.dim() and (name == "step" or value.shape != parameter.shape):
                raise RunError(f"the optimiser's {name} has shape {tuple(value.shape)}")
            if value.is_complex() or not value.isfinite().all():
                raise RunError(f"the optimiser's {name} holds what is no finite number")
    for mine_group, their_group in zip(optimizer.param_groups, kept["param_groups"], strict=True):
        if mine_group.keys() != their_group.keys():
            raise RunError(f"the optimiser has settings {sorted(their_group)}")
