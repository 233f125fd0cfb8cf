r"""Training in phases: which parameters move in which epochs.

A GP prior's kernel may be fixed while the networks train, then trained alone, then together with
them (Casale et al. 2018)::

    kernels = [model.prior]
    networks = [model.decoder, guide.encoder]
    fit(..., callbacks=[Phases(Phase(50, hold=kernels), Phase(10, hold=networks), Phase(None))])

Where the first stage trains another model, as in disjoint training (a VAE, then a GP prior on its
frozen codes), use two fits, the second with ``requires_grad_(False)`` on the networks.

Fixed parameters get no gradient, so that neither they nor their optimiser state change; the
learning-rate schedule goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from ppvae.borders import expect_fields
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.fitting.belonging import refuse_other_parts
from ppvae.fitting.callbacks import comes_with_ppvae
from ppvae.fitting.plain import numbers_and_texts
from ppvae.fitting.training import Training
from ppvae.typing import JsonObject

__all__ = ["Phase", "Phases", "told"]


@dataclass(frozen=True)
class Phase:
    """A number of epochs, and the parameters that are fixed in them.

    Attributes:
        epochs: Number of epochs; None for all that are left.
        hold: Modules or parameters that are not trained.
    """

    epochs: int | None
    hold: Sequence[nn.Module | nn.Parameter] = ()

    def __post_init__(self) -> None:
        expect_fields(self, epochs=at_least(1))

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are fixed."""
        parameters: list[nn.Parameter] = []
        for part in self.hold:
            parameters += [part] if isinstance(part, nn.Parameter) else list(part.parameters())
        return parameters


class Phases:
    """A callback of :func:`ppvae.fit` that goes through phases.

    Arguments:
        phases: Phases in order.
        repeat: Whether to start over after the last phase, rather than stay in it.

    Raises:
        ArgumentError: If a phase has less than one epoch, or a phase without an end is not last;
            at the start of a fit, if a phase leaves no parameter to train, or holds one that is
            no part of what is fitted.
    """

    def __init__(self, *phases: Phase, repeat: bool = False) -> None:
        lengths = [phase.epochs for phase in phases]
        if not phases or any(length is not None and length < 1 for length in lengths):
            raise ArgumentError(
                f"Phases: expected phases of at least one epoch; got {lengths}. "
                "Leave out those that have none."
            )
        if None in (lengths if repeat else lengths[:-1]):
            raise ArgumentError(
                f"Phases: expected a phase without an end to be the last; got {lengths}. "
                "Give the others a number of epochs."
            )
        self.phases = phases
        self.repeat = repeat
        self._training: Training | None = None
        self._handles: list[RemovableHandle] = []

    def phase(self, epoch: int) -> Phase:
        """The phase of an epoch, counted from 0."""
        lengths = [phase.epochs for phase in self.phases]
        if self.repeat:
            epoch %= sum(length for length in lengths if length is not None)
        for phase, length in zip(self.phases, lengths, strict=True):
            if length is None or epoch < length:
                return phase
            epoch -= length
        return self.phases[-1]

    def on_fit_start(self, training: Training) -> None:
        """Begin to hold the parameters of each phase.

        Raises:
            ArgumentError: If a phase leaves no parameter to train, or holds one of something else.
        """
        moved = {id(p) for group in training.optimizer.param_groups for p in group["params"]}
        for number, phase in enumerate(self.phases):
            refuse_other_parts(
                f"Phases, phase {number}",
                phase.parameters(),
                training.objective.parameters(),
                remedy="Make the phases anew for each model.",
            )
            fixed = {id(p) for p in phase.parameters()}
            if fixed >= moved:
                raise ArgumentError(
                    f"Phases: expected something left to train in phase {number}; got every "
                    "parameter held. Hold less."
                )
        self._training = training
        optimizers = [training.optimizer, *(c.optimizer for c in training.step.critics)]
        self._handles = [o.register_step_pre_hook(self._hold) for o in optimizers]

    def on_fit_end(self, training: Training) -> None:
        """Release all parameters."""
        for handle in self._handles:
            handle.remove()

    def _hold(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        assert self._training is not None
        for parameter in self.phase(self._training.epoch).parameters():
            parameter.grad = None


def told(callbacks: Sequence[object], objective: nn.Module) -> JsonObject:
    """Callbacks that may change what is trained, by their types: their numbers and texts.

    Arguments:
        callbacks: The callbacks of a fit.
        objective: What is trained, after whose parts the ones that phases hold are named.
    """
    names = {id(p): name for name, p in objective.named_parameters()}
    found: JsonObject = {}
    for callback in callbacks:
        trains = isinstance(callback, Phases) or not comes_with_ppvae(callback)
        if getattr(callback, "main_process_only", False) or not trains:
            continue
        kind = type(callback).__qualname__
        key = next(k for n in count(1) if (k := kind if n == 1 else f"{kind} {n}") not in found)
        if isinstance(callback, Phases):
            found[key] = {
                "repeat": callback.repeat,
                "epochs": [phase.epochs for phase in callback.phases],
                "hold": [
                    sorted(names.get(id(p), "another") for p in phase.parameters())
                    for phase in callback.phases
                ],
            }
        else:
            found[key] = numbers_and_texts(callback)
    return found
