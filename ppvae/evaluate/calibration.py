r"""Simulation-based calibration: is the guide right on data that the model itself generates?

.. math::
    z^\star \sim p(z), \quad x \sim p(x \mid z^\star), \quad z^s \sim q(z \mid x)
    \quad\Rightarrow\quad \mathrm{rank}(z^\star \text{ among } z^s) \text{ uniform}

if q is the posterior. In a model with latents per datum, each simulated datum is a data set, so
that hundreds of data sets take a single pass. Latents outside the data plate, which were learned
from the training data, come from their posterior, the same values for the simulation and for the
guide: :math:`w \sim q(w), z^\star \sim p(z \mid w), z^s \sim q(z \mid x, w)`.

References:
    | Validating Bayesian Inference Algorithms with Simulation-Based Calibration
    | (Talts, Betancourt, Simpson, Vehtari and Gelman, 2018), https://arxiv.org/abs/1804.06788
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError
from ppvae.evaluate.draws import posterior_draws, predictive_draws
from ppvae.evaluate.rows import columns_of
from ppvae.evaluate.scoring import pit
from ppvae.evaluate.sites import sites_of
from ppvae.expected import REAL_ROWS, expect, integer
from ppvae.programs import batches, evaluating, placement, seeded
from ppvae.programs.shared import shared_draws
from ppvae.runs.run import Run

__all__ = ["Calibration", "simulation_based_calibration", "uniformity"]

CHUNK = 128
# Number that have the same values of latents outside the data plate.
FEW = 16
# Number of rows that show whether a site is observed at a column's own values.
ROWS = 8


@dataclass(frozen=True)
class Calibration:
    """The calibration of a guide on simulated data.

    Attributes:
        pit: For each latent site, the rank of the true value among the guide's draws, scaled to
            [0, 1] and randomised at ties, with shape (N, ...).
        data: Simulated columns and latent sites. If several sites observe a column, it holds the
            values of the last one.
    """

    pit: Mapping[str, Tensor]
    data: Dataset
    p_values: Mapping[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        metrics = {
            name: torch.tensor([uniformity(u) for u in ranks.reshape(len(ranks), -1).T])
            for name, ranks in self.pit.items()
        }
        shaped = {name: p.reshape(self.pit[name].shape[1:]) for name, p in metrics.items()}
        object.__setattr__(self, "p_values", shaped)


def uniformity(u: Tensor) -> float:
    """The p-value of the Kolmogorov-Smirnov test that numbers (N) are uniform on [0, 1].

    Raises:
        ArgumentError: If the shape is another, or the numbers are not real.
    """
    from scipy.stats import kstest

    expect(REAL_ROWS, u=u)
    if u.dim() != 1:
        raise ArgumentError(
            f"u: expected shape (N); got {tuple(u.shape)}. Test the numbers of one site at a time."
        )
    return float(kstest(np.asarray(u.double().cpu()), "uniform").pvalue)


def simulation_based_calibration(
    run: Run,
    like: ColumnsLike,
    *,
    num_datasets: int = 200,
    num_draws: int = 100,
    seed: int = 0,
) -> Calibration:
    """Simulate data from the model, and rank the true latents among the guide's draws.

    Arguments:
        run: Fitted run; its model and guide are used in evaluation mode.
        like: :class:`~ppvae.data.Dataset`, or columns by name; the simulated data take the known
            columns from its rows, in turn.
        num_datasets: Number N of data to simulate.
        num_draws: Posterior draws per datum.
        seed: Random seed of the simulation; the caller's generators are restored.

    Raises:
        ArgumentError: If a number is below 2, if every latent is outside the data plate, or if a
            site is observed at what is computed from a column.
    """
    expect(integer(2), "Use 200.", num_datasets=num_datasets)
    expect(integer(2), "Use 100.", num_draws=num_draws)
    source = columns_of(run, like)
    columns = source.take(torch.arange(num_datasets) % source.num_rows)
    ranks: list[dict[str, Tensor]] = []
    datasets: list[dict[str, Tensor]] = []
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        sites = sites_of(run, next(batches(run.guide, columns, ROWS)))
        latent = sites.structure.latent
        if sites.computed:
            raise ArgumentError(
                f"calibration: expected sites that are observed at columns, which simulated data "
                f"can replace; got {sorted(sites.computed)}, computed from columns. "
                "Prepare the column first, and observe it itself: obs=x."
            )
        shared = sites.structure.shared
        if set(shared) == set(latent):
            raise ArgumentError(
                f"calibration: expected a latent in the data plate; got {list(latent)}, which all "
                "data share. Each simulated datum is a data set of its own for the others only."
            )
        for batch in batches(run.guide, columns, FEW if shared else CHUNK):
            rows = len(next(iter(batch.values())))
            one = shared_draws(run.model, run.guide, batch, sites.structure, 1) if shared else {}
            truth = predictive_draws(run, batch, sites, 1, rows=rows, use_guide=False, given=one)
            simulated = {sites.columns[k]: value[0] for k, value in truth.observed.items()}
            # Known labels would give the guide the true classes of other data.
            known = {k: v for k, v in sites.known(batch).items() if k not in latent}
            given = {name: v.expand(num_draws, *v.shape[1:]) for name, v in one.items()}
            draws = posterior_draws(run, {**known, **simulated}, sites, num_draws, given=given)
            own = [name for name in latent if name not in shared]
            ranks.append({n: pit(draws.latent[n], truth.latent[n][0]).cpu() for n in own})
            latents = {n: truth.latent[n][0].cpu() for n in own}
            datasets.append({**latents, **{n: v.cpu() for n, v in simulated.items()}})
    return Calibration(
        pit={name: torch.cat([part[name] for part in ranks]) for name in ranks[0]},
        data=Dataset({name: torch.cat([part[name] for part in datasets]) for name in datasets[0]}),
    )
