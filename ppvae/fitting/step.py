"""One optimiser step: from a batch to the means of its terms, without waiting for the device.

A :class:`Step` consists of three parts that are independent of each other:

- ``gradients``: batch to means, leaving gradients on the parameters (:class:`Gradients`: forward
  and backward in eager torch; :class:`~ppvae.fitting.compiled.gradients.CompiledGradients`: both
  compiled);
- the update: clipping, optimiser, learning rate, the objective's own step;
- the critics (:class:`Critic`): each trained by its own optimiser on this step's samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ppvae.errors import ArgumentError
from ppvae.fitting.direct import Update
from ppvae.fitting.tensors import Average
from ppvae.objectives import Context, Objective, Term, Terms

__all__ = ["Critic", "Gradients", "Step", "adam", "split_parameters"]

Batch = Mapping[str, Tensor]
Means = dict[str, Tensor]


class GradientFunction(Protocol):
    """A function from a batch to means that sets the parameters' gradients."""

    @property
    def captured(self) -> bool:
        """Whether gradients are left in the same place at each step."""

    @property
    def compile_seconds(self) -> float | None:
        """Seconds spent compiling; None if nothing was compiled, or not yet."""

    def __call__(self, batch: Batch) -> tuple[Means, Context | None]: ...

    def mark(self) -> None:
        """Keep the numbers of the modules as they are, before a callback."""

    def notice(self) -> None:
        """Take note of what a callback may have changed since."""


def adam(parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """Adam in one fused kernel, where the device has one.

    Arguments:
        parameters: Parameters to train.
        lr: Learning rate.
    """
    trained = list(parameters)
    return Adam(trained, lr=lr, fused=can_fuse(trained))


def can_fuse(parameters: Sequence[Tensor]) -> bool:
    """Whether the parameters' device has a fused kernel for Adam."""
    return all(p.is_floating_point() and p.device.type in _FUSED for p in parameters)


_FUSED = ("cuda", "cpu", "mps")


def split_parameters(objective: nn.Module) -> tuple[list[nn.Parameter], list[Term]]:
    """The parameters of the main optimiser, each once, and the terms that have critics.

    Raises:
        ArgumentError: If there is nothing to train, or if a critic shares a parameter with the
            model, the guide or another critic.
    """
    terms = [m for m in getattr(objective, "terms", ()) if isinstance(m, Term)]
    with_critics = [term for term in terms if any(True for _ in term.critic_parameters())]
    owners: dict[int, str] = {
        id(p): role
        for role in ("model", "guide")
        if isinstance(getattr(objective, role, None), nn.Module)
        for p in getattr(objective, role).parameters()
    }
    critics = set()
    for term in with_critics:
        for parameter in term.critic_parameters():
            if owners.get(id(parameter), term.name) != term.name:
                raise ArgumentError(
                    f"critic of {term.name!r}: expected parameters of its own; got one that "
                    f"belongs to {owners[id(parameter)]!r} too. Give the critic its own network."
                )
            owners[id(parameter)] = term.name
            critics.add(id(parameter))
    main = [p for p in objective.parameters() if p.requires_grad and id(p) not in critics]
    if not main:
        raise ArgumentError(
            "parameters: expected some to train; got none that requires a gradient. "
            "Unfreeze part of the model or the guide."
        )
    return main, with_critics


class Gradients:
    """Forward and backward of one batch in eager torch.

    Arguments:
        objective: The :class:`~ppvae.objectives.Objective`.
        parameters: Parameters to set ``.grad`` of; no other parameter is changed.
        precision: Dtype for :class:`torch.autocast`, or None.
        context: Whether to return the context of the evaluation, which critics need.

    Attributes:
        captured: False: gradients are new at each step.
        compile_seconds: None: nothing is compiled.
    """

    captured = False
    compile_seconds: float | None = None

    def __init__(
        self,
        objective: Objective,
        parameters: Sequence[nn.Parameter],
        *,
        precision: torch.dtype | None = None,
        context: bool = False,
    ) -> None:
        self.objective = objective
        self.parameters = list(parameters)
        self.device_type = self.parameters[0].device.type
        self.precision = precision
        self.context = context

    def __call__(self, batch: Batch) -> tuple[Means, Context | None]:
        terms, context = self.evaluate(batch)
        self.objective.shards.backward(terms.loss, self.parameters)
        return terms.means(), context if self.context else None

    def mark(self) -> None:
        """Nothing, as in :meth:`notice`."""

    def notice(self) -> None:
        """Nothing: an eager step reads all anew."""

    def evaluate(self, batch: Batch) -> tuple[Terms, Context]:
        """The forward pass alone."""
        mixed = (
            nullcontext()
            if self.precision is None
            else torch.autocast(self.device_type, dtype=self.precision)
        )
        with mixed:
            return self.objective.evaluate(batch)


class Critic:
    """Training of one term's critic on the samples of each step.

    Arguments:
        term: A term with :meth:`~ppvae.objectives.Term.critic_parameters`.
        optimizer: Function that makes the critic's optimiser.
    """

    def __init__(
        self, term: Term, optimizer: Callable[[Iterable[nn.Parameter], float], Optimizer] = adam
    ) -> None:
        self.term = term
        self.parameters = list(term.critic_parameters())
        self.optimizer = optimizer(self.parameters, term.critic_learning_rate)

    def __call__(self, context: Context) -> Means:
        context = context.detach()
        for _ in range(self.term.critic_updates):
            loss = self.term.critic_loss(context)
            context.shards.backward(loss, self.parameters)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return {f"critic/{self.term.name}": loss.detach()}


class Advancing(Protocol):
    """An object that counts optimiser steps."""

    def advance(self) -> None:
        """Count one step."""


class Step:
    """A function from a batch to means that updates the weights once.

    Arguments:
        objective: Objective, with a method ``advance`` that counts the step.
        gradients: Function that sets the gradients of ``parameters``.
        parameters: Parameters of ``optimizer``.
        optimizer: Optimiser of the parameters.
        scheduler: Learning-rate schedule, or None.
        clip_norm: Largest norm of all gradients together.
        average: Average of the weights to update, or None.
        critics: Critics, trained after the update of the weights.
    """

    def __init__(
        self,
        objective: Advancing,
        gradients: GradientFunction,
        parameters: Sequence[nn.Parameter],
        optimizer: Optimizer,
        *,
        scheduler: LRScheduler | None = None,
        clip_norm: float | None = None,
        average: Average | None = None,
        critics: Sequence[Critic] = (),
    ) -> None:
        self.objective = objective
        self.gradients = gradients
        self.parameters = list(parameters)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.clip_norm = clip_norm
        self.average = average
        self.critics = list(critics)
        self._update = Update(optimizer, replayed=lambda: gradients.captured)

    def __call__(self, batch: Batch) -> Means:
        means, context = self.gradients(batch)
        self.update()
        if context is not None:
            for critic in self.critics:
                means |= critic(context)
        return means

    def update(self) -> None:
        """Update the weights with their current gradients."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self._update()
        for parameter in self.parameters:
            parameter.grad = None
        if self.scheduler is not None:
            self.scheduler.step()
        if self.average is not None:
            self.average.update()
        self.objective.advance()
