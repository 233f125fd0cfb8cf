"""Programs that seed torch's generator themselves."""

from __future__ import annotations

import torch
from torch import nn

from ppvae.errors import ContractError
from ppvae.programs.threads import own_generators

__all__ = ["marked", "refuse_seeds"]


def marked() -> int | None:
    """Seed the generator with a number that no program would choose, drawn from the caller's.

    Returns:
        The seed; None where the program's draws come from a generator that it cannot seed.
    """
    if own_generators() is not None:
        return None
    mark = int(torch.randint(2**62, ()))
    torch.default_generator.manual_seed(mark)
    return mark


def refuse_seeds(role: str, program: nn.Module, mark: int | None) -> None:
    """Refuse a program that seeds the generator, and so draws the same numbers at every step.

    Arguments:
        role: ``guide`` or ``model``.
        program: The program, which has run since :func:`marked`.
        mark: What that returned.

    Raises:
        ContractError: If the generator has another seed.
    """
    if mark is not None and torch.initial_seed() != mark:
        raise ContractError(
            f"{role} {type(program).__name__}: expected other draws at every step; got a program "
            "that seeds torch's generator, so that all steps have the same noise. Seed the fit, "
            "fit(seed=...), or seed within torch.random.fork_rng()."
        )
