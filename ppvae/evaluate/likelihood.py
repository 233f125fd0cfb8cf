r"""The likelihood of data under a fitted model, estimated by importance sampling.

.. math::
    \log \hat p(x_n) = \log \frac1S \sum_s \frac{p(x_n, z_{sn})}{q(z_{sn} \mid x_n)}
        \geq \mathrm{ELBO}_n \text{ in expectation}, \qquad
    \mathrm{ELBO}_n = -\mathrm{distortion}_n - \mathrm{rate}_n

Enumerated sites are summed exactly (:mod:`ppvae.objectives.weights`). Where labels are known, the
estimate is of :math:`p(x_n, y_n)`: leave the column out for :math:`p(x_n)`. Under a GP prior, it
is the density of each datum given the training data. A latent outside the data plate is drawn
from its posterior, so that the estimate is the predictive density of a datum given the training
data; the ELBO of a datum includes 1/N of its KL, where N is the number of training data. A guide
that gives a latent of each datum as a point (``Delta``) has no density, and no such estimate.

References:
    | Importance Weighted Autoencoders (Burda, Grosse and Salakhutdinov, 2015)
    | https://arxiv.org/abs/1509.00519
    | Fixing a Broken ELBO (Alemi et al., 2018), https://arxiv.org/abs/1711.00464
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ContractError
from ppvae.evaluate.latents import active_units
from ppvae.evaluate.pareto import TRUSTED_K, pareto_k
from ppvae.evaluate.points import no_likelihood, point_latents
from ppvae.evaluate.rows import columns_of, plain_elbo, thinned
from ppvae.expected import expect, integer
from ppvae.objectives import Objective
from ppvae.programs import batches, encode_rows, evaluating, placement, seeded
from ppvae.runs.run import Run

__all__ = ["LikelihoodEstimate", "log_likelihood", "summary"]

# Numbers of the observed and latent sites held at once, all particles and classes counted; the
# layers of a decoder hold many times as many.
BUDGET = 2**20


@dataclass(frozen=True)
class LikelihoodEstimate:
    r"""Estimates for N data, in nats, each with shape (N), on the CPU in float64.

    Attributes:
        log_likelihood: :math:`\log \hat p(x_n)`, from ``num_particles`` draws of the guide.
        elbo: The plain ELBO.
        rate: :math:`\sum_z \mathrm{KL}(q(z \mid x_n) \| p(z))`.
        distortion: :math:`-E_q \log p(x_n \mid z)`.
        pareto_k: Pareto shape of the weights; above 0.7, neither this datum's ``log_likelihood``
            nor the guide can be trusted.
        effective: Effective number of draws, :math:`(\sum w)^2 / \sum w^2`.
        num_particles: Number of draws S.
    """

    log_likelihood: Tensor
    elbo: Tensor
    rate: Tensor
    distortion: Tensor
    pareto_k: Tensor
    effective: Tensor
    num_particles: int

    @property
    def standard_error(self) -> Tensor:
        """Standard error of ``log_likelihood``, by the delta method, with shape (N)."""
        return (1 / self.effective - 1 / self.num_particles).clamp_min(0).sqrt()

    def means(self) -> dict[str, float]:
        """Means over the data by name, and the share of data with k above 0.7."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        means = {name: float(v.mean()) for name, v in values.items() if isinstance(v, Tensor)}
        means["untrusted"] = float((self.pareto_k > TRUSTED_K).double().mean())
        return means


def log_likelihood(
    run: Run,
    data: ColumnsLike,
    *,
    num_particles: int = 64,
    batch_size: int = 128,
    seed: int = 0,
) -> LikelihoodEstimate:
    """Importance-weighted log p(x) per datum, with the diagnostic of its weights.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        num_particles: Posterior draws S per datum; memory does not grow with S.
        batch_size: Largest number of rows at a time; fewer where all their draws would not fit.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If ``num_particles`` or ``batch_size`` is below 1.
        ContractError: If the data lack a column, if the guide gives a latent of each datum as a
            point (``Delta``), which has no density, or if a plate has a random part of its
            entries.
    """
    expect(integer(1), "Use 64.", num_particles=num_particles)
    expect(integer(1), batch_size=batch_size)
    columns = columns_of(run, data)
    points = point_latents(run, columns)
    if points:
        raise ContractError(f"log_likelihood: {no_likelihood(list(points))}")
    return _estimates(run, columns, num_particles, batch_size, seed)


def _estimates(
    run: Run, columns: Dataset, num_particles: int, batch_size: int, seed: int
) -> LikelihoodEstimate:
    parts = []
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        # All draws of a few rows at once, as each pass encodes its rows: only where those of one
        # row are too many, several passes.
        size = _size(run, columns)
        at_once = min(num_particles, max(1, BUDGET // size))
        rows = min(batch_size, max(1, BUDGET // (at_once * size)))
        full = plain_elbo(run, columns, num_particles=at_once)
        passes = [full] * (num_particles // at_once)
        if rest := num_particles % at_once:
            passes.append(plain_elbo(run, columns, num_particles=rest))
        for batch in batches(run.guide, columns, rows):
            parts.append(_estimate(passes, batch, num_particles))
    values = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return LikelihoodEstimate(**values, num_particles=num_particles)


def _size(run: Run, data: Dataset) -> int:
    """Numbers of all sites of one datum and draw, over all classes."""
    batch = next(batches(run.guide, data, 1))
    _, context = plain_elbo(run, data).evaluate(batch)
    return sum(math.prod(fn.batch_shape) * math.prod(fn.event_shape) for fn in context.p.values())


def _estimate(
    passes: Sequence[Objective], batch: Mapping[str, Tensor], num_particles: int
) -> dict[str, Tensor]:
    weights, rates, distortions = [], [], []
    for objective in passes:
        terms, context = objective.evaluate(batch)
        weights.append(context.log_weights().double())
        share = objective.spec.num_particles / num_particles
        rates.append(share * torch.stack([*terms.kl.values()]).sum(0).double())
        fit = torch.stack([*terms.log_likelihood.values()]).sum(0).double()
        distortions.append(-share * fit)
    log_weights = torch.cat(weights)
    rate, distortion = torch.stack(rates).sum(0), torch.stack(distortions).sum(0)
    total = log_weights.logsumexp(0)
    values = {
        "log_likelihood": total - math.log(num_particles),
        "elbo": -rate - distortion,
        "rate": rate,
        "distortion": distortion,
        "pareto_k": pareto_k(log_weights),
        "effective": (2 * total - (2 * log_weights).logsumexp(0)).exp(),
    }
    return {name: value.cpu() for name, value in values.items()}


def summary(
    run: Run,
    data: ColumnsLike,
    *,
    num_particles: int = 64,
    max_rows: int | None = 1000,
    batch_size: int = 128,
    seed: int = 0,
) -> dict[str, float]:
    """The metrics that every model has, as numbers for ``metrics.json``.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        num_particles: Posterior draws S per datum.
        max_rows: Number of rows used, evenly spaced; None for all.
        batch_size: Largest number of rows at a time.
        seed: Random seed of the draws.

    Returns:
        Means over the same rows, in nats per datum: ``elbo``, ``log_likelihood``, ``rate``,
        ``distortion``; ``pareto_k``, ``effective`` draws and the share of ``untrusted`` data
        (:class:`LikelihoodEstimate`); ``active_units``, the number of dimensions of continuous
        latents that vary with the data, unless there are none or a single row. Where the guide
        gives a latent of each datum as a point (``Delta``), what depends on its density is left
        out: all but ``distortion`` and ``active_units``, and for classes ``elbo`` and ``rate``.

    Raises:
        ArgumentError: If ``num_particles``, ``max_rows`` or ``batch_size`` is below 1.
        ContractError: If the data lack a column, or if a plate has a random part of its entries.
    """
    columns, _ = thinned(run, data, max_rows)
    expect(integer(1), "Use 64.", num_particles=num_particles)
    expect(integer(1), batch_size=batch_size)
    points = point_latents(run, columns)
    estimate = _estimates(run, columns, num_particles, batch_size, seed).means()
    if points:
        kept = {"distortion"} if any(points.values()) else {"distortion", "elbo", "rate"}
        estimate = {name: value for name, value in estimate.items() if name in kept}
    active = _count_active(run, columns)
    return estimate if active is None else estimate | {"active_units": float(active)}


def _count_active(run: Run, columns: Dataset) -> int | None:
    """Number of active dimensions; None without continuous latents, or with one row."""
    if columns.num_rows < 2:
        return None
    encoded, shared = encode_rows(run.guide, columns, 1024)
    continuous = [
        values.reshape(len(values), -1)
        for name, values in encoded.items()
        if values.is_floating_point() and not name.endswith("_probs") and name not in shared
    ]
    return sum(int(active_units(values).sum()) for values in continuous) if continuous else None
