r"""Learning rates over a whole run: ``schedule(optimizer, total_steps)`` for :func:`ppvae.fit`.

Each is a closed form of the step, :math:`\eta_t = \eta \, f(t / T)`, so that a resumed run goes
on exactly where it stopped. A function that returns a torch LRScheduler may be used; it is
advanced at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ppvae.borders import typed
from ppvae.errors import ArgumentError

__all__ = ["RateSchedule", "constant", "cosine", "halve", "one_cycle", "warmup_cosine"]

RateSchedule = Callable[[Optimizer, int], LRScheduler]


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """:math:`f = 1`.

    Arguments:
        optimizer: Optimiser whose learning rate is scheduled.
        total_steps: T, the steps of the whole run.
    """
    return LambdaLR(optimizer, lambda step: 1.0)


def cosine(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    r""":math:`f = (1 + \cos(\pi t / T)) / 2`: from the learning rate down to zero.

    Arguments:
        optimizer: Optimiser whose learning rate is scheduled.
        total_steps: T, the steps of the whole run.

    References:
        | SGDR: Stochastic Gradient Descent with Warm Restarts (Loshchilov and Hutter, 2016)
        | https://arxiv.org/abs/1608.03983
    """
    return LambdaLR(optimizer, lambda step: _fall(step, total_steps))


@typed()
def warmup_cosine(warmup: float = 0.05, *, floor: float = 0.0) -> RateSchedule:
    r"""A linear rise over the share ``warmup`` of the steps, then a cosine down to ``floor``.

    Arguments:
        warmup: Share of the steps with a rising rate, between zero and one.
        floor: Final rate, as a share of the learning rate.

    Raises:
        ArgumentError: If either is not a share.
    """
    if not (0 <= warmup < 1 and 0 <= floor <= 1):
        raise ArgumentError(
            f"warmup_cosine: expected 0 <= warmup < 1 and 0 <= floor <= 1; got {warmup} and "
            f"{floor}. Use the defaults."
        )

    def schedule(optimizer: Optimizer, total_steps: int) -> LRScheduler:
        rise = max(1, round(warmup * total_steps)) if warmup else 0

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return floor + (1 - floor) * _fall(step - rise, total_steps - rise)

        return LambdaLR(optimizer, factor)

    return schedule


def one_cycle(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    r"""A cosine up from 1/25 over the first 30 % of the steps, then a cosine down to nearly zero.

    Arguments:
        optimizer: Optimiser whose learning rate is scheduled.
        total_steps: T, the steps of the whole run.

    References:
        | Super-Convergence (Smith and Topin, 2017)
        | https://arxiv.org/abs/1708.07120
        | Without the paper's cycle of the momentum.
    """
    low, last = 1 / 25, 1 / 25e4
    rise = max(1, round(0.3 * total_steps))

    def factor(step: int) -> float:
        if step < rise:
            return 1.0 + (low - 1.0) * _fall(step, rise)
        return last + (1.0 - last) * _fall(step - rise, total_steps - rise)

    return LambdaLR(optimizer, factor)


def halve(optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
    """Halve the learning rate from here on, including the rest of its schedule."""
    for group in optimizer.param_groups:
        for name in ("lr", "initial_lr"):
            if name in group:
                group[name] = group[name] / 2
    if scheduler is not None:
        scheduler.base_lrs = [rate / 2 for rate in getattr(scheduler, "base_lrs", [])]


def _fall(step: int, steps: int) -> float:
    """A cosine from one at step 0 to zero at ``steps``."""
    return 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0)))
