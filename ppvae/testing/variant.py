"""A pair with a batch and an objective, of which laws are functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ppvae.errors import PPVAEError
from ppvae.objectives import ELBO, Objective
from ppvae.programs import copied, forked, hooks_of

__all__ = ["LawError", "Variant", "demand"]


class LawError(PPVAEError, AssertionError):
    """A pair breaks a law; ``str(error)`` says which, and what that means."""


@dataclass(frozen=True)
class Variant:
    """A pair with a batch and an objective.

    Attributes:
        model: The generative program.
        guide: The variational program.
        batch: Columns by name, each with shape (N, ...).
        spec: Objective that is optimised.
        seed: Seed of the laws' random numbers.
    """

    model: nn.Module
    guide: nn.Module
    batch: Mapping[str, Tensor]
    spec: ELBO = ELBO()
    seed: int = 0

    @property
    def rows(self) -> int:
        """N."""
        return len(next(iter(self.batch.values())))

    def copy(self) -> Variant:
        """The same pair with copies of its modules, prepared on the batch."""
        model, guide, spec = copied((self.model, self.guide, self.spec))
        twin = replace(self, model=model, guide=guide, spec=spec)
        for hook in hooks_of(model, guide, *spec.terms):
            hook.prepare(self.batch)
        return twin

    def objective(self, spec: ELBO | None = None) -> Objective:
        """The checked objective of the pair, in training mode."""
        objective = (self.spec if spec is None else spec)(
            self.model, self.guide, num_data=self.rows
        )
        objective.to(next(iter(self.batch.values())).device).train()
        objective.check(self.batch)
        return objective

    def loss(self, spec: ELBO | None = None) -> Tensor:
        """The loss with the seed's noise, with shape ()."""
        objective = self.objective(spec)
        with forked(*self.batch.values(), seed=self.seed + 1):
            return objective(self.batch).loss

    def train(self, steps: int) -> tuple[float, float]:
        """The loss before and after some steps of Adam, both with the same noise."""
        objective = self.objective()
        optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
        losses = []
        for _ in range(steps + 1):
            with forked(*self.batch.values(), seed=self.seed + 1):
                value = objective(self.batch).loss
            losses.append(float(value.detach()))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        return losses[0], losses[-1]

    def values(self) -> list[Tensor]:
        """Copies of all tensors in the pair's state dict."""
        state = nn.ModuleList([self.model, self.guide]).state_dict()
        return [value.clone() for value in state.values()]


def demand(*, that: bool, meaning: str) -> None:
    """Raise :class:`LawError` with the meaning unless that holds.

    Arguments:
        that: What the law demands.
        meaning: What was found, and what it means.
    """
    if not that:
        raise LawError(meaning)
