"""The state of training: changed by the loop, read by callbacks, stored in checkpoints."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ppvae.data import Dataset
from ppvae.fitting.batches import Feed
from ppvae.fitting.diagnose import rows_in_words
from ppvae.fitting.identity import around, made
from ppvae.fitting.layout import align_state
from ppvae.fitting.rates import halve
from ppvae.fitting.record import Best, Fault, Record
from ppvae.fitting.resuming import go_on, saved_state
from ppvae.fitting.settings import Settings
from ppvae.fitting.step import Step
from ppvae.fitting.tensors import (
    Average,
    State,
    copied,
    kept_buffers,
    named_tensors,
    restore,
    snapshot,
)
from ppvae.objectives import Objective
from ppvae.objectives.shards import Shards
from ppvae.programs import forked, random_states, restore_random_states
from ppvae.programs.scopes import kept_modes
from ppvae.runs.history import History
from ppvae.signals import pending_signal
from ppvae.typing import JsonObject

__all__ = ["Best", "Training"]

# Number of steps of a long epoch between two checks of the losses.
READ_EVERY = 500
# Fall of the ELBO, as a multiple of the size of the first one, at which training has diverged.
EXPLODED = 1000.0

logger = logging.getLogger(__name__)


@dataclass
class Training:
    """The state of :func:`ppvae.fit`, which callbacks get as their only argument.

    Attributes:
        objective: Objective of the model and the guide, in training mode.
        plain: Plain ELBO of the model and the guide, for validation.
        step: One optimiser step.
        feed: Batches of training data.
        train: Training data, on the device if they are resident.
        validation: Validation data, or None; on the device if they are resident.
        settings: Settings of the fit, with all defaults resolved.
        device: Device of the pair and of its batches.
        dtype: Dtype of the floating-point columns.
        epoch: Number of epochs done.
        steps: Number of steps done.
        history: History with one row per epoch.
        means: Means of the last step by name, each with shape (), on the device; reading one waits
            for the device.
        best: Best validation so far.
        seconds: Seconds spent training and validating.
        stop: Whether training ends after this epoch; callbacks may set it.
        ended_by: What has set ``stop``: ``"patience"``, or the type of a callback.
        config: Contents of the run's ``config.json``; callbacks may add to it.
        run_id: Id of the run; a resumed run keeps it.
        done: Number of batches done in the current epoch.
        faults: Descriptions of the faults so far.
        reference: Plain ELBO at the first step, in nats per datum; None before.
        rate: Learning rate at the first step of the current epoch.
    """

    objective: Objective
    plain: Objective
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
    ended_by: str = ""
    config: JsonObject = field(default_factory=dict)
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    done: int = 0
    faults: list[str] = field(default_factory=list)
    reference: float | None = None
    rate: float = 0.0

    def __post_init__(self) -> None:
        self.record = Record(self.step.parameters)
        self.order = self.feed.generator.get_state()
        self.made, self.around = made(self), around(self)
        self.good: State | None = None
        self._fault: Fault | None = None

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
    def shards(self) -> Shards:
        """The division of a batch's rows among processes."""
        return self.feed.shards

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

    def run_epoch(self, on_step_end: Sequence[Callable[[Training], object]] = ()) -> Fault | None:
        """Run an epoch, or the rest of one; return the fault that ended it early, if any.

        At a fault, everything is restored to the last good state. A pending signal
        (:mod:`ppvae.signals`) ends the epoch early, too.
        """
        started = time.perf_counter()
        if self.done == 0:
            self.order = self.feed.generator.get_state()
            self.rate = float(self.optimizer.param_groups[0]["lr"])
        self.feed.generator.set_state(self.order)
        self.good = copied(self._moving())
        compiled = self.step.gradients.compile_seconds
        self.objective.train()
        for batch in islice(iter(self.feed), self.done, None):
            self.objective.begin(self.steps)
            self.means = self.step(batch)
            self.steps += 1
            self.done += 1
            self.record.add(self.means, self.shards.count(len(next(iter(batch.values())))))
            for hook in on_step_end:
                hook(self)
            ends = self._fault is not None or pending_signal() is not None
            ends = bool(self.shards.agreed(int(ends), self.steps))
            if self.done % READ_EVERY == 0 or ends:
                ends |= not self._check_all()
                if self._fault is None and self.done < len(self.feed):
                    self.good = copied(self._moving())
            if ends:
                break
        if not self._check_all():
            fault, self._fault = self._fault, None
            self.restore_good()
            return fault
        self.seconds += time.perf_counter() - started
        if self.done == len(self.feed):
            self._end_epoch(compiled=compiled is None)
        return None

    def _end_epoch(self, *, compiled: bool) -> None:
        self.epoch += 1
        self.done = 0
        self.history.append(
            {"epoch": self.epoch, "step": self.steps, **self.record.finish()}
            | {"learning_rate": self.rate, "seconds": self.seconds}
        )
        compile_seconds = self.step.gradients.compile_seconds
        if compile_seconds is not None and compiled:
            self.history[-1]["compile_seconds"] = compile_seconds

    def check(self) -> bool:
        """Wait for the device, and return whether the steps since the last check were good.

        Steps are good if all means are finite and the plain ELBO is not below that of the run's
        first step by more than :data:`EXPLODED` times its size (or ten nats, if that is larger).
        """
        if self._fault is None and len(self.record):
            pending = len(self.record)
            fault = self.record.read()
            if fault is not None:
                self._fault = replace(fault, step=self.steps - pending + fault.step)
            else:
                if self.reference is None:
                    self.reference = self.record.first["elbo"]
                size = max(10.0, abs(self.reference))
                if self.record.recent["elbo"] < self.reference - EXPLODED * size:
                    what = f"{self.record.recent['elbo']:.3g} after {self.reference:.3g} at first"
                    self._fault = Fault(self.steps - 1, "elbo", what)
        return self._fault is None

    def _check_all(self) -> bool:
        """As :meth:`check`, over all processes."""
        self.check()
        self._fault = self.shards.first(self._fault)
        return self._fault is None

    def retry(self, fault: Fault) -> bool:
        """Go on from the last good state with half the learning rate; False if none is left."""
        if len(self.faults) >= self.settings.retries:
            return False
        halve(self.optimizer, self.step.scheduler)
        self.faults.append(fault.words(len(self.feed), self.epochs))
        rate = self.optimizer.param_groups[0]["lr"]
        logger.warning(
            "%s. Training goes on from its last good state, step %d, with the learning rate %g.",
            *(self.faults[-1], self.steps, rate),
        )
        return True

    def _moving(self) -> State:
        """References to everything that a step changes."""
        scheduler, average = self.step.scheduler, self.average
        return {
            "epoch": self.epoch,
            "steps": self.steps,
            "done": self.done,
            "rate": self.rate,
            "reference": self.reference,
            "totals": [self.record.totals, self.record.count],
            "tensors": named_tensors(self.objective),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler.state_dict() if scheduler is not None else None,
            "critics": [critic.optimizer.state_dict() for critic in self.step.critics],
            "average": [average.steps, *average.values] if average is not None else None,
            "order": self.feed.generator.get_state() if self.done == 0 else self.order,
            "noise": random_states(self.device),
        }

    def restore_good(self) -> None:
        """Restore the last good state."""
        assert self.good is not None
        self._put(copied(self.good))
        self.history = History(list(self.history)[: self.epoch])

    def _put(self, state: State) -> None:
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
        self.epoch, self.steps, self.done = state["epoch"], state["steps"], state["done"]
        self.rate, self.reference, self.order = state["rate"], state["reference"], state["order"]
        self.record.drop()
        self.record.totals, self.record.count = state["totals"]
        self.feed.generator.set_state(state["order"])
        restore_random_states(state["noise"], self.device)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """The model and the guide as they would be if training ended now, for predictions.

        They are in evaluation mode, with averaged weights if there are any, and the modules that
        store the training data are updated. On exit weights, buffers, modes and random numbers are
        restored.
        """
        averaged = self.average.applied() if self.average is not None else nullcontext()
        modes, buffers = kept_modes(self.objective), kept_buffers(self.objective)
        with torch.no_grad(), forked(self.device, seed=self.seed), averaged, buffers, modes:
            self.objective.eval()
            self.settle()
            yield

    def settle(self) -> None:
        """Update the state that predictions need."""
        for hook in self.objective.hooks:
            hook.settle(self.guide, self.train)

    def validate(self) -> Fault | None:
        """Add the plain ELBO and its terms on the validation data to the history's last row.

        Returns:
            A fault if one is not finite; the last good state is then restored.
        """
        assert self.validation is not None
        started = time.perf_counter()
        totals: dict[str, Tensor] = {}
        broken = ""
        rows = self.validation.num_rows
        with self.settled():
            for start in range(0, rows, self.batch_size):
                stop = min(start + self.batch_size, rows)
                own = self.shards.own(stop - start)
                at = slice(start + own.start, start + own.stop)
                batch = self.validation.batch(at, dtype=self.dtype, device=self.device)
                terms = self.plain(batch)
                for name, mean in terms.means().items():
                    totals[name] = totals.get(name, 0.0) + mean * ((stop - start) / rows)
                bad = ~terms.elbo.isfinite()
                if not broken and bad.any():
                    numbers = torch.arange(at.start, at.stop, device=bad.device)[bad]
                    broken = rows_in_words(numbers, stop - start)
            del totals["loss"]
            means = dict(zip(totals, torch.stack([*totals.values()]).tolist(), strict=True))
            bad_names = [name for name, value in means.items() if not math.isfinite(value)]
            if not bad_names and means["elbo"] > self.best.elbo:
                tensors = snapshot(self.objective) if self.settings.restore_best else None
                self.best = Best(means["elbo"], self.epoch, 0, tensors)
            elif not bad_names:
                self.best.stale += 1
        broken = self.shards.first(broken)
        if bad_names:
            name = next((n for n in bad_names if n != "elbo"), "elbo")
            detail = f"{broken} of the validation data" if broken else ""
            fault = Fault(self.steps - 1, f"val_{name}", detail=detail)
            self.restore_good()
            return fault
        self.seconds += time.perf_counter() - started
        self.history[-1].update({f"val_{name}": value for name, value in means.items()})
        self.history[-1]["seconds"] = self.seconds
        return None

    def state_dict(self) -> State:
        """All that resuming bit for bit needs: numbers, strings, lists, dicts and tensors."""
        return saved_state(self)

    def load_state_dict(self, state: State) -> None:
        """Go on from :meth:`state_dict`.

        Raises:
            ArgumentError: If the state is of another model, of other data, or has another setting
                that would make the result a mixture of two runs.
            RunError: If the state is damaged; nothing is then changed.
        """
        go_on(self, state)
