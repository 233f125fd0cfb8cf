r"""Bounds of the information between the data and a latent, from the guide's densities.

With one draw :math:`z_i \sim q(z \mid x_i)` for each of N rows,

.. math::
    \underbrace{\frac1N \sum_i \log \frac{q(z_i \mid x_i)}{\frac1N \sum_j q(z_i \mid x_j)}}_{
        \text{lower, at most } \log N}
    \;\leq\; I_q(x; z) \;\leq\;
    \underbrace{\frac1N \sum_i \log \frac{q(z_i \mid x_i)}{\frac1{N-1} \sum_{j \neq i}
        q(z_i \mid x_j)}}_{\text{upper, leave-one-out}}

in expectation. The KL from a prior that is the same for all rows is an upper bound, too. A KL
alone says little: where all data have one and the same posterior, it may be large and the
information nil.

References:
    | On Variational Bounds of Mutual Information (Poole et al., 2019), equations 11 and 13
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pyro.distributions import Delta, TorchDistribution
from torch import Tensor

from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError
from ppvae.evaluate.rows import plain_elbo, thinned
from ppvae.evaluate.sites import sites_of
from ppvae.expected import TEXT, expect, integer
from ppvae.objectives import Context
from ppvae.programs import (
    batches,
    evaluating,
    placement,
    sample_sites,
    seeded,
    trace_program,
)
from ppvae.programs.densities import base_of
from ppvae.runs.run import Run

__all__ = ["Information", "Pairs", "information", "is_same", "posterior_of"]

# Draws at a time; each is scored under the posteriors of all rows.
CHUNK = 128


@dataclass(frozen=True)
class Information:
    """Bounds of the information between rows and a latent, in nats.

    Attributes:
        lower: Lower bound; its largest possible value is ``limit``.
        upper: Upper bound: leave-one-out, or the KL from the prior where that is smaller.
        limit: Logarithm of the number of rows compared.
    """

    lower: float
    upper: float
    limit: float


@dataclass(frozen=True)
class Pairs:
    """Log densities of the draws of N rows, each with shape (N).

    Attributes:
        own: Of each row's draw, under its own posterior.
        mixed: Under the mean of all rows' posteriors.
        others: Under the mean of the other rows' posteriors, where asked for.
    """

    own: Tensor
    mixed: Tensor
    others: Tensor | None

    @classmethod
    def of(cls, q: TorchDistribution, z: Tensor, *, others: bool = False) -> Pairs:
        """Score draws ``z`` of the posteriors ``q`` of N rows under each of them."""
        rows = len(z)
        mixed, left_out = [], []
        for start in range(0, rows, CHUNK):
            part = z[start : start + CHUNK]
            log_q = q.log_prob(part.unsqueeze(1))
            mixed.append(log_q.logsumexp(1) - math.log(rows))
            if not others:
                continue
            at = torch.arange(len(part), device=log_q.device)
            log_q = log_q.index_put((at, at + start), log_q.new_tensor(-math.inf))
            left_out.append(log_q.logsumexp(1) - math.log(max(rows - 1, 1)))
        return cls(q.log_prob(z), torch.cat(mixed), torch.cat(left_out) if others else None)


def information(
    run: Run,
    data: ColumnsLike,
    *,
    site: str = "z",
    num_draws: int = 2,
    max_rows: int = 1000,
    seed: int = 0,
) -> Information:
    """Bounds of the information that a latent has about the rows, under the guide.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        site: A latent site whose posterior depends on the columns alone; a column of this name,
            which holds known values of the latent, is left out.
        num_draws: Draws per datum; of a discrete site all values are taken instead.
        max_rows: Number of rows N, evenly spaced; N squared densities are evaluated per draw.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If there is no such latent site, if its posterior depends on another latent
            or has no density, or if there are fewer than two rows.
    """
    expect(integer(1), num_draws=num_draws)
    expect(TEXT, "Use 'z'.", site=site)
    columns, _ = thinned(run, data, max_rows)
    columns = columns.select(*(name for name in columns if name != site))
    rows = columns.num_rows
    if rows < 2:
        raise ArgumentError(
            f"data: expected two rows or more to tell apart; got {rows}. Pass more rows."
        )
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        q, context = posterior_of(run, columns, site)
        draws, p = _draws(q, num_draws), context.p[site]
        sums = [0.0, 0.0, 0.0]
        for z, weight in draws:
            log = Pairs.of(q, z, others=True)
            assert log.others is not None
            rate = log.own - p.log_prob(z) if is_same(p, z) else torch.full_like(log.own, math.inf)
            for i, bound in enumerate((log.own - log.mixed, log.own - log.others, rate)):
                sums[i] += float(torch.where(weight > 0, bound * weight, 0.0).double().mean())
    lower, upper, kl = sums
    if not math.isfinite(lower):
        raise ArgumentError(
            f"site {site!r}: expected a posterior with a density or probabilities; got "
            f"{type(q).__name__}. Choose another site."
        )
    # Rounding: the bounds coincide where the posteriors do.
    return Information(max(lower, 0.0), max(min(upper, kl), lower, 0.0), math.log(rows))


def posterior_of(run: Run, columns: Dataset, site: str) -> tuple[TorchDistribution, Context]:
    """A latent's posterior, one distribution per row, from one pass over all the columns.

    Arguments:
        run: Its model and guide.
        columns: Rows, all taken at once.
        site: A latent site.

    Raises:
        ArgumentError: If there is no such latent site, if it has not one distribution per row or
            no density, or if its posterior depends on another latent.
    """
    batch = next(batches(run.guide, columns, columns.num_rows))
    latent = sites_of(run, {k: v[:1] for k, v in batch.items()}).structure.latent
    if site not in latent:
        raise ArgumentError(
            f"site: expected one of the latent sites {list(latent)}; got {site!r}. "
            "Name one of them."
        )
    _, context = plain_elbo(run, columns).evaluate(batch)
    q = context.q[site]
    if tuple(q.batch_shape) != (columns.num_rows,):
        raise ArgumentError(
            f"site {site!r}: expected one distribution per datum; got batch shape "
            f"{tuple(q.batch_shape)}. Choose a site in the data plate that depends on no "
            "enumerated one."
        )
    if isinstance(base_of(q), Delta):
        raise ArgumentError(
            f"site {site!r}: expected a posterior with a density or probabilities; got a point "
            "(Delta) per datum, whose KL and information have no finite value. Choose another "
            "site, or a guide that draws this one from a distribution such as Normal."
        )
    again = sample_sites(trace_program(run.guide, batch))[site]["fn"]
    z = q().detach()
    # Up to rounding: a flow keeps the density of its own draws.
    if not torch.allclose(q.log_prob(z), again.log_prob(z), rtol=1e-3, atol=1e-3):
        raise ArgumentError(
            f"site {site!r}: expected a posterior that depends on the columns alone; got one "
            "that depends on another latent. Choose that one."
        )
    return q, context


def _draws(q: TorchDistribution, num_draws: int) -> list[tuple[Tensor, Tensor]]:
    """Draws and their weights, with shape (N): of discrete sites all values, by probability."""
    if q.has_enumerate_support:
        values = list(q.enumerate_support(expand=True))
        return [(z, q.log_prob(z).exp()) for z in values]
    # By a call: a flow of pyro.contrib.zuko has no other way.
    draws = [q().detach() for _ in range(num_draws)]
    return [(z, torch.full((len(z),), 1 / num_draws, device=z.device)) for z in draws]


def is_same(p: TorchDistribution, z: Tensor) -> bool:
    """Whether a prior is the same for all rows.

    Arguments:
        p: The prior, with batch shape (N).
        z: Values of the latent, with shape (N, ...).
    """
    return torch.allclose(p.log_prob(z.flip(0)), p.log_prob(z).flip(0))
