r"""The amortisation gap: the loss of the ELBO due to one network for all data.

.. math::
    \mathrm{gap}_n = \mathrm{ELBO}_n(q^\star_n) - \mathrm{ELBO}_n(q), \qquad
    \log p(x_n) - \mathrm{ELBO}_n(q) = \underbrace{\mathrm{gap}_n}_{\text{amortisation}}
        + \underbrace{\log p(x_n) - \mathrm{ELBO}_n(q^\star_n)}_{\text{family}}

:math:`q^\star_n` is found by training a copy of the guide on datum n alone for a few steps, which
works for any guide; parameters that global latents depend on are fixed. A large gap calls for a
better encoder; a small gap with a loose bound, for a richer family.

References:
    | Inference Suboptimality in Variational Autoencoders (Cremer, Li and Duvenaud, 2018)
    | https://arxiv.org/abs/1801.03558 (which refines the distribution's parameters directly)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError
from ppvae.evaluate.rows import plain_elbo, thinned
from ppvae.expected import expect, integer
from ppvae.programs import (
    DATA_PLATE,
    batches,
    copied,
    evaluating,
    frames,
    placement,
    sample_sites,
    seeded,
    trace_program,
)
from ppvae.runs.run import Run

__all__ = ["AmortizationGap", "amortization_gap"]

# Number of particles of the two ELBOs that are compared.
JUDGED = 256


@dataclass(frozen=True)
class AmortizationGap:
    """Estimates for N data, in nats, each with shape (N), on the CPU.

    Attributes:
        rows: Row numbers of the data, with shape (N).
        amortized: ELBO under the guide, with shape (N).
        refined: ELBO under the guide refined on each datum, with shape (N).
    """

    rows: Tensor
    amortized: Tensor
    refined: Tensor

    @property
    def gap(self) -> Tensor:
        """``refined - amortized``."""
        return self.refined - self.amortized


def amortization_gap(
    run: Run,
    data: ColumnsLike,
    *,
    steps: int = 100,
    max_rows: int = 16,
    learning_rate: float = 1e-3,
    num_particles: int = 16,
    seed: int = 0,
) -> AmortizationGap:
    """Refine a copy of the guide on single data, and measure the rise of the ELBO.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        steps: Steps of Adam for each datum.
        max_rows: Number of rows used, evenly spaced; each takes ``steps`` steps.
        learning_rate: Learning rate of Adam.
        num_particles: Posterior draws per step.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If ``steps`` or ``max_rows`` is below 1, or if every latent is global.
    """
    expect(integer(1), "Use 100.", steps=steps)
    columns, rows = thinned(run, data, max_rows)
    before, after = [], []
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        for batch in batches(run.guide, columns, 1):
            guide = copied(run.guide).requires_grad_(True)
            judge = plain_elbo(replace(run, guide=guide), columns, num_particles=JUDGED)
            before.append(judge(batch).elbo)
            objective = plain_elbo(replace(run, guide=guide), columns, num_particles=num_particles)
            parameters = _of_single_data(guide, batch)
            optimizer = torch.optim.Adam(parameters, lr=learning_rate)
            with torch.enable_grad():
                for _ in range(steps):
                    loss = objective(batch).loss
                    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
                    for parameter, grad in zip(parameters, grads, strict=True):
                        parameter.grad = grad
                    optimizer.step()
            after.append(judge(batch).elbo)
    return AmortizationGap(rows, torch.cat(before).cpu(), torch.cat(after).cpu())


def _of_single_data(guide: nn.Module, batch: Mapping[str, Tensor]) -> list[nn.Parameter]:
    """The guide's parameters that no global latent depends on.

    The other parameters must not be refined on one datum: its ELBO would rise because the global
    latent would fit that datum alone.
    """
    parameters = list(guide.parameters())
    with torch.enable_grad():
        nodes = sample_sites(trace_program(guide, batch)).values()
        shared = [n for n in nodes if DATA_PLATE not in frames(n)]
        if not shared:
            return parameters
        # The log-density of a Delta has no gradient, but its value has.
        sums = [n["fn"].log_prob(n["value"].detach()).sum() for n in shared]
        sums = [s for s in (*sums, *(n["value"].sum() for n in shared)) if s.requires_grad]
        if not sums:
            return parameters
        total = torch.stack(sums).sum()
        grads = torch.autograd.grad(total, parameters, allow_unused=True)
    kept = [p for p, grad in zip(parameters, grads, strict=True) if grad is None]
    if not kept:
        raise ArgumentError(
            "amortization_gap: expected latents of single data whose posterior has parameters of "
            "its own; got a guide of global latents alone. There is nothing to amortise."
        )
    return kept
