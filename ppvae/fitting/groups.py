"""Separate learning rates for parts of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import Adam, Optimizer

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.fitting.step import can_fuse

__all__ = ["grouped_adam"]


@typed()
def grouped_adam(
    *groups: tuple[Iterable[nn.Parameter], float],
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
) -> Callable[[Iterable[nn.Parameter], float], Optimizer]:
    """Adam with the learning rate multiplied for some parameters.

    Arguments:
        groups: Pairs of parameters and their factor; parameters in no group have factor one.
        betas: Decay rates of Adam's moments.
        weight_decay: Factor of half the squared parameters that is added to the loss.

    Returns:
        Function for the argument ``optimizer`` of :func:`ppvae.fit`.

    Raises:
        ArgumentError: If a parameter is in two groups.
    """
    factors: dict[int, float] = {}
    for parameters, factor in groups:
        for parameter in parameters:
            if id(parameter) in factors:
                raise ArgumentError(
                    "grouped_adam: expected each parameter in one group; got one of shape "
                    f"{tuple(parameter.shape)} in two. Name it once."
                )
            factors[id(parameter)] = factor

    def optimizer(parameters: Iterable[nn.Parameter], learning_rate: float) -> Optimizer:
        by_factor: dict[float, list[nn.Parameter]] = {}
        everything = list(parameters)
        for parameter in everything:
            by_factor.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
        chosen = [{"params": p, "lr": learning_rate * f} for f, p in by_factor.items()]
        return Adam(
            chosen,
            lr=learning_rate,
            betas=betas,
            weight_decay=weight_decay,
            fused=can_fuse(everything),
        )

    return optimizer
