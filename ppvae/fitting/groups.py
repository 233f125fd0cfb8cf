"""Separate learning rates for parts of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import nn
from torch.optim import Adam, Optimizer

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.fitting.belonging import refuse_other_parts
from ppvae.fitting.step import can_fuse

__all__ = ["GroupedAdam", "grouped_adam"]


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
        ArgumentError: If a parameter is in two groups; when the function is called, if one is
            not among the parameters to train, unless it is frozen.
    """
    factors: dict[int, float] = {}
    named: list[nn.Parameter] = []
    for parameters, factor in groups:
        for parameter in parameters:
            if id(parameter) in factors:
                raise ArgumentError(
                    "grouped_adam: expected each parameter in one group; got one of shape "
                    f"{tuple(parameter.shape)} in two. Name it once."
                )
            factors[id(parameter)] = factor
            named.append(parameter)
    return GroupedAdam(named, list(factors.values()), betas=betas, weight_decay=weight_decay)


class GroupedAdam:
    """The function that :func:`grouped_adam` returns.

    Arguments:
        named: Parameters with a factor.
        factors: The factor of each.
        betas: Decay rates of Adam's moments.
        weight_decay: Factor of half the squared parameters that is added to the loss.
    """

    def __init__(
        self,
        named: Sequence[nn.Parameter],
        factors: Sequence[float],
        *,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        self.named = named
        self.factors = factors
        self.betas = betas
        self.weight_decay = weight_decay

    def __call__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> Optimizer:
        """Make Adam for parameters.

        Raises:
            ArgumentError: If a parameter with a factor is not among them, unless it is frozen.
        """
        everything = list(parameters)
        self.check(everything, [p for p in self.named if p.requires_grad])
        pairs = zip(self.named, self.factors, strict=True)
        factors = {id(parameter): factor for parameter, factor in pairs}
        by_factor: dict[float, list[nn.Parameter]] = {}
        for parameter in everything:
            by_factor.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
        chosen = [{"params": p, "lr": learning_rate * f} for f, p in by_factor.items()]
        return Adam(
            chosen,
            lr=learning_rate,
            betas=self.betas,
            weight_decay=self.weight_decay,
            fused=can_fuse(everything),
        )

    def check(
        self, own: Iterable[nn.Parameter], named: Iterable[nn.Parameter] | None = None
    ) -> None:
        """Refuse parameters of something else than what is fitted.

        Arguments:
            own: Parameters of what is fitted.
            named: Parameters to check; by default all that have a factor.

        Raises:
            ArgumentError: If there is one.
        """
        refuse_other_parts(
            "grouped_adam",
            self.named if named is None else named,
            own,
            remedy="Make it anew for each model; a critic has a learning rate of its own.",
        )
