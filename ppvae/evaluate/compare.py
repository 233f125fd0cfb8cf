r"""Comparison of models by the density of the same data, with latents integrated out.

.. math::
    \Delta = \frac1N \sum_n d_n, \qquad d_n = \log \hat p_{\mathrm{best}}(x_n) - \log \hat p(x_n),
    \qquad \mathrm{se}(\Delta) = \sqrt{\frac{\mathrm{Var}_n(d_n)}{N}}

Differences are paired: the difficulty of a datum that is common to all models cancels. The
parameters of the networks are point estimates, so the runs must not have been fitted to the data.

References:
    | Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC
    | (Vehtari, Gelman and Gabry, 2017), on paired differences, https://arxiv.org/abs/1507.04544
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError, ContractError
from ppvae.evaluate.likelihood import LikelihoodEstimate, log_likelihood
from ppvae.evaluate.pareto import TRUSTED_K
from ppvae.evaluate.points import no_likelihood, point_latents
from ppvae.evaluate.rows import thinned
from ppvae.evaluate.sites import observed_values, sites_of
from ppvae.programs import batches, evaluating
from ppvae.runs.run import Run

__all__ = ["ComparedRun", "compare", "likelihoods", "ranked"]

# Largest share of data with a Pareto k above 0.7, and fewest effective draws, of a trusted mean.
DOUBTED_SHARE, FEW_DRAWS = 0.05, 5.0


@dataclass(frozen=True)
class ComparedRun:
    """A run compared with others, in nats per datum.

    Attributes:
        name: Name of the run.
        log_likelihood: Mean of the importance-weighted log p(x).
        standard_error: Standard error of that mean over the data.
        difference: ``log_likelihood`` of the best run minus that of this one; 0 for the best.
        difference_error: Standard error of the paired difference.
        untrusted: Share of data with a Pareto k above 0.7.
        effective: Mean number of effective draws.
        trusted: Whether the estimate can be trusted: few data with a large Pareto k, and enough
            effective draws. Otherwise it is probably too low: use more particles, or a better
            guide.
    """

    name: str
    log_likelihood: float
    standard_error: float
    difference: float
    difference_error: float
    untrusted: float
    effective: float
    trusted: bool


@typed()
def compare(
    runs: Mapping[str, Run],
    data: ColumnsLike,
    *,
    num_particles: int = 256,
    max_rows: int | None = 1000,
    batch_size: int = 128,
    seed: int = 0,
) -> list[ComparedRun]:
    """Rank runs by the marginal log-likelihood of the same held-out data, the best first.

    Arguments:
        runs: At least two runs by name, with models that observe the same values.
        data: A :class:`~ppvae.data.Dataset`, or columns by name, that no run was fitted to.
        num_particles: Posterior draws per datum.
        max_rows: Number of rows used, evenly spaced; None for all.
        batch_size: Rows per batch.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If there are fewer than two runs or two rows, or if the models do not
            observe the same values: densities of different data, such as pictures and their
            normalised copies, cannot be compared, nor a density with probabilities.
        ContractError: If the guide of a run gives a latent of each datum as a point (``Delta``).
    """
    if len(runs) < 2:
        raise ArgumentError(
            f"compare: expected at least two runs by name; got {list(runs)}. Pass a dictionary."
        )
    estimates = likelihoods(
        runs,
        dict.fromkeys(runs, data),
        num_particles=num_particles,
        max_rows=max_rows,
        batch_size=batch_size,
        seed=seed,
    )
    return ranked(estimates)


def likelihoods(
    runs: Mapping[str, Run],
    data: Mapping[str, ColumnsLike],
    *,
    num_particles: int = 256,
    max_rows: int | None = 1000,
    batch_size: int = 128,
    seed: int = 0,
) -> dict[str, LikelihoodEstimate]:
    """The log-likelihoods of the same rows under each run, by name.

    Arguments:
        runs: Runs by name, with models that observe the same values.
        data: Data for each run, by name: the same rows, with the columns that the run needs.
        num_particles: Draws of the guide per datum.
        max_rows: Number of rows, evenly spaced; None for all.
        batch_size: Rows at a time.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If there are fewer than two rows, or if the models do not observe the same
            values (:func:`compare`).
        ContractError: If the guide of a run gives a latent of each datum as a point.
    """
    chosen = {name: thinned(run, data[name], max_rows)[0] for name, run in runs.items()}
    if min(columns.num_rows for columns in chosen.values()) < 2:
        raise ArgumentError("compare: expected at least two rows of data; got 1. Pass more.")
    _same_data(runs, chosen)
    for name, run in runs.items():
        if points := point_latents(run, chosen[name]):
            raise ContractError(f"compare, run {name!r}: {no_likelihood(list(points))}")
    return {
        name: log_likelihood(
            run, chosen[name], num_particles=num_particles, batch_size=batch_size, seed=seed
        )
        for name, run in runs.items()
    }


def ranked(estimates: Mapping[str, LikelihoodEstimate]) -> list[ComparedRun]:
    """Runs in order of the log-likelihood of the same rows, highest first."""
    order = sorted(estimates, key=lambda n: -float(estimates[n].log_likelihood.mean()))
    best = estimates[order[0]].log_likelihood
    return [_row(name, estimates[name], best) for name in order]


def _row(name: str, estimate: LikelihoodEstimate, best: Tensor) -> ComparedRun:
    values = estimate.log_likelihood
    difference = best - values
    untrusted = float((estimate.pareto_k > TRUSTED_K).double().mean())
    effective = float(estimate.effective.mean())
    rows = len(values) ** 0.5
    return ComparedRun(
        name=name,
        log_likelihood=float(values.mean()),
        standard_error=float(values.std()) / rows,
        difference=float(difference.mean()),
        difference_error=float(difference.std()) / rows,
        untrusted=untrusted,
        effective=effective,
        trusted=untrusted <= DOUBTED_SHARE and effective >= FEW_DRAWS,
    )


def _observations(run: Run, columns: Dataset) -> tuple[Tensor, bool]:
    """The observed values of a few rows, (N, D), and whether they are scored by densities."""
    with evaluating(run.model, run.guide):
        batch = next(batches(run.guide, columns, 16))
        sites = sites_of(run, batch)
        values = observed_values(run, batch, sites)
    flat = [value.reshape(len(value), -1).double().cpu() for value in values.values()]
    return torch.cat(flat, 1), sites.continuous


def _same_data(runs: Mapping[str, Run], columns: Mapping[str, Dataset]) -> None:
    seen = {name: _observations(run, columns[name]) for name, run in runs.items()}
    first, (values, continuous) = next(iter(seen.items()))
    for name, (others, kind) in seen.items():
        same = values.shape == others.shape and torch.allclose(
            values.sort(1).values, others.sort(1).values, rtol=1e-5, equal_nan=True
        )
        if not same:
            raise ArgumentError(
                f"compare: expected models that observe the same values; got others in {name!r} "
                f"than in {first!r}, such as a scaled copy. Let both observe the same column."
            )
        if kind != continuous:
            raise ArgumentError(
                f"compare: expected densities of all models or probabilities of all; {name!r} "
                f"differs from {first!r} in that. Give both a likelihood of the same kind."
            )
