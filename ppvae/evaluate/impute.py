r"""Imputation of missing values from the observed ones.

.. math::
    p(x_{\text{missing}} \mid x_{\text{seen}})
        \approx \int p(x_{\text{missing}} \mid z) \, q(z \mid x_{\text{seen}}) \, dz
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.evaluate.draws import posterior_draws
from ppvae.evaluate.rows import columns_of, expect_run, spaced
from ppvae.evaluate.sites import expect_column, sites_of
from ppvae.expected import NUMBER_SHARE, at_least, expect, integer
from ppvae.programs import batches, evaluating, placement, seeded
from ppvae.runs.run import Run

__all__ = ["Imputation", "impute", "seen_per_datum"]

# Number of elements drawn at once.
BUDGET = 2**22


@dataclass(frozen=True)
class Imputation:
    """The imputed values of one observed column, in its units, on the CPU.

    Attributes:
        mean: Observed values, or the posterior predictive means of missing ones, with
            shape (N, ...).
        scale: Standard deviations of missing values, including the likelihood's noise, with
            shape (N, ...); zero for observed values.
        lower: Lower ends of the central intervals, with shape (N, ...); the values themselves
            where observed.
        upper: Upper ends of the central intervals, in the same way, with shape (N, ...).
        seen: Mask of the observed values, with shape (N, ...).
    """

    mean: Tensor
    scale: Tensor
    lower: Tensor
    upper: Tensor
    seen: Tensor


@typed()
@torch.no_grad()
def impute(
    run: Run,
    data: ColumnsLike,
    *,
    column: str = "x",
    num_draws: int = 200,
    interval: float = 0.9,
    seed: int = 0,
) -> Imputation:
    """Fill in the missing values (NaN) of data, with their uncertainty.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        column: The observed column.
        num_draws: Posterior draws per datum.
        interval: Probability mass of the central interval from ``lower`` to ``upper``.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If ``num_draws`` is below 2, ``interval`` is not between 0 and 1, the
            model does not observe the column as it is, or a column differs from the training data
            (:meth:`ppvae.runs.Run.columns`).
        DataError: If an observed value is outside the support of its likelihood.
    """
    expect(integer(2), "Use 200.", num_draws=num_draws)
    expect(NUMBER_SHARE, interval=interval)
    expect_run(run)
    if isinstance(data, Mapping) and not isinstance(data, Dataset):
        data = Dataset(data, missing_ok=[column])
    data = columns_of(run, data)
    tail = torch.tensor([(1 - interval) / 2, (1 + interval) / 2])
    width = max(1, math.prod(data[column].shape[1:]))
    at_once = max(1, BUDGET // (num_draws * width))
    parts: list[tuple[Tensor, ...]] = []
    sites = None
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        for batch in batches(run.guide, data, at_once):
            if sites is None:
                sites = sites_of(run, batch)
                expect_column(sites, column)
            drawn = posterior_draws(run, batch, sites, num_draws).observed[column]
            x = batch[column]
            seen = ~x.isnan()
            lower, upper = torch.quantile(drawn.flatten(1), tail.to(drawn), dim=0)
            imputed = (drawn.mean(0), drawn.std(0), lower.reshape(x.shape), upper.reshape(x.shape))
            mean, scale, lower, upper = (
                torch.where(seen, known, value)
                for known, value in zip((x, torch.zeros_like(x), x, x), imputed, strict=True)
            )
            parts.append((mean, scale, lower, upper, seen))
    return Imputation(*(torch.cat(pieces).cpu() for pieces in zip(*parts, strict=True)))


@typed(max_rows=at_least(1))
def seen_per_datum(
    data: ColumnsLike, *, column: str = "x", max_rows: int | None = 1000
) -> float | None:
    """The mean number of observed values per datum; None if no value is missing.

    Arguments:
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        column: The observed column.
        max_rows: Number of rows used, evenly spaced, as in :func:`ppvae.evaluate.summary`.

    Raises:
        ArgumentError: If ``max_rows`` is below 1.
    """
    rows = spaced(data, column, max_rows)
    seen = ~rows.batch(slice(None))[column].isnan()
    return None if bool(seen.all()) else float(seen.sum()) / len(seen)
