"""Parameters that are not trained and modules in evaluation mode, by which two runs may differ."""

from __future__ import annotations

import inspect
from types import FunctionType

from torch import nn

from ppvae.errors import ArgumentError
from ppvae.fitting.plain import trainable
from ppvae.programs.scopes import kept_modes

__all__ = ["MODES", "TRAINED", "evaluated", "refuse_other_names", "trained"]

TRAINED, MODES = "trained parameters", "modules in evaluation mode"
# Number of names in a message.
SHOWN = 4


def trained(objective: nn.Module) -> list[str]:
    """The names of the parameters that require a gradient."""
    return sorted(name for name, moves in trainable(objective).items() if moves)


def evaluated(objective: nn.Module) -> list[str]:
    """The names of the modules that stay in evaluation mode while an objective is trained.

    Left out are those that compute the same in both modes, such as linear layers: some of GPyTorch
    are shared by all models of a process, and so in the mode of another one.
    """
    with kept_modes(objective):
        objective.train()
        parts = dict(objective.named_modules())
        return sorted(n for n, part in parts.items() if not part.training and _minds(type(part)))


def _minds(cls: type) -> bool:
    """Whether the methods of a module read its mode."""
    own = [vars(base) for base in cls.__mro__ if base not in (nn.Module, object)]
    found = [value for attributes in own for value in attributes.values()]
    methods = [inspect.unwrap(getattr(value, "fget", value)) for value in found]
    return any("training" in m.__code__.co_names for m in methods if isinstance(m, FunctionType))


def refuse_other_names(what: str, before: object, now: object) -> None:
    """Refuse parameters frozen, or modules in evaluation mode, in one of two runs alone.

    Arguments:
        what: :data:`TRAINED` or :data:`MODES`.
        before: Their names in the run that stopped.
        now: Their names in the run that resumes it.

    Raises:
        ArgumentError: Naming some of them.
    """
    then, here = ({*map(str, v)} if isinstance(v, list) else set[str]() for v in (before, now))
    if then == here:
        return
    if what == TRAINED:
        kind, alone = "frozen", (here - then, then - here)
        remedy = "Freeze what was frozen in that run (requires_grad_), and nothing else"
    else:
        kind, alone = "in evaluation mode", (then - here, here - then)
        remedy = "Call train() on the pair, then eval() on the parts that were so in that run"
    told = [
        f"{kind} {where} alone: {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"
        for where, names in zip(("in that run", "now"), map(_outermost, alone), strict=True)
        if names
    ]
    raise ArgumentError(
        f"resume: expected the {what} of the run that stopped; got other ones, "
        f"{'; '.join(told)}. {remedy}, or start a new run."
    )


def _outermost(names: set[str]) -> list[str]:
    """The names that are inside none of the others."""
    return sorted(
        name
        for name in names
        if not any(name[:end] in names for end, mark in enumerate(name) if mark == ".")
    )
