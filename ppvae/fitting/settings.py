"""The settings of a fit as one value, with their names, defaults, ranges and descriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from ppvae.errors import ArgumentError
from ppvae.expected import FLAG, FUNCTION, NUMBER, NUMBER_SHARE, Rule, above, integer, within
from ppvae.fitting.rates import RateSchedule
from ppvae.fitting.step import adam
from ppvae.runs.run import describe
from ppvae.typing import JsonObject

__all__ = ["Settings", "setting"]


def _at_least(least: int, *, optional: bool = False, remedy: str = "Use the default.") -> Rule:
    return replace(integer(least), optional=optional, remedy=remedy)


def _positive(*, optional: bool = False) -> Rule:
    return replace(within(NUMBER, above(0)), optional=optional)


DECAY = replace(NUMBER_SHARE, words="a decay between 0 and 1", optional=True)
SEED = replace(integer(0), words="an integer from 0 to 2**63 - 1", optional=True)
SWITCH = replace(FLAG, optional=True)
PRECISION = Rule(
    "torch.bfloat16 or None",
    lambda v: v is torch.bfloat16,
    True,
    "float16 would need its losses scaled.",
)
COMPILE = Rule('True, False or "auto"', lambda v: isinstance(v, bool) or v == "auto")
# Devices are checked where one is chosen, as it depends on those that are available.
ANY = Rule("anything", lambda v: True, optional=True)


Default = TypeVar("Default")


def setting(default: Default, rule: Rule) -> Default:
    """A field with its range."""
    value: Default = field(default=default, metadata={"rule": rule})
    return value


@dataclass(frozen=True)
class Settings:
    """The settings of :func:`ppvae.fit`: all arguments but the pair, the data and the callbacks.

    Attributes:
        epochs: Passes over the training data in total, including those before ``resume``.
        batch_size: Rows per step; the last batch of an epoch may be smaller.
        learning_rate: Learning rate passed to ``optimizer``.
        optimizer: Function from parameters and a learning rate to the optimiser; fused Adam by
            default.
        schedule: Learning rate over the steps, such as :func:`ppvae.fitting.cosine`.
        clip_norm: Largest norm of the gradient of all parameters together.
        average: Decay of an exponential moving average of the weights, such as 0.999. The
            averaged weights are validated, and remain at the end.
        validate_every: Epochs between two validations, by the plain ELBO with unit weights.
        patience: Number of successive validations without improvement after which training ends.
        restore_best: Whether the weights of the best validation, rather than the last ones, remain
            at the end. By default if ``patience`` is given; never without validation data.
        seed: Random seed of the order of the data and of the latent noise. By default drawn from
            torch's global generator; recorded in the run.
        device: ``"cuda"``, ``"mps"`` or ``"cpu"``; by default the best one available.
        precision: ``torch.bfloat16`` for mixed precision in training (:class:`torch.autocast`).
        compile: Whether the forward and backward pass are compiled
            (:mod:`ppvae.fitting.compiled.gradients`), including Pyro's handlers; by default if
            there are enough steps for it to pay off. A model that cannot be compiled is trained in
            eager torch, and the log says why. With compilation, everything that a model or guide
            changes from step to step must be a parameter, a buffer or a column.
        resident: Whether the data are kept on the device; by default if they fit and none is
            memory-mapped. Else a torch DataLoader reads them.
        workers: Number of processes that read data which are not resident.
        retries: Number of times that training returns to its last good state and goes on with
            half the learning rate, after a loss, a gradient or a validation that is not finite
            or an ELBO that has exploded; 0 to stop at the first.

    Raises:
        ArgumentError: If a value is out of its range.
    """

    epochs: int = setting(100, _at_least(1))
    batch_size: int = setting(128, _at_least(1))
    learning_rate: float = setting(1e-3, _positive())
    optimizer: Callable[[Iterable[nn.Parameter], float], Optimizer] = setting(adam, FUNCTION)
    schedule: RateSchedule | None = setting(
        None, Rule("a function of an optimiser and a number of steps", callable, optional=True)
    )
    clip_norm: float | None = setting(None, _positive(optional=True))
    average: float | None = setting(None, DECAY)
    validate_every: int = setting(1, _at_least(1))
    patience: int | None = setting(None, _at_least(1, optional=True))
    restore_best: bool | None = setting(None, SWITCH)
    seed: int | None = setting(None, SEED)
    device: str | torch.device | None = setting(None, ANY)
    precision: torch.dtype | None = setting(None, PRECISION)
    compile: bool | Literal["auto"] = setting("auto", COMPILE)
    resident: bool | None = setting(None, SWITCH)
    workers: int = setting(0, _at_least(0, remedy="Use 0."))
    retries: int = setting(3, _at_least(0, remedy="Use 0 to stop at the first."))

    def __post_init__(self) -> None:
        for f in fields(self):
            rule, value = f.metadata["rule"], getattr(self, f.name)
            if not rule.allows(value):
                raise ArgumentError(f"{f.name}: expected {rule.words}; got {value}. {rule.remedy}")

    def keeps_best(self, *, validated: bool) -> bool:
        """Whether the weights of the best validation are left at the end.

        Raises:
            ArgumentError: If they are requested, but there are no validation data.
        """
        if not validated and (self.patience is not None or self.restore_best):
            raise ArgumentError(
                "patience and restore_best: expected validation data; got none. "
                "Pass Splits, such as ppvae.data.split_rows(data), or leave them out."
            )
        return validated and (
            self.patience is not None if self.restore_best is None else self.restore_best
        )

    def to_json(self) -> JsonObject:
        """The values by name, functions as their names; for ``config.json``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors = torch.dtype | torch.device
        return {k: str(v) if isinstance(v, tensors) else describe(v) for k, v in values.items()}
