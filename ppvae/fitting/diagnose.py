"""Diagnosis of a diverged training: the term, site and rows, found by repeating the steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppvae.fitting.batches import sizes_of
from ppvae.fitting.compiled.gradients import CompiledGradients
from ppvae.fitting.record import Fault
from ppvae.fitting.step import Gradients
from ppvae.fitting.tensors import kept_buffers
from ppvae.programs import INDEX, forked

if TYPE_CHECKING:
    from ppvae.fitting.training import Training

__all__ = ["diagnose", "loss_of_elbo", "rows_in_words"]


def loss_of_elbo(elbos: Sequence[float]) -> str:
    """What to know of a fit that ended far below its best epoch; empty if it did not.

    Far is more than ten nats, and more than half of what the best epoch had gained on the first.
    A divergence so slow, or so late, that no step is a fault ends like this.

    Arguments:
        elbos: The plain ELBO of each epoch, in nats per datum.
    """
    if len(elbos) < 3:
        return ""
    best, last = max(elbos), elbos[-1]
    if best - last <= max(10.0, 0.5 * (best - elbos[0])):
        return ""
    return (
        f"The ELBO fell from {best:.4g} in epoch {elbos.index(best) + 1} to {last:.4g} at the "
        "end. Unless the objective asks for that, as weights that grow do, the fit has diverged: "
        "lower the learning rate, set clip_norm, or train with restore_best."
    )


def diagnose(training: Training, fault: Fault) -> str:
    """The origin of a fault, in words; empty if the fault does not occur again.

    The steps since the last good state are repeated without callbacks, and those before the fault
    are examined in eager torch. The training is left at such a step; the caller must restore it.
    """
    order = _epoch_order(training)
    last = fault.step - training.steps
    batches = islice(iter(training.feed), training.done, None)
    for number, batch in enumerate(batches):
        if number > last:
            break
        if number >= last - 1:
            rows = order[training.done + number]
            rows = batch[INDEX] if INDEX in batch else rows[training.shards.own(len(rows))]
            words = training.shards.first(_examined(training, batch, rows))
            if words:
                return words
        training.objective.begin(training.steps + number)
        training.step(batch)
    return ""


def _examined(training: Training, batch: dict[str, Tensor], rows: Tensor) -> str:
    gradients = training.step.gradients
    eager = gradients.eager if isinstance(gradients, CompiledGradients) else gradients
    assert isinstance(eager, Gradients)
    named = dict(training.objective.named_parameters())
    with forked(training.device), kept_buffers(training.objective), torch.enable_grad():
        terms, _ = eager.evaluate(batch)
        for what, values in (("log-likelihood", terms.log_likelihood), ("KL", terms.kl)):
            for site, value in values.items():
                bad = ~value.detach().isfinite()
                if bad.any():
                    return f"the {what} of site {site!r} in {rows_in_words(rows[bad], len(bad))}"
        for name, value in terms.extras.items():
            if not value.isfinite():
                return f"the term {name!r}"
        moved = {n: p for n, p in named.items() if p.requires_grad}
        grads = torch.autograd.grad(terms.loss, list(moved.values()), allow_unused=True)
    broken = [
        name
        for name, grad in zip(moved, grads, strict=True)
        if grad is not None and not grad.isfinite().all()
    ]
    return f"the gradient of {', '.join(broken[:3])}" if broken else ""


def _epoch_order(training: Training) -> tuple[Tensor, ...]:
    """Row numbers of each batch of the epoch under way."""
    generator = torch.Generator(training.feed.generator.device)
    generator.set_state(training.order)
    rows = torch.randperm(training.train.num_rows, generator=generator, device=generator.device)
    sizes = sizes_of(training.train.num_rows, training.batch_size)
    batches: tuple[Tensor, ...] = rows.split(sizes)
    return batches


def rows_in_words(rows: Tensor, among: int) -> str:
    """Text with the first of some row numbers, and their count."""
    shown = ", ".join(str(row) for row in rows[:5].tolist())
    return f"rows {shown}{', ...' if len(rows) > 5 else ''} ({len(rows)} of {among})"
