r"""The likelihood of data under a posterior that is refined for each datum.

An encoder that was not trained on such data, as images at an unseen view, misses the posterior,
and the importance estimate of log p(x) with it (Pareto k far above 0.7). Here each datum has a
normal posterior with a covariance matrix of its own, found by stochastic gradients:

.. math::
    \log p(x_n \mid \mathrm{columns}) \geq \max_{m_n, C_n} \;
        E_{q_n} \log p(x_n \mid z) - \mathrm{KL}(q_n \,\|\, p(z \mid \mathrm{columns})), \qquad
    q_n = N(m_n, C_n C_n^\top)

It starts once from the guide's posterior and once from the datum's prior (for a GP, its
prediction). Where both reach the same bound, the bound can be trusted.

References:
    | Inference Suboptimality in Variational Autoencoders (Cremer, Li and Duvenaud, 2018)
    | https://arxiv.org/abs/1801.03558
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyro
import torch
from pyro.distributions import MultivariateNormal, TorchDistribution
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.distributions.supports import on_reals
from ppvae.errors import ArgumentError
from ppvae.evaluate.likelihood import LikelihoodEstimate, log_likelihood
from ppvae.evaluate.rows import plain_elbo, thinned
from ppvae.expected import above, expect, integer
from ppvae.programs import (
    batches,
    check_pair,
    data_plate,
    evaluating,
    placement,
    sample_sites,
    seeded,
    trace_program,
)
from ppvae.runs.run import Run

__all__ = ["RefinedLikelihood", "refined_log_likelihood"]

# The last learning rate as a share of the first.
FLOOR = 0.02


@dataclass(frozen=True)
class RefinedLikelihood:
    """Estimates for N data, in nats, each with shape (N), on the CPU in float64.

    Attributes:
        rows: Row numbers of the data.
        bound: The larger of the two refined ELBOs, a lower bound of the log likelihood.
        apart: Distance between the two refined ELBOs; small where the refinement has converged.
        log_likelihood: Importance estimate from both refined posteriors.
        pareto_k: The larger Pareto shape of their weights.
        amortized: ELBO under the guide, with shape (N), for comparison.
    """

    rows: Tensor
    bound: Tensor
    apart: Tensor
    log_likelihood: Tensor
    pareto_k: Tensor
    amortized: Tensor


@typed(learning_rate=above(0))
def refined_log_likelihood(
    run: Run,
    data: ColumnsLike,
    *,
    steps: int = 200,
    max_rows: int = 8,
    learning_rate: float = 0.05,
    num_particles: int = 8,
    num_draws: int = 300,
    seed: int = 0,
) -> RefinedLikelihood:
    """The log likelihood of a few data, by a posterior that is refined for each.

    Arguments:
        run: Its model and guide, in evaluation mode; the guide takes x and has one latent vector.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        steps: Steps of Adam from each start.
        max_rows: Number of rows used, evenly spaced; all are refined at once.
        learning_rate: First learning rate; it falls to a fiftieth by a cosine.
        num_particles: Posterior draws per step and datum.
        num_draws: Posterior draws of the final bounds and estimates.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If a number is below 1, or the pair has other latents than one vector of
            real numbers per datum.
        ContractError: As :func:`~ppvae.evaluate.log_likelihood`.
    """
    for name, value in {"steps": steps, "max_rows": max_rows, "num_draws": num_draws}.items():
        expect(integer(1), "Leave it out.", **{name: value})
    columns, rows = thinned(run, data, max_rows)
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        batch = next(batches(run.guide, columns, columns.num_rows))
        site = _site(run, batch)
        amortized = _estimate(run, columns, num_draws, seed).elbo
        estimates = []
        for program in (run.guide, run.model):
            start = sample_sites(trace_program(program, batch))[site]["fn"]
            guide = _Refined(site, start)
            refined = replace(run, guide=guide)
            _refine(refined, columns, batch, steps, learning_rate, num_particles)
            estimates.append(_estimate(refined, columns, num_draws, seed))
    elbos = torch.stack([e.elbo for e in estimates])
    weights = torch.stack([e.log_likelihood for e in estimates])
    return RefinedLikelihood(
        rows=rows,
        bound=elbos.max(0).values,
        apart=(elbos[0] - elbos[1]).abs(),
        log_likelihood=weights.logsumexp(0) - math.log(len(estimates)),
        pareto_k=torch.stack([e.pareto_k for e in estimates]).max(0).values,
        amortized=amortized,
    )


class _Refined(nn.Module):
    """A normal distribution with a covariance matrix for each datum, from a start's moments."""

    def __init__(self, site: str, start: TorchDistribution) -> None:
        super().__init__()
        self.site = site
        self.loc = nn.Parameter(start.mean.detach().clone())
        self.log_scale = nn.Parameter(0.5 * start.variance.detach().log())
        size = self.loc.size(-1)
        # Below the diagonal, in units of the scales.
        self.lower = nn.Parameter(self.loc.new_zeros(*self.loc.shape, size))

    def forward(self, x: Tensor) -> Tensor:
        rows = len(x)
        eye = torch.eye(self.loc.size(-1)).to(self.loc)
        factor = self.log_scale[:rows, :, None].exp() * (self.lower[:rows].tril(-1) + eye)
        with data_plate(x):
            return pyro.sample(self.site, MultivariateNormal(self.loc[:rows], scale_tril=factor))


def _site(run: Run, batch: Mapping[str, Tensor]) -> str:
    """The pair's one latent vector."""
    structure = check_pair(run.model, run.guide, batch, training=False)
    nodes = sample_sites(trace_program(run.guide, batch))
    vectors = [
        name
        for name in structure.latent
        if name not in structure.shared and on_reals(nodes[name]["fn"])
        if nodes[name]["fn"].event_dim == 1 and nodes[name]["value"].dim() == 2
    ]
    if vectors != list(structure.latent) or "x" not in batch:
        raise ArgumentError(
            "refined_log_likelihood: expected one latent vector of real numbers per datum, and a "
            f"guide that takes x; got latents {list(structure.latent)}. Use log_likelihood, and "
            "its Pareto k."
        )
    return vectors[0]


def _refine(
    run: Run,
    columns: Dataset,
    batch: Mapping[str, Tensor],
    steps: int,
    learning_rate: float,
    num_particles: int,
) -> None:
    parameters = list(run.guide.parameters())
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, steps, eta_min=FLOOR * learning_rate
    )
    objective = plain_elbo(run, columns, num_particles=num_particles)
    with torch.enable_grad():
        for _ in range(steps):
            loss = objective(batch).loss
            for parameter, grad in zip(
                parameters, torch.autograd.grad(loss, parameters), strict=True
            ):
                parameter.grad = grad
            optimizer.step()
            schedule.step()


def _estimate(run: Run, columns: Dataset, num_draws: int, seed: int) -> LikelihoodEstimate:
    return log_likelihood(
        run, columns, num_particles=num_draws, batch_size=columns.num_rows, seed=seed
    )
