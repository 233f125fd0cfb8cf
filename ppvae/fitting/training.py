"""A training run under way: what the loop moves, what callbacks see, what a checkpoint holds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ppvae.data import Dataset
from ppvae.errors import ArgumentError
from ppvae.fitting.batches import Feed
from ppvae.fitting.layout import align_state
from ppvae.fitting.record import Fault, Record
from ppvae.fitting.settings import Settings
from ppvae.fitting.step import Step
from ppvae.fitting.tensors import Average, kept_buffers, restore, snapshot
from ppvae.programs import FitHooks, forked, random_states, restore_random_states
from ppvae.runs.history import History

__all__ = ["Best", "Training"]

# How many steps of a long epoch run before their losses are looked at.
READ_EVERY = 500


@dataclass
class Best:
    """The best validation so far.

    Attributes:
        elbo: The plain ELBO there, in nats a datum.
        epoch: The epoch after which it was reached; 0 before the first validation.
        stale: Validations since then.
        tensors: The weights there, if they are to be restored.
    """

    elbo: float = -torch.inf
    epoch: int = 0
    stale: int = 0
    tensors: dict[str, Tensor] | None = None


@dataclass
class Training:
    """What :func:`ppvae.fit` works on; callbacks get it as their one argument.

    Attributes:
        objective: The objective of the model and the guide, in training mode.
        plain: Their plain ELBO, for validation.
        step: One optimiser step.
        feed: Batches of training data.
        train: The training data, on the device where they are resident.
        validation: Likewise, or None.
        settings: The settings of the fit, with all that was left open decided.
        device: Device of the pair and of its batches.
        dtype: Dtype of the floating-point columns.
        epoch: Epochs done.
        steps: Steps done.
        history: One row an epoch.
        means: The last step's means, on the device; reading one waits for the device.
        best: The best validation so far.
        seconds: Spent training and validating.
        stop: Set it to end after this epoch.
    """

    objective: Any
    plain: Any
    step: Step
    feed: Feed
    train: Dataset
    validation: Dataset | None
    settings: Settings
    device: torch.device
    dtype: torch.dtype
    epoch: int = 0
    steps: int = 0
    history: History = field(default_factory=History)
    means: dict[str, Tensor] = field(default_factory=dict)
    best: Best = field(default_factory=Best)
    seconds: float = 0.0
    stop: bool = False

    @property
    def epochs(self) -> int:
        """Number of epochs after which training ends."""
        return self.settings.epochs

    @property
    def batch_size(self) -> int:
        """Data per step."""
        return self.settings.batch_size

    @property
    def seed(self) -> int:
        """Random seed of this run."""
        assert self.settings.seed is not None
        return int(self.settings.seed)

    @property
    def average(self) -> Average | None:
        """The averaged weights, or None."""
        return self.step.average

    @property
    def model(self) -> nn.Module:
        """The generative program."""
        return self.objective.model

    @property
    def guide(self) -> nn.Module:
        """The variational program."""
        return self.objective.guide

    @property
    def optimizer(self) -> Optimizer:
        """The main optimiser."""
        return self.step.optimizer

    @property
    def hooks(self) -> tuple[FitHooks, ...]:
        """The parts of the objective that take part in training."""
        return tuple(self.objective.hooks)

    def _keep(self) -> tuple[dict[str, Tensor], list[Tensor]]:
        averages = self.average.values if self.average is not None else []
        return snapshot(self.objective), [value.clone() for value in averages]

    def _put_back(self, kept: tuple[dict[str, Tensor], list[Tensor]]) -> None:
        restore(self.objective, kept[0])
        for value, good in zip(self.average.values if self.average else [], kept[1], strict=True):
            value.copy_(good)

    def run_epoch(self, on_step_end: Sequence[Any] = ()) -> Fault | None:
        """One pass over the training data; the fault's step counts from the run's first.

        At a fault the weights are put back to what they were when last seen to be good.
        """
        started = time.perf_counter()
        record = Record(self.step.parameters)
        good = self._keep()
        rate = float(self.optimizer.param_groups[0]["lr"])
        compiled = self.step.gradients.compile_seconds
        self.objective.train()
        for batch in self.feed:
            self.means = self.step(batch)
            self.steps += 1
            record.add(self.means, len(next(iter(batch.values()))))
            for hook in on_step_end:
                hook(self)
            if len(record) == READ_EVERY:
                fault = self._read(record, good)
                if fault is not None:
                    return fault
                good = self._keep()
        fault = self._read(record, good)
        if fault is not None:
            return fault
        self.epoch += 1
        self.seconds += time.perf_counter() - started
        self.history.append(
            {"epoch": self.epoch, "step": self.steps, **record.finish()}
            | {"learning_rate": rate, "seconds": self.seconds}
        )
        compile_seconds = self.step.gradients.compile_seconds
        if compile_seconds is not None and compiled is None:
            self.history[-1]["compile_seconds"] = compile_seconds
        return None

    def _read(self, record: Record, good: tuple[dict[str, Tensor], list[Tensor]]) -> Fault | None:
        pending = len(record)
        fault = record.read()
        if fault is None:
            return None
        self._put_back(good)
        return Fault(self.steps - pending + fault.step, fault.name)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """The model and the guide as they would be if training ended now, for predictions.

        In evaluation mode, with averaged weights where there are any, and with the modules that
        know the training data brought up to date. Afterwards weights, buffers, modes and random
        numbers are as they were.
        """
        averaged = self.average.applied() if self.average is not None else nullcontext()
        modes = [(module, module.training) for module in self.objective.modules()]
        buffers = kept_buffers(self.objective)
        with torch.no_grad(), forked(self.device, seed=self.seed), averaged, buffers:
            self.objective.eval()
            try:
                self.settle()
                yield
            finally:
                for module, mode in modes:
                    module.training = mode

    def settle(self) -> None:
        """Bring what predictions need up to date."""
        for hook in self.hooks:
            hook.settle(self.guide, self.train)

    def validate(self) -> None:
        """Add the plain ELBO and its terms on the validation data to the history's last row."""
        assert self.validation is not None
        started = time.perf_counter()
        totals: dict[str, Tensor] = {}
        rows = self.validation.num_rows
        with self.settled():
            for start in range(0, rows, self.batch_size):
                stop = min(start + self.batch_size, rows)
                batch = self.validation.batch(
                    slice(start, stop), dtype=self.dtype, device=self.device
                )
                for name, mean in self.plain(batch).means().items():
                    totals[name] = totals.get(name, 0.0) + mean * ((stop - start) / rows)
            del totals["loss"]
            means = dict(zip(totals, torch.stack([*totals.values()]).tolist(), strict=True))
            if means["elbo"] > self.best.elbo:
                tensors = snapshot(self.objective) if self.settings.restore_best else None
                self.best = Best(means["elbo"], self.epoch, 0, tensors)
            else:
                self.best.stale += 1
        self.seconds += time.perf_counter() - started
        self.history[-1].update({f"val_{name}": value for name, value in means.items()})
        self.history[-1]["seconds"] = self.seconds

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on bit for bit: numbers, strings, lists, dicts and tensors."""
        scheduler = self.step.scheduler
        average = self.average
        return {
            "run": self._identity(),
            "epoch": self.epoch,
            "steps": self.steps,
            "seconds": self.seconds,
            "history": [dict(row) for row in self.history],
            "best": vars(self.best).copy(),
            "tensors": snapshot(self.objective),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler.state_dict() if scheduler is not None else None,
            "critics": [critic.optimizer.state_dict() for critic in self.step.critics],
            "average": [average.steps, *average.values] if average is not None else None,
            "order": self.feed.generator.get_state(),
            "noise": random_states(self.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`.

        Raises:
            ArgumentError: If it is of another model, other data, or another setting that would
                make the result a mixture of two runs.
        """
        mine, theirs = self._identity(), state["run"]
        for name in mine:
            if mine[name] != theirs.get(name):
                raise ArgumentError(
                    f"resume: expected the {name} of the run that stopped, {theirs.get(name)}; "
                    f"got {mine[name]}. Use the same arguments, or start a new run."
                )
        if state["epoch"] > self.epochs:
            raise ArgumentError(
                f"epochs: expected at least the {state['epoch']} of the run that stopped; got "
                f"{self.epochs}. It counts all epochs, those before too."
            )
        restore(self.objective, state["tensors"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.step.scheduler is not None:
            self.step.scheduler.load_state_dict(state["scheduler"])
        for critic, kept in zip(self.step.critics, state["critics"], strict=True):
            critic.optimizer.load_state_dict(kept)
        for optimizer in (self.optimizer, *(critic.optimizer for critic in self.step.critics)):
            align_state(optimizer)
        if self.average is not None:
            self.average.steps, *values = state["average"]
            for value, kept in zip(self.average.values, values, strict=True):
                value.copy_(kept)
        self.epoch, self.steps, self.seconds = state["epoch"], state["steps"], state["seconds"]
        self.history = History(state["history"])
        self.best = Best(**state["best"])
        self.feed.generator.set_state(state["order"])
        restore_random_states(state["noise"], self.device)

    def _identity(self) -> dict[str, Any]:
        """What must agree between a run that stopped and the one that goes on."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "number of training data": self.train.num_rows,
            "device": self.device.type,
            "optimizer": type(self.optimizer).__name__,
            "scheduler": type(self.step.scheduler).__name__,
            "average": self.average.decay if self.average is not None else None,
            "critics": [critic.term.name for critic in self.step.critics],
            "weights": {name: list(p.shape) for name, p in self.objective.named_parameters()},
        }
