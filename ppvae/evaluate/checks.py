r"""Posterior predictive checks: do replicates look like the data?

There are two sets of replicates :math:`\tilde x` of each datum:

- :func:`check_reconstructions`: given the datum itself,
  :math:`z \sim q(z \mid x), \tilde x \sim p(x \mid z)`. This uses the data twice, so that the
  p-values of a right model gather around a half; extreme ones still indicate a misfit.
- :func:`check_predictions`: given the known columns alone,
  :math:`z \sim p(z \mid \mathrm{columns})`, which for a GP prior is the posterior predictive of
  an unseen view. If the model is right the p-values and the PIT are uniform.

References:
    | Posterior Predictive Assessment of Model Fitness via Realized Discrepancies
    | (Gelman, Meng and Stern, 1996), Statistica Sinica 6
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError
from ppvae.evaluate.draws import Draws, posterior_draws, predictive_draws
from ppvae.evaluate.own import say_given_own_data
from ppvae.evaluate.rows import thinned
from ppvae.evaluate.scoring import crps, interval_score, pit
from ppvae.evaluate.sites import Sites, observed_values, sites_of
from ppvae.evaluate.statistics import STATISTICS, Statistic, intensity
from ppvae.expected import SEQUENCE, expect, integer
from ppvae.programs import batches, evaluating, placement, seeded
from ppvae.runs.run import Run

__all__ = ["Check", "StatisticCheck", "check_predictions", "check_reconstructions"]

BUDGET = 2**20
# A site with a single number has no other statistic.
SCALAR: Mapping[str, Statistic] = {"intensity": intensity}
Batch = Mapping[str, Tensor]
Replicates = Callable[[Batch, Sites, Batch], Draws]


@dataclass(frozen=True)
class StatisticCheck:
    r"""One statistic of the data and of their replicates, for the N data with an observed element.

    Attributes:
        observed: :math:`T(x_n)`, with shape (N).
        replicated: :math:`T(\tilde x_n^s)`, with shape (S, N).
        p_values: :math:`P(T(\tilde x_n) \geq T(x_n))`, ties randomised, with shape (N).
        p_value: The same for the mean of the statistic over all data.
        coverage: Share of data with a statistic within the central interval, by interval: those
            whose p-value is as far from its ends as the interval's.
    """

    observed: Tensor
    replicated: Tensor
    p_values: Tensor
    p_value: float
    coverage: Mapping[float, float]


@dataclass(frozen=True)
class Check:
    """Data against their replicates, by statistic and by element (pixel, channel of a spectrum).

    Attributes:
        statistics: Checks of statistics, by name.
        pit: Probability integral transform of each element, ties randomised, with shape (N, ...).
        coverage: Share of data that each interval covers, at each element, with shape (...):
            those with a PIT from :math:`(1 - k) / 2` to :math:`(1 + k) / 2`, which for a right
            model is k on average, with few draws and for discrete data, too.
        crps: Continuous ranked probability score, the mean over elements, with shape (N).
        interval_score: Score of each interval, the mean over elements, with shape (N).
    """

    statistics: Mapping[str, StatisticCheck]
    pit: Tensor
    coverage: Mapping[float, Tensor]
    crps: Tensor
    interval_score: Mapping[float, Tensor]

    def means(self) -> dict[str, float]:
        """Means of p-values, coverages and scores by name, such as ``coverage/0.9``."""
        means = {f"p_value/{name}": check.p_value for name, check in self.statistics.items()}
        for name, check in self.statistics.items():
            means |= {f"coverage/{name}/{k:g}": v for k, v in check.coverage.items()}
        means |= {f"coverage/{k:g}": float(v.nanmean()) for k, v in self.coverage.items()}
        means |= {
            f"interval_score/{k:g}": float(v.nanmean()) for k, v in self.interval_score.items()
        }
        return means | {"crps": float(self.crps.nanmean())}


def check_reconstructions(
    run: Run,
    data: ColumnsLike,
    *,
    statistics: Mapping[str, Statistic] | None = None,
    intervals: Sequence[float] = (0.5, 0.9),
    num_draws: int = 200,
    max_rows: int | None = 500,
    site: str | None = None,
    seed: int = 0,
) -> Check:
    """Compare the data with replicates given the data themselves.

    A model that computes the distribution of a site from data of the same site, such as a decoder
    with teacher forcing, has replicates given these data, of which the log warns.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        statistics: Statistics by name; intensity, contrast, edges and area by default, and for a
            site with a single number its value (intensity).
        intervals: Probabilities of central intervals.
        num_draws: Number S of replicates per datum.
        max_rows: Number of rows checked, evenly spaced; None for all.
        site: The observed site; the last by default.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If ``num_draws`` is below 2, if there is no such observed site, or if a
            statistic does not give one number per datum.
    """

    def replicates(batch: Batch, sites: Sites, given: Batch) -> Draws:
        return posterior_draws(run, batch, sites, num_draws, given=given)

    columns, _ = thinned(run, data, max_rows)
    say_given_own_data(run, columns)
    return _check(run, columns, replicates, statistics, intervals, num_draws, site, seed)


def check_predictions(
    run: Run,
    data: ColumnsLike,
    *,
    statistics: Mapping[str, Statistic] | None = None,
    intervals: Sequence[float] = (0.5, 0.9),
    num_draws: int = 200,
    max_rows: int | None = 500,
    site: str | None = None,
    seed: int = 0,
) -> Check:
    """Check predictions of the data from their other columns; as :func:`check_reconstructions`.

    Held-out data at unseen views, for a GP prior; without known columns, draws of the prior.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        statistics: Statistics by name, as for :func:`check_reconstructions`.
        intervals: Probabilities of central intervals.
        num_draws: Number S of replicates per datum.
        max_rows: Number of rows checked, evenly spaced; None for all.
        site: The observed site; the last by default.
        seed: Random seed of the draws; the caller's generators are restored.
    """

    def replicates(batch: Batch, sites: Sites, given: Batch) -> Draws:
        rows = len(next(iter(batch.values())))
        return predictive_draws(run, batch, sites, num_draws, rows=rows, given=given)

    columns, _ = thinned(run, data, max_rows)
    return _check(run, columns, replicates, statistics, intervals, num_draws, site, seed)


def _check(
    run: Run,
    columns: Dataset,
    replicates: Replicates,
    statistics: Mapping[str, Statistic] | None,
    intervals: Sequence[float],
    num_draws: int,
    site: str | None,
    seed: int,
) -> Check:
    expect(integer(2), "Use 200.", num_draws=num_draws)
    num_draws = int(num_draws)  # Of numpy's small integers, products overflow.
    expect(SEQUENCE, "Use (0.5, 0.9).", intervals=intervals)
    parts: list[dict[str, Tensor]] = []
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        sites = sites_of(run, next(batches(run.guide, columns, 1)))
        observed = sites.targets
        name = observed[-1] if site is None else site
        if name not in observed:
            raise ArgumentError(
                f"site: expected one of the observed sites {list(observed)}; got {name!r}. "
                "Name one of them."
            )
        elements = max(1, math.prod(sites.structure.event_shapes[name]))
        chosen = (STATISTICS if elements > 1 else SCALAR) if statistics is None else statistics
        size = max(1, BUDGET // (num_draws * elements))
        given: Batch = {}
        for batch in batches(run.guide, columns, size):
            truth = observed_values(run, batch, sites)[name]
            draws = replicates(batch, sites, given)
            given = draws.globals()
            parts.append(_compare(draws.observed[name], truth, chosen, intervals))
        joined = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        checks = {key: _statistic(joined, key, intervals) for key in chosen}
    return Check(
        statistics=checks,
        pit=joined["pit"],
        coverage={k: _within(joined["pit"], k).nanmean(0) for k in intervals},
        crps=joined["crps"],
        interval_score={k: joined[f"score/{k}"] for k in intervals},
    )


def _compare(
    drawn: Tensor,
    truth: Tensor,
    statistics: Mapping[str, Statistic],
    intervals: Sequence[float],
) -> dict[str, Tensor]:
    """The comparison of a chunk of data, on the CPU."""
    if not drawn.is_floating_point():  # Counts, and categories by their numbers.
        drawn, truth = (value.to(torch.get_default_dtype()) for value in (drawn, truth))
    if truth.dim() == 1:
        drawn, truth = drawn.unsqueeze(-1), truth.unsqueeze(-1)
    missing = truth.isnan()

    def seen(values: Tensor) -> Tensor:
        """Values element by element, NaN where the datum was not observed."""
        return values.to(truth.dtype).masked_fill(missing, torch.nan)

    truth = truth.masked_fill(missing, 0)
    results = {
        "pit": seen(pit(drawn, truth)),
        "crps": _by_datum(seen(crps(drawn, truth))),
    }
    for probability in intervals:
        results[f"score/{probability}"] = _by_datum(
            seen(interval_score(drawn, truth, probability))
        )
    # A statistic uses the observed elements only, in the data and in the replicates.
    drawn = drawn.masked_fill(missing, 0)
    for name, statistic in statistics.items():
        results[f"observed/{name}"] = _apply(name, statistic, truth)
        flat = _apply(name, statistic, drawn.flatten(0, 1))
        results[f"replicated/{name}"] = flat.reshape(drawn.shape[:2]).T
    results["seen"] = ~missing.flatten(1).all(1)
    return {key: value.cpu() for key, value in results.items()}


def _within(ranks: Tensor, probability: float) -> Tensor:
    """One where a PIT is within the central interval of this probability, zero outside, or NaN."""
    inside = ((ranks - 0.5).abs() <= probability / 2).double()
    return inside.masked_fill(ranks.isnan(), torch.nan)


def _by_datum(value: Tensor) -> Tensor:
    return value.reshape(len(value), -1).nanmean(1)


def _apply(name: str, statistic: Statistic, values: Tensor) -> Tensor:
    numbers = statistic(values)
    if numbers.shape != values.shape[:1]:
        raise ArgumentError(
            f"statistic {name!r}: expected one number per datum, shape ({len(values)},), for "
            f"values with shape {tuple(values.shape)}; got {tuple(numbers.shape)}. Reduce all but "
            "the first dimension."
        )
    return numbers


def _statistic(
    results: Mapping[str, Tensor], name: str, intervals: Sequence[float]
) -> StatisticCheck:
    # A datum with no observed element has no statistic.
    seen = results["seen"]
    if not seen.any():
        raise ArgumentError(
            "data: expected observed values; got rows in which all are missing or masked. Pass "
            "rows that were observed, or site= for another observed site."
        )
    observed, replicated = results[f"observed/{name}"][seen], results[f"replicated/{name}"][seen].T
    overall, own = pit(replicated.mean(1), observed.mean()), pit(replicated, observed)
    return StatisticCheck(
        observed=observed,
        replicated=replicated,
        p_values=1 - own,
        p_value=1 - float(overall),
        coverage={k: float(_within(own, k).mean()) for k in intervals},
    )
