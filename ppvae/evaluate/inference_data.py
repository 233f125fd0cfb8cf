r"""A fitted run as ArviZ's InferenceData (its DataTree from version 1 on).

| group | what | leading dims |
|---|---|---|
| posterior | draws of each latent from the guide; ``y_probs`` of y | chain, draw, sample |
|  | the model's deterministic sites at these draws | chain, draw, sample |
| posterior_predictive | replicates of each observed site, not the data | chain, draw, sample |
| log_likelihood | log p(x), the latents integrated out; see below | chain, draw, sample |
| sample_stats | weights and diagnostics; see below | chain, draw, sample |
| prior, prior_predictive | the model run without data | chain, draw, sample |
| observed_data, constant_data | the data of the observed sites, and the other columns | sample |
| predictions, predictions_constant_data | of unseen columns | chain, draw, sample |

Draws of a variational posterior are independent: there is one chain, and r-hat says nothing.

Models are compared by the density of a datum with its latents integrated out, never by
log p(x | z) at draws of q(z | x), where the encoder has seen the datum: that number is too high by
about the KL, and can reverse the order of two models. The group ``log_likelihood`` therefore holds
the importance-weighted log p(x) with one draw left out,

.. math::
    L_{sn} = \log \frac{1}{S - 1} \sum_{t \neq s} w_{tn}, \qquad
    w_{tn} = \frac{p(x_n, z_{tn})}{q(z_{tn} \mid x_n)},

one variable for all observed sites together. ``az.loo`` and ``az.compare`` then give what
:func:`ppvae.evaluate.log_likelihood` gives, :math:`\sum_n \log \frac1S \sum_s w_{sn}`, up to
terms of order 1 / S squared, and their Pareto k is that of the weights. The parameters of the
networks are not integrated out: compare on held-out data.

``sample_stats`` holds ``log_weight`` (log w), and per datum ``marginal_log_likelihood``
(log p(x)), ``pareto_k`` (above 0.7 the estimate is not to be trusted) and ``effective_draws``;
for each observed site ``log_likelihood_given_latents_<site>``, log p(x | z), which is no basis
for comparisons. A guide that gives a latent of each datum as a point (``Delta``) has no weights,
and its ``log_likelihood`` is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppvae._version import __version__
from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.distributions import quaternion_of
from ppvae.evaluate.dims import event_dims, latent_dims
from ppvae.evaluate.draws import Draws, posterior_draws, predictive_draws
from ppvae.evaluate.groups import LEAD, Group
from ppvae.evaluate.names import Names, names_of
from ppvae.evaluate.own import say_given_own_data
from ppvae.evaluate.pareto import leave_one_out, pareto_k
from ppvae.evaluate.rows import thinned
from ppvae.evaluate.sites import Sites, observed_values, sites_of
from ppvae.evaluate.stores import Store, container, storing
from ppvae.expected import expect, integer
from ppvae.programs import batches, evaluating, placement, seeded
from ppvae.runs.run import Run, describe

if TYPE_CHECKING:
    import xarray
    from arviz import InferenceData

__all__ = ["to_arviz", "write_arviz"]

# Numbers of one site drawn at once; the layers of a decoder hold many times as many.
BUDGET = 2**20
COORDINATES = ("object", "view", "y")
POSTERIOR = (
    "posterior",
    "posterior_predictive",
    "log_likelihood",
    "sample_stats",
    "observed_data",
    "constant_data",
)
DESCRIPTIONS = {
    "posterior": "Independent draws of the guide q(z | x); r-hat does not apply.",
    "posterior_predictive": "Replicates of the data given the data: z ~ q(z | x), x ~ p(x | z).",
    "log_likelihood": "log p(x) per datum, latents integrated out by importance weights, each "
    "draw left out in turn; all observed sites together. Right for az.loo and az.compare on "
    "held-out data.",
    "sample_stats": "log_weight: log p(x, z) - log q(z | x). marginal_log_likelihood: log p(x). "
    "pareto_k: of the weights; above 0.7 the estimate is not to be trusted. effective_draws: of "
    "the weights. log_likelihood_given_latents_*: log p(x | z) at draws of q(z | x), too high to "
    "compare models by. With a guide that gives a latent of each datum as a point (Delta), this "
    "alone: there are no weights.",
    "prior": "Draws of the latents from the model, given the known columns alone.",
    "prior_predictive": "Draws of the data from the model, given the known columns alone.",
    "observed_data": "The data as the model observes them, by site.",
    "constant_data": "The columns that nothing is observed at.",
    "predictions": "Draws at unseen columns, nothing being observed.",
    "predictions_constant_data": "The unseen columns, and what was there, where it is known.",
}


def to_arviz(
    run: Run,
    data: ColumnsLike,
    *,
    num_draws: int = 100,
    max_rows: int | None = None,
    prior_rows: int = 50,
    unseen: ColumnsLike | None = None,
    chunk: int | None = None,
    seed: int = 0,
    path: str | Path | None = None,
) -> InferenceData | xarray.DataTree:
    """Draws of everything a run says of data, for ArviZ.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name, that the model observes.
        num_draws: S, draws per datum.
        max_rows: Take so many rows of ``data`` and of ``unseen``, evenly spaced; None for all.
        prior_rows: Rows of ``data`` whose prior is drawn from; 0 for no prior.
        unseen: Columns to predict at, such as ``object`` and ``view``. Observed columns among
            them are kept as ``predictions_constant_data``, to compare with, and not used.
        chunk: Rows drawn at a time; as many as suit memory by default.
        seed: Random seed of the draws; the caller's generators are restored.
        path: A file ``*.nc`` or a folder ``*.zarr`` to write to as the draws come, so that they
            need not fit into memory. The result then reads from it lazily.

    Returns:
        ``arviz.InferenceData``, or ``xarray.DataTree`` with ArviZ 1. Dims: ``chain`` (one),
        ``draw``, ``sample``, and ``channel, row, column`` of images, ``channel, position`` of
        spectra, ``feature`` of vectors, ``latent``, ``class``, ``direction`` of unit vectors;
        rotations also as ``<site>_quaternion``, real part first. A site whose size disagrees
        with another's gets a dim of its own, such as ``z2_latent``, and so do all where a site or
        a column is called as the dim. A site or a column called ``chain``, ``draw`` or ``sample``
        is stored with an underscore, such as ``draw_``, and so is a slash within a name.
        ``sample`` counts the rows of ``data``; ``object``, ``view`` and ``y`` are coordinates
        along it, with ``object_name``, ``y_name`` and ``sample_name`` where the data have names.
        Features and classes with names have these as coordinates, columns with a unit the
        attribute ``unit``. ArviZ 1's plots stack chain and draw into a dim of that name: rename
        ours before them, by ``rename(sample="datum")`` of each group.

    Raises:
        ArgumentError: If a number is out of range, or the path ends in something else.
        ContractError: If the data lack a column.
        RunError: If the file cannot be written.
    """
    store = _filled(path, run, data, num_draws, max_rows, prior_rows, unseen, chunk, seed)
    return container(store.open())


def write_arviz(
    path: str | Path,
    run: Run,
    data: ColumnsLike,
    *,
    num_draws: int,
    max_rows: int | None = None,
    prior_rows: int = 50,
    unseen: ColumnsLike | None = None,
) -> None:
    """Write the file of :func:`to_arviz` without opening it, which would import ArviZ.

    Arguments:
        path: As for :func:`to_arviz`, as all the others are.
        run: Its model and guide.
        data: Data that the model observes.
        num_draws: Draws per datum.
        max_rows: Largest number of rows; None for all.
        prior_rows: Rows whose prior is drawn from.
        unseen: Columns to predict at.
    """
    _filled(path, run, data, num_draws, max_rows, prior_rows, unseen)


def _filled(
    path: str | Path | None,
    run: Run,
    data: ColumnsLike,
    num_draws: int,
    max_rows: int | None,
    prior_rows: int,
    unseen: ColumnsLike | None,
    chunk: int | None = None,
    seed: int = 0,
) -> Store:
    """A finished store with the draws that :func:`to_arviz` describes."""
    for name, value, least in (
        ("num_draws", num_draws, 1),
        ("prior_rows", prior_rows, 0),
        ("chunk", 1 if chunk is None else chunk, 1),
    ):
        expect(integer(least), **{name: value})
    num_draws = int(num_draws)  # Of numpy's small integers, products overflow.
    columns, rows = thinned(run, data, max_rows)
    say_given_own_data(run, columns)
    with storing(path) as store:
        with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
            sites = sites_of(run, next(batches(run.guide, columns, 1)))
            export = _Export(run, store, sites, num_draws, chunk or _chunk(sites, num_draws))
            export.posterior(columns, rows)
            if prior_rows:
                few, among = thinned(run, columns, prior_rows)
                export.prior(few, rows[among])
            if unseen is not None:
                export.predictions(*thinned(run, unseen, max_rows))
        attributes = _attributes(run, seed)
        filled = [name for name, group in export.groups.items() if group.arrays]
        for name in ("", *filled):
            about = {"description": DESCRIPTIONS[name]} if name in DESCRIPTIONS else {}
            store.describe(name, {**attributes, **about, **export.attributes(name)})
        store.finish()
    return store


def _chunk(sites: Sites, num_draws: int) -> int:
    """Rows at a time, a multiple of 16 where it can be: the size of the files' pieces."""
    shapes = sites.structure.event_shapes
    largest = max(math.prod(shapes[name]) for name in sites.targets)
    rows = max(1, BUDGET // (num_draws * largest))
    return rows - rows % 16 if rows > 16 else rows


def _attributes(run: Run, seed: int) -> dict[str, str | int | None]:
    return {
        "inference_library": "ppvae",
        "inference_library_version": __version__,
        "created_at": datetime.now(timezone.utc).isoformat(),
        "run_id": run.id,
        "run_seed": run.seed,
        "run_status": run.status,
        "run_epochs": run.epochs,
        "draws_seed": seed,
        "objective": json.dumps(describe(run.objective)),
        "model": type(run.model).__name__,
        "guide": type(run.guide).__name__,
    }


class _Export:
    """Draws, chunk by chunk, into groups."""

    def __init__(self, run: Run, store: Store, sites: Sites, num_draws: int, chunk: int) -> None:
        self.run = run
        self.store = store
        self.sites = sites
        self.num_draws = num_draws
        self.chunk = chunk
        self.groups: dict[str, Group] = {}
        self.taken: frozenset[str] = frozenset()

    def attributes(self, group: str) -> dict[str, str]:
        """The attributes from which xarray reads a group's coordinates along its samples."""
        if group not in self.groups:
            return {}
        along = " ".join([*self.groups[group].along, *self.groups[group].names.rows])
        return {"coordinates": along} if along else {}

    def posterior(self, columns: Dataset, rows: Tensor) -> None:
        """Posterior, replicates, log-likelihoods and weights of the data, and the data."""
        self._open(POSTERIOR, columns, rows)
        given: dict[str, Tensor] = {}
        for at, batch in self._batches(columns):
            data = observed_values(self.run, batch, self.sites)
            draws = posterior_draws(self.run, batch, self.sites, self.num_draws, given=given)
            given = draws.globals()
            self._latents("posterior", draws, at)
            self._observed("posterior_predictive", draws, at)
            self._densities(draws, at)
            self._columns(batch, at, "constant_data")
            for name, value in data.items():
                dims = ("sample", *event_dims(name, value.dim() - 1))
                self.groups["observed_data"].put(name, value, dims, at)

    def _densities(self, draws: Draws, at: int) -> None:
        """The log-likelihoods by which models are compared, and what else the weights say."""
        stats = self.groups["sample_stats"]
        for site, value in draws.log_likelihood.items():
            stats.put(f"log_likelihood_given_latents_{site}", value[None], LEAD, at)
        if draws.log_weight is None:
            return
        weight = draws.log_weight.double()
        sites = self.sites.targets
        name = sites[0] if len(sites) == 1 else "joint"
        self.groups["log_likelihood"].put(name, leave_one_out(weight)[None], LEAD, at)
        stats.put("log_weight", weight[None], LEAD, at)
        total = weight.logsumexp(0)
        per_datum = {
            "marginal_log_likelihood": total - math.log(len(weight)),
            "pareto_k": pareto_k(weight),
            "effective_draws": (2 * total - (2 * weight).logsumexp(0)).exp(),
        }
        for name, value in per_datum.items():
            stats.put(name, value, ("sample",), at)

    def prior(self, columns: Dataset, rows: Tensor) -> None:
        """Draws of the prior, and of the data under it."""
        groups = ("prior", "prior_predictive")
        for at, _, draws in self._predicted(groups, columns, rows, use_guide=False):
            self._latents("prior", draws, at)
            self._observed("prior_predictive", draws, at)

    def predictions(self, columns: Dataset, rows: Tensor) -> None:
        """Draws of the latents and the data at columns that nothing is observed at."""
        constant = "predictions_constant_data"
        groups = ("predictions", constant)
        for at, batch, draws in self._predicted(groups, columns, rows, use_guide=True):
            self._latents("predictions", draws, at)
            self._observed("predictions", draws, at)
            self._columns(batch, at, constant, observed=True)

    def _predicted(
        self, groups: Sequence[str], columns: Dataset, rows: Tensor, *, use_guide: bool
    ) -> Iterator[tuple[int, dict[str, Tensor], Draws]]:
        self._open(groups, columns, rows)
        given: dict[str, Tensor] = {}
        for at, batch in self._batches(columns):
            draws = predictive_draws(
                self.run,
                batch,
                self.sites,
                self.num_draws,
                rows=len(next(iter(batch.values()))),
                use_guide=use_guide,
                given=given,
            )
            given = draws.globals()
            yield at, batch, draws

    def _batches(self, columns: Dataset) -> Iterator[tuple[int, dict[str, Tensor]]]:
        chunks = batches(self.run.guide, columns, self.chunk)
        return ((i * self.chunk, batch) for i, batch in enumerate(chunks))

    def _open(self, groups: Sequence[str], columns: Dataset, rows: Tensor) -> None:
        """Make groups whose samples are these rows."""
        structure = self.sites.structure
        sites = {*structure.latent, *structure.deterministic, *self.sites.targets}
        along = {
            name: torch.as_tensor(columns[name])
            for name in COORDINATES
            if name in columns and name not in sites
        }
        self.taken = frozenset({*sites, *columns})
        names = names_of(columns, along)
        names = replace(
            names, rows={self._free(name): texts for name, texts in names.rows.items()}
        )
        for group in groups:
            kept, said = (along, names)
            if group.endswith("constant_data"):
                kept, said = {}, Names(names.dims, {}, names.units)
            self.groups[group] = Group(self.store, group, rows, kept, said, self.taken)

    def _free(self, name: str) -> str:
        """The name of a further variable; with an underscore if a site or column has this name."""
        return f"{name}_" if name in self.taken else name

    def _latents(self, group: str, draws: Draws, at: int) -> None:
        for name, value in draws.latent.items():
            lead = ("chain", "draw") if name in draws.shared else LEAD
            rank = value.dim() + 1 - len(lead)
            put = self.groups[group].put
            if name in draws.rotations:
                quaternion = quaternion_of(value)[None]
                put(self._free(f"{name}_quaternion"), quaternion, (*lead, "quaternion"), at)
            put(name, value[None], (*lead, *latent_dims(name, rank, draws)), at)
            if name in draws.probs:
                probs = draws.probs[name]
                classes = ("class",) if probs.dim() > value.dim() else ()
                dims = (*lead, *latent_dims(name, rank, draws), *classes)
                put(self._free(f"{name}_probs"), probs[None], dims, at)
        self._deterministic(self.groups[group], draws, at)

    def _deterministic(self, group: Group, draws: Draws, at: int) -> None:
        for name, value in draws.deterministic.items():
            # The first rows, which are the most, show whether each datum has a value of its own.
            if at == 0 and value.shape[1] == draws.rows:
                group.by_datum.add(name)
            inner = tuple(f"{name}_{i}" for i in range(value.dim() - 2))
            if name in group.by_datum:
                value = value.expand(-1, draws.rows, *value.shape[2:])
                group.put(name, value[None], (*LEAD, *inner), at)
            else:
                group.put(name, value[None, :, 0], (*LEAD[:2], *inner), at)

    def _observed(self, group: str, draws: Draws, at: int) -> None:
        for name, value in draws.observed.items():
            dims = (*LEAD, *event_dims(name, value.dim() - 2))
            self.groups[group].put(name, value[None], dims, at)

    def _columns(
        self, batch: Mapping[str, Tensor], at: int, group: str, *, observed: bool = False
    ) -> None:
        """The columns that nothing is observed at, or all of them."""
        for name, value in batch.items():
            if observed or name not in self.sites.columns.values():
                dims = ("sample", *event_dims(name, value.dim() - 1))
                self.groups[group].put(name, value, dims, at)
