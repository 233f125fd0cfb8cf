"""Whether the parameters that an option of a fit was made with are those of the pair fitted."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ppvae.errors import ArgumentError

__all__ = ["refuse_another_optimizer", "refuse_other_parts"]


def refuse_other_parts(
    what: str, named: Iterable[nn.Parameter], own: Iterable[nn.Parameter], *, remedy: str
) -> None:
    """Refuse parameters that are not those of a fit, on which they would have no effect.

    Arguments:
        what: Name of the option or the callback that was made with them.
        named: Parameters that it was made with.
        own: Parameters of the fit.
        remedy: What to do instead.

    Raises:
        ArgumentError: With the shape of the first that is of something else.
    """
    known = {id(parameter) for parameter in own}
    for parameter in named:
        if id(parameter) not in known:
            raise ArgumentError(
                f"{what}: expected parameters of what is fitted; got one of shape "
                f"{tuple(parameter.shape)} of something else, such as another model. {remedy}"
            )


def refuse_another_optimizer(scheduler: LRScheduler, optimizer: Optimizer) -> None:
    """Refuse a learning rate's scheduler that was made for another optimiser.

    Raises:
        ArgumentError: If it moves the rate of no parameter of this one.
    """
    moved = getattr(scheduler, "optimizer", optimizer)
    one, two = (
        {id(p) for group in o.param_groups for p in group["params"]} for o in (moved, optimizer)
    )
    if not one & two:
        raise ArgumentError(
            "schedule: expected a scheduler of the optimiser that it is given; got one of another "
            "optimiser. Make a new one at each call."
        )
