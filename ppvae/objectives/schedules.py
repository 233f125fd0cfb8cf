r"""Schedules: a weight as a function of the optimiser step t.

A schedule is called with the step as a tensor () and returns a tensor (), so that a compiled
step is not compiled again when the weight changes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.expected import NUMBER, expect, integer, number

__all__ = [
    "Capacity",
    "Constant",
    "Cosine",
    "Cyclic",
    "Linear",
    "Schedule",
    "as_schedule",
    "zero_from",
]


class Schedule(ABC):
    """A weight as a function of the step."""

    @abstractmethod
    def __call__(self, step: Tensor) -> Tensor:
        """The weight at ``step``, a tensor () in floating point."""


def _check(start: float, end: float, **steps: int) -> None:
    """Refuse weights that are no finite numbers, and numbers of steps below one."""
    expect(NUMBER, "Use 0.", start=start)
    expect(NUMBER, "Use 1.", end=end)
    for name, count in steps.items():
        expect(integer(1), "Use Constant for no ramp.", **{name: count})


@dataclass(frozen=True)
class Constant(Schedule):
    """The same weight at every step.

    Arguments:
        value: The weight.
    """

    value: float

    def __post_init__(self) -> None:
        expect(NUMBER, "Use a finite weight.", weight=self.value)

    def __call__(self, step: Tensor) -> Tensor:
        return step.new_full((), self.value, dtype=torch.get_default_dtype())


@dataclass(frozen=True)
class Ramp(Schedule):
    """Base class of schedules that go from one weight to another; a subclass says how.

    Arguments:
        start: a.
        end: b.
        steps: T, in optimiser steps.
        after: :math:`t_0`, the step at which the ramp begins.
    """

    start: float
    end: float
    steps: int
    after: int = 0

    def __post_init__(self) -> None:
        _check(self.start, self.end, steps=self.steps)
        expect(integer(0), "Use 0.", after=self.after)

    def __call__(self, step: Tensor) -> Tensor:
        fraction = ((step - self.after).to(torch.get_default_dtype()) / self.steps).clamp(0.0, 1.0)
        return self.start + (self.end - self.start) * self.share(fraction)

    @abstractmethod
    def share(self, fraction: Tensor) -> Tensor:
        """The share of b, from 0 to 1, at a fraction of the steps."""


class Linear(Ramp):
    r""":math:`a + (b - a) \min(t / T, 1)`: from ``start`` to ``end`` over ``steps`` steps."""

    def share(self, fraction: Tensor) -> Tensor:
        return fraction


class Cosine(Ramp):
    r""":math:`a + (b - a) (1 - \cos(\pi \min(t / T, 1))) / 2`."""

    def share(self, fraction: Tensor) -> Tensor:
        return 0.5 - 0.5 * torch.cos(math.pi * fraction)


@dataclass(frozen=True)
class Cyclic(Schedule):
    """Repeated linear ramps, each over half of ``period`` steps, then flat.

    Arguments:
        start: Weight at the start of each ramp.
        end: Weight from the end of each ramp on.
        period: Optimiser steps from one ramp to the next.

    References:
        | Cyclical Annealing Schedule (Fu et al., 2019)
        | https://arxiv.org/abs/1903.10145
    """

    start: float
    end: float
    period: int

    def __post_init__(self) -> None:
        _check(self.start, self.end, period=self.period)

    def __call__(self, step: Tensor) -> Tensor:
        phase = (step.to(torch.get_default_dtype()) % self.period) / self.period
        return self.start + (self.end - self.start) * (2 * phase).clamp(0.0, 1.0)


def as_schedule(value: float | Schedule) -> Schedule:
    """A number as a :class:`Constant`; a schedule as it is."""
    if isinstance(value, Schedule):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentError(
            f"weight: expected a number or a Schedule; got {type(value).__name__}. "
            "Use a number, or Linear(start, end, steps)."
        )
    return Constant(float(value))


def zero_from(weight: Schedule) -> int | None:
    """The step from which on a weight is zero: the end of a ramp to zero, else None.

    Arguments:
        weight: The schedule.
    """
    if not isinstance(weight, Ramp) or weight.end != 0:
        return None
    return weight.after + weight.steps


@dataclass(frozen=True)
class Capacity:
    r"""A penalty for a KL off its target: :math:`\gamma | \frac1N \sum_n \mathrm{KL}_n - C(t) |`.

    The absolute value is taken of the batch mean, never of each datum.

    Arguments:
        target: :math:`C(t)` in nats, a number or a schedule such as ``Linear(0, 25, 25_000)``.
        gamma: The weight :math:`\gamma`, a number or a schedule.

    References:
        | Understanding disentangling in beta-VAE (Burgess et al., 2018)
        | https://arxiv.org/abs/1804.03599
        | Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018)
        | https://arxiv.org/abs/1804.00104
    """

    target: float | Schedule
    gamma: float | Schedule = 1.0

    def __post_init__(self) -> None:
        for name, value in (("target", self.target), ("gamma", self.gamma)):
            if isinstance(as_schedule(value), Constant):
                amount = value.value if isinstance(value, Constant) else value
                expect(number(0), "Use nats, and a weight.", **{name: amount})

    def __call__(self, kl: Tensor, step: Tensor) -> Tensor:
        """The penalty () of the KL's batch mean ()."""
        target, gamma = as_schedule(self.target)(step), as_schedule(self.gamma)(step)
        return gamma.to(kl) * (kl - target.to(kl)).abs()
