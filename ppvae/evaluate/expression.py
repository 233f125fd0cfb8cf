r"""Gene expression in a fitted VAE of counts: shares of the library, and differences.

.. math::
    \rho_{ng} \sim q(z \mid x_n), \qquad
    P_g = P\left(|\log_2 \rho_{ag} - \log_2 \rho_{bg}| > \delta\right)

for cells a and b of two groups. Genes are called in the order of :math:`P_g`; the expected share
of false calls among the first k is the mean of :math:`1 - P_g` over them.

References:
    | scVI (Lopez et al., 2018), https://doi.org/10.1038/s41592-018-0229-2
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from ppvae.data.mapped import ColumnsLike
from ppvae.distributions import Counts
from ppvae.errors import ArgumentError
from ppvae.evaluate.scores import expect_same_length
from ppvae.evaluate.scoring import interval as central
from ppvae.expected import NUMBER, NUMBER_SHARE, REAL_ROWS, expect, integer
from ppvae.programs import batches, evaluating, placement, seeded, trace_program, tracing
from ppvae.programs.sites import nodes_of
from ppvae.runs.run import Run

__all__ = [
    "DifferentialExpression",
    "Expression",
    "batch_mixing",
    "differential_expression",
    "normalized_expression",
    "share_draws",
]


@torch.no_grad()
def share_draws(
    run: Run, data: ColumnsLike, *, num_draws: int = 25, batch_size: int = 256, seed: int = 0
) -> Tensor:
    r"""Posterior draws of the normalised expression :math:`\rho`, with shape (S, N, G).

    Arguments:
        run: Run of a count model with a library, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        num_draws: S.
        batch_size: Rows at a time.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If the likelihood is not one of counts with a library.
    """
    parts = [fn.log_share.exp().cpu() for fn, _ in _drawn(run, data, num_draws, batch_size, seed)]
    return torch.cat(parts, 1)


def _drawn(
    run: Run, data: ColumnsLike, num_draws: int, batch_size: int, seed: int
) -> Iterator[tuple[Counts, Tensor]]:
    """The likelihood of each batch given draws of its latents, (S, N | G), and its counts."""
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        for batch in batches(run.guide, data, batch_size):
            with tracing(), pyro.plate("draws", num_draws, dim=-2):
                guide = trace_program(run.guide, batch)
                model = trace_program(run.model, batch, replay=guide)
            site = nodes_of(model)["x"]
            if not isinstance(site["fn"], Counts):
                raise ArgumentError(
                    f"run: expected a likelihood of counts with a library; got {site['fn']}. "
                    "Fit with --likelihood negative-binomial."
                )
            yield site["fn"], site["value"]


@dataclass(frozen=True)
class Expression:
    """Expression of G genes in N cells, by the names that scvi-tools has for it.

    Attributes:
        px_scale: Posterior mean of the normalised expression, the share of the library, (N, G).
        lower: Lower end of its central interval.
        upper: Upper end of that interval.
        px_rate: Posterior mean of the expected count, without zero inflation, (N, G).
        px_r: Posterior mean of the inverse dispersion, (N, G); None for a Poisson.
        px_dropout: Posterior mean of the probability that a count is replaced by zero, (N, G);
            None without zero inflation.
    """

    px_scale: Tensor
    lower: Tensor
    upper: Tensor
    px_rate: Tensor
    px_r: Tensor | None
    px_dropout: Tensor | None


@torch.no_grad()
def normalized_expression(
    run: Run,
    data: ColumnsLike,
    *,
    library: float = 1.0,
    interval: float = 0.9,
    num_draws: int = 25,
    batch_size: int = 256,
    seed: int = 0,
) -> Expression:
    r"""Posterior mean and interval of the normalised expression :math:`\rho` of each cell.

    It is for ``adata.layers["ppvae"] = normalized_expression(run, data).px_scale.numpy()``.

    Arguments:
        run: Run of a count model with a library.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        library: Total that ``px_scale`` and its interval are multiplied by, such as 1e4.
        interval: Probability mass of the central interval.
        num_draws: Posterior draws per cell.
        batch_size: Rows at a time.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If the likelihood is not one of counts with a library, or an argument is
            out of range.
    """
    expect(NUMBER_SHARE, interval=interval)
    expect(integer(2), num_draws=num_draws)
    expect(integer(1), batch_size=batch_size)
    expect(NUMBER, "Use 1, or 10000.", library=library)
    parts: dict[str, list[Tensor]] = {}
    for fn, x in _drawn(run, data, num_draws, batch_size, seed):
        share, given = fn.log_share.exp(), fn.given(x)
        assert given.library is not None
        lower, upper = central(share, interval)
        rate = given.library.unsqueeze(-1) * share
        found = {"px_scale": share, "lower": lower[None], "upper": upper[None], "px_rate": rate}
        if fn.log_theta is not None:
            found["px_r"] = fn.log_theta.exp().expand(share.shape)
        if fn.gate is not None:
            found["px_dropout"] = fn.gate.sigmoid().expand(share.shape)
        for name, draws in found.items():
            parts.setdefault(name, []).append(draws.mean(0).cpu())
    whole = {name: torch.cat(rows) for name, rows in parts.items()}
    scaled = {name: library * whole.pop(name) for name in ("px_scale", "lower", "upper")}
    return Expression(
        **scaled,
        px_rate=whole["px_rate"],
        px_r=whole.get("px_r"),
        px_dropout=whole.get("px_dropout"),
    )


@dataclass(frozen=True)
class DifferentialExpression:
    """Differential expression of G genes between two groups.

    Attributes:
        probability: Probability that each gene differs by more than ``delta``, with shape (G).
        log_fold_change: Posterior mean of log2 of the ratio, first over second group, with
            shape (G).
        lower: Lower end of the central 90 % interval of the log2 ratio, with shape (G).
        upper: Upper end of that interval, with shape (G).
        called: Whether each gene is called at the expected false discovery rate, with shape (G).
        expected_fdr: Expected false discovery rate among the called genes; zero if there are none.
    """

    probability: Tensor
    log_fold_change: Tensor
    lower: Tensor
    upper: Tensor
    called: Tensor
    expected_fdr: float


def differential_expression(
    run: Run,
    first: ColumnsLike,
    second: ColumnsLike,
    *,
    delta: float = 0.5,
    fdr: float = 0.05,
    num_draws: int = 25,
    seed: int = 0,
) -> DifferentialExpression:
    """Estimate which genes differ between two groups of cells, with probabilities.

    The mean share over a group's cells is compared, draw by draw.

    Arguments:
        run: Run of a count model with a library, in evaluation mode.
        first: Cells of the first group, a :class:`~ppvae.data.Dataset` or columns by name.
        second: Cells of the second group.
        delta: Smallest difference of interest, in log2.
        fdr: Largest expected share of false calls among the called genes.
        num_draws: Posterior draws per cell.
        seed: Random seed of the draws.

    Raises:
        ArgumentError: If ``delta`` is negative, or ``fdr`` is not between 0 and 1.
    """
    if delta < 0 or not 0 < fdr < 1:
        raise ArgumentError(
            f"differential_expression: expected delta >= 0 and fdr between 0 and 1; got {delta}, "
            f"{fdr}. Use 0.5 and 0.05."
        )
    means = []
    for group in (first, second):
        shares = share_draws(run, group, num_draws=num_draws, seed=seed)
        # Cells are resampled with the draws, to include the variation among a group's cells.
        generator = torch.Generator().manual_seed(seed)
        picks = torch.randint(shares.size(1), (40, shares.size(1)), generator=generator)
        means.append(torch.stack([shares[:, pick].mean(1) for pick in picks]).flatten(0, 1))
    change = (means[0] / means[1]).log() / math.log(2)
    probability = (change.abs() > delta).double().mean(0)
    order = probability.argsort(descending=True)
    rates = (1 - probability[order]).cumsum(0) / torch.arange(1, len(order) + 1)
    count = int((rates <= fdr).sum())
    called = torch.zeros(len(order), dtype=torch.bool)
    called[order[:count]] = True
    lower, upper = torch.quantile(change, torch.tensor([0.05, 0.95]).to(change), dim=0)
    expected = float(rates[count - 1]) if count else 0.0
    return DifferentialExpression(probability, change.mean(0), lower, upper, called, expected)


def batch_mixing(z: Tensor, batch: Tensor, *, k: int = 30) -> float:
    """Mean entropy of the batches among the k nearest neighbours, over that of all cells.

    It is one if batches are mixed as at random, and zero if they are separate.

    Arguments:
        z: Latents, with shape (N, Z).
        batch: Batch numbers, with shape (N).
        k: Number of neighbours, at most N - 1.

    Raises:
        ArgumentError: If a shape is another, ``k`` is below 1, or batch numbers are negative or
            not integers.
    """
    from sklearn.neighbors import NearestNeighbors

    expect(integer(1), k=k)
    expect(REAL_ROWS, z=z, batch=batch)
    expect_same_length("batch_mixing", z, batch)
    if z.dim() != 2 or batch.dim() != 1 or batch.is_floating_point() or int(batch.min()) < 0:
        raise ArgumentError(
            f"batch_mixing: expected latents (N, Z) and batches (N) numbered from 0; got "
            f"{tuple(z.shape)} and {batch.dtype} with shape {tuple(batch.shape)}. Leave out cells "
            "of no batch."
        )
    points, numbers = z.cpu().numpy(), batch.cpu()
    k = max(1, min(k, len(points) - 1))
    index = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[1][:, 1:]
    near = torch.nn.functional.one_hot(numbers[torch.as_tensor(index)]).double().mean(1)
    shares = torch.nn.functional.one_hot(numbers).double().mean(0)
    overall = float(torch.special.entr(shares).sum())
    if overall == 0:
        return 1.0
    return float(torch.special.entr(near).sum(-1).mean()) / overall
