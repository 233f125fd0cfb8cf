"""The properties in which a stopped run and the run that resumes it must agree."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from copy import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from ppvae.errors import ArgumentError, RunError
from ppvae.fitting.contents import contents, difference, layers
from ppvae.fitting.fingerprint import fingerprint
from ppvae.fitting.frozen import (
    MODES,
    TRAINED,
    evaluated,
    refuse_other_names,
    trained,
)
from ppvae.fitting.settings import Settings
from ppvae.fitting.tensors import State, named_tensors
from ppvae.objectives.shards import ALONE
from ppvae.programs import FitHooks, forked
from ppvae.programs.scopes import kept_modes
from ppvae.runs.files import digest_of
from ppvae.runs.probe import differ
from ppvae.runs.run import describe

if TYPE_CHECKING:
    from ppvae.fitting.training import Training

__all__ = [
    "around",
    "check_state",
    "compare_identity",
    "compare_probe",
    "identity",
    "made",
    "probe",
]

logger = logging.getLogger(__name__)

# Properties that checkpoints of earlier versions lack.
NAMES = "names of features, classes and objects"
TERMS, SCHEDULE = "parts of the objective", "parts of the learning rate's schedule"
RATES = "learning rates of the optimiser's groups"
LATER = (NAMES, TERMS, SCHEDULE, RATES, TRAINED, MODES)
# Callbacks of ppvae that train nothing, of which checkpoints of earlier versions tell.
FORMER = ("_Noted", "_Watch")
# Rows whose ELBO shows whether a model computes what it did.
PROBED = 8

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
        TRAINED: trained(training.objective),
        "training data": fingerprint(training.train),
        NAMES: digest_of({name: list(names) for name, names in training.train.names.items()}),
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
        **training.made,
    }


def made(training: Training) -> State:
    """What the objective and the schedule are made of, before the first step.

    Steps, callbacks and retries may change such parts.
    """
    groups = training.optimizer.param_groups
    return {
        TERMS: contents(training.objective.spec),
        SCHEDULE: contents(training.settings.schedule),
        MODES: evaluated(training.objective),
        RATES: [float(group.get("initial_lr", group["lr"])) for group in groups],
    }


def compare_identity(training: Training, state: State) -> None:
    """Refuse a state of another identity, and log which other settings differ.

    Raises:
        ArgumentError: If they differ; the message names the first difference.
    """
    mine, theirs = identity(training), state["run"]
    for name in mine:
        if name in LATER and name not in theirs:
            continue
        if name in (TRAINED, MODES):
            refuse_other_names(name, theirs[name], mine[name])
        elif name in (TERMS, SCHEDULE):
            told = difference(theirs[name], mine[name])
            if told:
                raise ArgumentError(
                    f"resume: expected the {name} of the run that stopped; {told}. Use the same "
                    "arguments, or start a new run."
                )
        elif mine[name] != theirs.get(name):
            raise ArgumentError(
                f"resume: expected the {name} of the run that stopped, {theirs.get(name)}; "
                f"got {mine[name]}. Use the same arguments, or start a new run."
            )
    _log_differences(training.settings, state.get("settings", {}))
    for name, now in training.around.items():
        before = state.get("around", {}).get(name, now)
        if isinstance(before, dict):
            before = {
                k: v for k, v in before.items() if k in now or k.partition(" ")[0] not in FORMER
            }
        told = difference(before, now)
        if told:
            logger.warning(
                "resume: the %s of the run that stopped are other ones (%s), so the result is not "
                "that of one run in one go.",
                *(name, told),
            )


def around(training: Training) -> State:
    """Numbers and texts of the modules, before the first step; callbacks are added by the fit."""
    model, guide = training.model, training.guide
    return {"layers of the model": layers(model), "layers of the guide": layers(guide)}


@torch.no_grad()
def probe(training: Training) -> float | None:
    """The plain ELBO of the first rows at the current weights, with fixed random numbers.

    None if it is not finite or a few rows are no batch of the pair, if several processes share
    the rows, or for a pair that learns from encodings, which are not those of now
    (:meth:`~ppvae.programs.FitHooks.record`, ``settle``).
    """
    learns = any(
        type(hook).record is not FitHooks.record or type(hook).settle is not FitHooks.settle
        for hook in training.objective.hooks
    )
    if learns or training.shards is not ALONE:
        return None
    rows = slice(0, min(PROBED, training.train.num_rows))
    batch = training.train.batch(rows, dtype=training.dtype, device=training.device)
    with forked(training.device, seed=0), kept_modes(training.objective):
        training.objective.eval()
        try:
            value = float(training.plain(batch).elbo.mean())
        except Exception:  # Such as that of a model for batches of one size.
            return None
    return value if math.isfinite(value) else None


def compare_probe(training: Training, before: State, expected: float | None) -> None:
    """Refuse a model or a guide that computes something else than that of a run that stopped.

    Arguments:
        training: The training, with the weights of that run.
        before: State that is restored if it is refused.
        expected: What :func:`probe` returned in that run.

    Raises:
        ArgumentError: If the ELBO differs.
    """
    found = None if expected is None else probe(training)
    if expected is not None and found is not None and differ(found, expected):
        training._put(before)
        raise ArgumentError(
            "resume: expected the model and the guide of the run that stopped, with an ELBO of "
            f"{expected:.6g} in its first rows; got {found:.6g} at the same weights. A layer "
            "without weights, a number that is no parameter or the code differs: use what that "
            "run used, or start a new run."
        )


def _log_differences(settings: Settings, before: State) -> None:
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
    best = state["best"]["tensors"]
    for name, value in {} if best is None else named_tensors(training.objective).items():
        alike = best[name].dtype == value.dtype
        if not alike or (name in parameters and best[name].shape != value.shape):
            raise RunError(f"{name} of the best epoch has another shape or dtype than the weights")
    moving = training._moving()
    for name in ("noise", "order", "average"):
        if not _alike(state[name], moving[name]):
            raise RunError(f"{name} is of another kind or shape")
    scheduler, kept = training.step.scheduler, state["scheduler"]
    # Of another version of torch, a state may have other names.
    strange = [
        name
        for name in (kept or {} if scheduler is not None else {})
        if name not in moving["scheduler"]
        and (hasattr(scheduler, name) or not (name == "verbose" or name.startswith("_")))
    ]
    if strange or not _may_follow(kept, moving["scheduler"]):
        raise RunError("the learning rate's schedule is of another kind")
    count = state["steps"]
    if not (isinstance(count, int) and 0 <= state["done"] <= len(training.feed)):
        raise RunError(f"step {count!r}, batch {state['done']!r}")


def _check_optimizer(optimizer: Optimizer, kept: State) -> None:
    """Check an optimiser's state against its own settings, and against its state after a step.

    A fused step reads the state without checking its shapes.

    Raises:
        RunError: If a value is of another kind or shape, or not finite.
    """
    for mine, theirs in zip(optimizer.param_groups, kept["param_groups"], strict=True):
        _check_alike(theirs, mine, left_out="params")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [number for group in kept["param_groups"] for number in group["params"]]
    expected = _after_a_step(optimizer)
    for number, values in kept["state"].items():
        place = numbers.index(number)
        if expected is not None:
            _check_alike(values, expected[place])
            continue
        for name, value in values.items():
            if isinstance(value, Tensor) and not _fits(value.shape, parameters[place].shape):
                raise RunError(f"the optimiser's {name} has shape {tuple(value.shape)}")


def _fits(shape: torch.Size, parameter: torch.Size) -> bool:
    """Whether a state has a parameter's shape, with 1 where it is that of rows or columns."""
    if not shape:
        return True
    return len(shape) == len(parameter) and all(
        size in (1, full) for size, full in zip(shape, parameter, strict=True)
    )


def _after_a_step(optimizer: Optimizer) -> list[State] | None:
    """The state of each parameter after a step of the optimiser from zero with no gradient.

    None of an optimiser whose step needs more than gradients.
    """
    groups = [
        {**group, "params": [torch.zeros_like(p) for p in group["params"]]}
        for group in optimizer.param_groups
    ]
    parameters = [p for group in groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    probe = copy(optimizer)
    probe.state, probe.param_groups = defaultdict(dict), groups
    try:
        probe.step()
    except Exception:  # Such as LBFGS, which asks for a function.
        return None
    return [probe.state[parameter] for parameter in parameters]


def _check_alike(theirs: State, mine: State, *, left_out: str = "") -> None:
    """Check that values have the names, kinds and shapes of others, and are finite.

    Raises:
        RunError: Naming the first that does not.
    """
    if theirs.keys() != mine.keys():
        raise RunError(f"the optimiser has {sorted(theirs)}, not {sorted(mine)}")
    for name, value in theirs.items():
        if name != left_out and not _alike(value, mine[name]):
            what = f"{tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)[:60]
            raise RunError(f"the optimiser's {name} is {what}, or not finite")


def _alike(value: object, expected: object) -> bool:
    if isinstance(expected, Tensor):
        return (
            isinstance(value, Tensor)
            and (value.shape, value.dtype) == (expected.shape, expected.dtype)
            and bool(value.isfinite().all())
        )
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return math.isfinite(value)
    if isinstance(expected, dict):
        if not isinstance(value, dict) or value.keys() != expected.keys():
            return False
        return all(_alike(value[name], expected[name]) for name in expected)
    if isinstance(expected, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(expected):
            return False
        return all(map(_alike, value, expected))
    return type(value) is type(expected) and bool(value == expected)


def _may_follow(value: object, now: object) -> bool:
    """Whether a state of a schedule may be one of the steps that follow ``now``."""
    if isinstance(now, dict):
        if not isinstance(value, dict) or not all(isinstance(k, str | int) for k in value):
            return False
        return all(_may_follow(value[name], now[name]) for name in value if name in now)
    if isinstance(now, list | tuple):
        if not isinstance(value, list | tuple) or len(value) < len(now):
            return False
        return all(map(_may_follow, value, now))
    if isinstance(now, float) and not math.isfinite(now):
        return isinstance(value, float)
    if isinstance(now, bool) or not isinstance(now, int | float):
        return now is None or type(value) is type(now)
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**60
