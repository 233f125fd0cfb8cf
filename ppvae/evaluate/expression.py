r"""Gene expression in a fitted VAE of counts: shares of the library, and differences.

.. math::
    P_g = P\left(|\log_2 \bar\rho_{ag} - \log_2 \bar\rho_{bg}| > \delta\right)

for the mean shares of two groups of cells, a and b. Genes are called in the order of :math:`P_g`;
the expected share of false calls among the first k is the mean of :math:`1 - P_g` over them.

References:
    | scVI (Lopez et al., 2018), https://doi.org/10.1038/s41592-018-0229-2
    | False discovery rates: a new deal (Stephens, 2017), https://doi.org/10.1093/biostatistics/kxw041
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

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

_DRAWS = 40  # Of a log ratio, for each draw of the latents.
_SCALES = (0.0, *(0.02 * 2**k for k in range(9)))  # Of log ratios over genes.


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


class _Group(NamedTuple):
    """Sums over a group's cells, draw by draw of the latents, with shape (S, G)."""

    log_share: Tensor  # Log of the mean share.
    spread: Tensor  # Squared standard error of that log, as the cells are a sample.
    counted: Tensor  # Counts.
    expected: Tensor  # Expected counts.
    variance: Tensor  # Variance of the counts, given the latents.


@torch.no_grad()
def _group(run: Run, data: ColumnsLike, num_draws: int, seed: int) -> _Group:
    count, rows = 0, [torch.zeros((), dtype=torch.float64)] * 6
    for fn, x in _drawn(run, data, num_draws, 256, seed):
        seen, fn = ~x.isnan(), fn.given(x)
        share, x, expected = fn.log_share.double().exp(), x.nan_to_num(), fn.mean * seen
        parts = (
            share,
            share.square(),
            x.expand(share.shape),
            expected,
            fn.variance * seen,
            (x - expected).square() * seen,
        )
        rows = [row + part.double().sum(-2).cpu() for row, part in zip(rows, parts, strict=True)]
        count += x.size(-2)
    share, square, counted, expected, variance, residual = rows
    mean = (share / count).clamp_min(1e-30)
    spread = (square / count / mean.square() - 1).clamp_min(0) / count
    return _Group(mean.log(), spread, counted, expected, torch.maximum(variance, residual))


def _log_ratio(first: _Group, second: _Group) -> tuple[Tensor, Tensor]:
    """Log ratio of two groups' shares by their counts, and its variance, with shape (S, G).

    Given the sum of both groups' counts, those of the first are binomial, times a dispersion. A
    wide prior keeps the maximum finite where a group has none, and is then taken out.
    """
    expected = [group.expected.clamp_min(1e-9) for group in (first, second)]
    dispersion = [
        (group.variance / mean).clamp_min(1.0)
        for group, mean in zip((first, second), expected, strict=True)
    ]
    total, logit = first.counted + second.counted, (expected[0] / expected[1]).log()
    missed, wide = torch.zeros_like(logit), _SCALES[-1] ** -2
    for _ in range(30):  # Newton's steps, of at most one each.
        share = (logit + missed).sigmoid()
        over = (1 - share) * dispersion[0] + share * dispersion[1]
        precision = total * share * (1 - share) / over
        slope = (first.counted - total * share) / over - missed * wide
        missed = missed + (slope / (precision + wide)).clamp(-1, 1)
    variance = 1 / precision.clamp_min(1e-9)
    found = first.log_share - second.log_share + missed * (1 + wide * variance)
    return found, variance + first.spread + second.spread


def _shrunk(found: Tensor, variance: Tensor, generator: torch.Generator) -> Tensor:
    """Draws of log ratios, (R, S, G), under the mixture of normals that fits those of all genes.

    Its normals have the mean of most genes: where some shares rise, all others fall a little.
    """
    scales = torch.tensor(_SCALES, dtype=found.dtype).square()
    wide = variance.unsqueeze(-1) + scales
    weights, center = torch.full_like(scales, 1 / len(scales)), found.median()

    def memberships() -> Tensor:
        density = -0.5 * ((found - center).square().unsqueeze(-1) / wide + wide.log())
        return (density + weights.log()).softmax(-1)

    for _ in range(200):  # EM.
        belongs = memberships()
        weights = belongs.mean((0, 1)).clamp_min(1e-9)
        precision = belongs / wide
        center = (precision * found.unsqueeze(-1)).sum() / precision.sum()
    centers = center + (found.size(0) / precision.sum()).sqrt() * torch.randn(
        _DRAWS, 1, 1, dtype=found.dtype, generator=generator
    )
    chances = memberships().cumsum(-1)
    size = (_DRAWS, *found.shape)
    lot = torch.rand(size, generator=generator)
    component = torch.zeros(size, dtype=torch.int64)
    for k in range(len(scales) - 1):
        component += lot > chances[..., k]
    prior = scales[component]
    kept = prior / (prior + variance)
    noise = torch.randn(size, generator=generator)
    return centers + kept * (found - centers) + (kept * variance).sqrt() * noise


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
        called: Whether each gene is called at the expected false discovery rate, with shape (G); a
            gene that is more likely not to differ never is.
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
    r"""Estimate which genes differ between two groups of cells, with probabilities.

    It compares a gene's mean share in two groups of cells that are samples of many. The networks
    were fitted to noisy counts and have learned part of the noise, so that a ratio of their shares
    alone is off by far more than draws of the latents tell. The log ratio is therefore
    estimated from the groups' counts, and the model says what else changes them:

    .. math::
        \log r_g = \log \frac{\bar\rho_{ag}}{\bar\rho_{bg}} + d_g, \qquad
        \frac{\sum_{n \in a} x_{ng}}{\sum_{n \in b} x_{ng}} \approx
        e^{d_g} \frac{\sum_{n \in a} \mu_{ng}}{\sum_{n \in b} \mu_{ng}}, \qquad
        \log r_g \sim \sum_k \pi_k N(m, \sigma_k^2)

    with :math:`\mu` the expected counts, of which libraries, zero inflation and missing values are
    part. Given the sum of both groups' counts, those of a are binomial, with a dispersion from the
    variance of the likelihood, or of the residuals if that is larger; the variance of a share over
    a group's cells is added. The mean m and the weights :math:`\pi` of the scales :math:`\sigma`,
    from 0 to 5.12, are estimated from all genes (adaptive shrinkage), so that a large ratio of few
    counts is not believed. Where a condition is confounded with a batch or a kind of cell, so are
    the groups: choose cells that differ in the condition alone.

    Arguments:
        run: Run of a count model with a library, in evaluation mode.
        first: Cells of the first group, a :class:`~ppvae.data.Dataset` or columns by name.
        second: Cells of the second group.
        delta: Smallest difference of interest, in log2.
        fdr: Largest expected share of false calls among the called genes.
        num_draws: Posterior draws per cell.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If ``delta`` is negative, or ``fdr`` is not between 0 and 1.
    """
    if delta < 0 or not 0 < fdr < 1:
        raise ArgumentError(
            f"differential_expression: expected delta >= 0 and fdr between 0 and 1; got {delta}, "
            f"{fdr}. Use 0.5 and 0.05."
        )
    groups = [_group(run, cells, num_draws, seed) for cells in (first, second)]
    generator = torch.Generator().manual_seed(seed)
    change = _shrunk(*_log_ratio(*groups), generator).flatten(0, 1).float() / math.log(2)
    probability = (change.abs() > delta).double().mean(0)
    order = probability.argsort(descending=True)
    rates = (1 - probability[order]).cumsum(0) / torch.arange(1, len(order) + 1)
    count = int(((rates <= fdr) & (probability[order] > 0.5)).sum())
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
        batch: Batch numbers, with shape (N), in any numbering, such as dates.
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
    points, numbers = z.detach().cpu().numpy(), batch.cpu().unique(return_inverse=True)[1]
    k = max(1, min(k, len(points) - 1))
    index = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
    near = torch.nn.functional.one_hot(numbers[torch.as_tensor(index)]).double().mean(1)
    shares = torch.nn.functional.one_hot(numbers).double().mean(0)
    overall = float(torch.special.entr(shares).sum())
    if overall == 0:
        return 1.0
    return float(torch.special.entr(near).sum(-1).mean()) / overall
