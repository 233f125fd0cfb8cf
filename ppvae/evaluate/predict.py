r"""Predictions of observed sites at given columns, with uncertainties.

The model is run without its observed columns. For a GP prior in evaluation mode that is the
posterior predictive given the training data,

.. math::
    p(x_* \mid \mathrm{object}, \mathrm{view}, X)
        = \int p(x_* \mid z_*) \, p(z_* \mid \mathrm{object}, \mathrm{view}, X) \, dz_*

for a model conditioned on c it is :math:`p(x \mid c)`, and for one without columns p(x).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError, ContractError
from ppvae.evaluate.draws import (
    LEADING,
    by_draw,
    expect_rows,
    log_density,
    predictive_trace,
    runs_on,
)
from ppvae.evaluate.scoring import counted, randomised
from ppvae.evaluate.scoring import interval as central
from ppvae.evaluate.sites import masks_of, observed_columns, seen_value
from ppvae.expected import SHARE, at_least
from ppvae.programs import (
    DATA_PLATE,
    Structure,
    as_columns,
    columns_of,
    evaluating,
    explained,
    forked,
    frames,
    log_prob,
    placement,
    sample_sites,
    seeded,
    signature,
    trace_program,
)
from ppvae.programs.means import arranged, is_categorical, is_site, probabilities, variance
from ppvae.programs.shared import shared_draws
from ppvae.programs.sites import Site, nodes_of
from ppvae.programs.traces import rows_of

__all__ = ["Prediction", "predict", "predictive_log_likelihood"]

# Elements of an observed site decoded at once, over draws and rows; the layers of a decoder hold
# many times as many.
BUDGET = 2**19


@dataclass(frozen=True)
class Prediction:
    r"""Predictions of one observed site at N data.

    For categories, ``mean`` is the number of the most probable one, ``probs`` their probabilities,
    and ``scale``, ``latent_scale`` and the interval are NaN.

    Attributes:
        mean: :math:`E[x_*]`, with shape (N, ...); NaN if it does not exist (Cauchy).
        scale: Standard deviation of :math:`x_*`, including the likelihood's noise, (N, ...).
        latent_scale: Part of the standard deviation due to the latents, without the noise,
            (N, ...); NaN if the likelihood has no mean in closed form.
        lower: Lower end of the central interval, (N, ...).
        upper: Upper end of the central interval, (N, ...).
        draws: Replicates of :math:`x_*`, with shape (S, N, ...), if requested.
        log_density: :math:`\log \frac1S \sum_s p(x_* \mid z_s)` of the data in nats per datum,
            with shape (N), if the columns hold the observed one.
        probs: Probabilities of categories, with shape (N, ..., K).
        ranks: Probability integral transform of the data among the draws
            (:func:`ppvae.evaluate.pit`), with shape (N, ...), if requested and the columns hold
            the observed one; NaN where ``truth`` is.
        truth: The data of the site as the model observes them, with shape (N, ...), if the columns
            hold the observed one; NaN where they are missing or masked.
    """

    mean: Tensor
    scale: Tensor
    latent_scale: Tensor
    lower: Tensor
    upper: Tensor
    draws: Tensor | None = None
    log_density: Tensor | None = None
    probs: Tensor | None = None
    ranks: Tensor | None = None
    truth: Tensor | None = None

    def cpu(self) -> Prediction:
        """The predictions on the CPU."""
        return replace(self, **{n: v.cpu() for n, v in vars(self).items() if v is not None})


@typed(interval=SHARE, num_draws=at_least(2), rows=at_least(1), seed=at_least(0))
@torch.no_grad()
def predict(
    model: nn.Module,
    columns: ColumnsLike,
    *,
    site: str | None = None,
    num_draws: int = 200,
    interval: float = 0.9,
    keep_draws: bool = False,
    ranks: bool = False,
    seed: int = 0,
    rows: int | None = None,
    guide: nn.Module | None = None,
) -> Prediction:
    """Predict an observed site at known columns.

    Arguments:
        model: The generative program; run in evaluation mode.
        columns: Known columns, such as ``object`` and ``view``, each with shape (N, ...): tensors,
            arrays, lists or numbers. An observed column, of this or of another site, is not used
            for the prediction: with two views x and k it is p(x), not p(x | k). That of the site
            is used for ``log_density``.
        site: Observed site; by default ``x``, or the model's last site if there is no ``x``.
        num_draws: Number of draws S per datum.
        interval: Probability mass of the central interval from ``lower`` to ``upper``.
        keep_draws: Whether to return the draws.
        ranks: Whether to return the ranks of the data among the draws.
        seed: Random seed of the draws; the caller's generators are restored.
        rows: Number of data N, if no column determines it.
        guide: Guide that draws the latents in place of the prior, if it needs no observed column
            (as that of an encoder-decoder); otherwise those outside the data plate alone, whose
            posterior given the training data it has.

    Raises:
        ArgumentError: If ``num_draws`` is below 2, ``interval`` is not between 0 and 1, the model
            has no such site, or takes none of the columns.
        ContractError: If the model needs a column that is not given, if it always observes another
            site that depends on its latents, or if the guide computes the posterior of a latent
            outside the data plate from a column that is not given.
        DataError: If a column does not hold numbers, or if columns differ in length.
    """
    given = as_columns(model, columns)
    number = _rows(given, rows)
    parts = []
    programs = [model] if guide is None else [model, guide]
    taken = columns_of(*programs)
    if given and not set(given) & set(taken):
        raise ArgumentError(
            f"predict: expected a column that the model takes, of {list(taken)}; got "
            f"{list(given)}. Name it as the model does, or pass rows=N for N predictions without "
            "columns."
        )
    scopes = seeded(seed, placement(model)), evaluating(*programs), explained(model, given)
    with scopes[0], scopes[1], scopes[2]:
        target = _target(model, {name: value[:1] for name, value in given.items()}, site)
        chunk = max(1, BUDGET // (num_draws * target.elements))
        unobserved = {name: value for name, value in given.items() if name not in target.left}
        shared: dict[str, Tensor] = {}
        if guide is not None and not runs_on(guide, unobserved):
            shared = shared_draws(model, guide, given, target.structure, num_draws)
        for start in range(0, number, chunk):
            some = {name: value[start : start + chunk] for name, value in given.items()}
            known = {k: v for k, v in some.items() if k in unobserved}
            size = {"size": min(chunk, number - start)}
            trace, _ = predictive_trace(
                model, {**known, **size}, target.structure, num_draws, guide=guide, given=shared
            )
            node = nodes_of(trace)[target.site]
            truth, seen = _truth(model, some, target, masked=bool(masks_of(node)))
            if DATA_PLATE in frames(node):
                expect_rows(model, rows_of([node]), size["size"])
            parts.append(_part(node, truth, interval, keep_draws))
            if seen is None:
                continue
            parts[-1]["truth"] = seen
            drawn = by_draw(node, node["value"])
            if ranks and seen.shape == drawn.shape[1:] and not is_categorical(node["fn"]):
                below, equal = counted(drawn, seen.to(drawn).nan_to_num(nan=0.0))
                parts[-1] |= {"below": below, "equal": equal}
        joined = {
            name: torch.cat([part[name] for part in parts], 1 if name == "draws" else 0)
            for name in parts[0]
        }
        # After all draws, which the noise of the ranks must not change.
        if "below" in joined:
            counts = joined.pop("below"), joined.pop("equal")
            missing = joined["truth"].isnan()
            joined["ranks"] = randomised(*counts, num_draws).masked_fill(missing, torch.nan)
    return Prediction(**joined)


def predictive_log_likelihood(
    model: nn.Module,
    batch: ColumnsLike,
    *,
    site: str | None = None,
    num_draws: int = 200,
    seed: int = 0,
) -> Tensor:
    r""":math:`\log p(x_* \mid \mathrm{columns})` of held-out data, in nats per datum.

    .. math::
        \log \frac1S \sum_s p(x_* \mid z_s), \qquad z_s \sim p(z_* \mid \mathrm{columns})

    No encoder is used: for a GP prior, it is the predictive density at an unseen view. It equals
    ``log_density`` of :func:`predict`.

    Arguments:
        model: The generative program; run in evaluation mode.
        batch: The observed column, with shape (N, ...), and the known ones.
        site: The observed site; ``x`` by default, or the model's last site.
        num_draws: S.
        seed: Random seed of the draws; the caller's generators are restored.

    Returns:
        In nats per datum, with shape (N).

    Raises:
        ArgumentError: If no column is observed at the site.
    """
    density = predict(model, batch, site=site, num_draws=num_draws, seed=seed).log_density
    if density is None:
        raise ArgumentError(
            f"predictive_log_likelihood: expected the observed column among {sorted(batch)}; got "
            "none that a site is observed at. Add it."
        )
    return density


@dataclass(frozen=True)
class _Target:
    """The site to predict.

    Attributes:
        site: Name of the site.
        column: Column that the site is observed at, if the column is given.
        structure: Structure of the model.
        elements: Number of elements of one value.
        computed: Whether the site's data are computed from the column.
        left: Columns that are left out, as sites are observed at them.
    """

    site: str
    column: str | None
    structure: Structure
    elements: int
    computed: bool
    left: frozenset[str] = frozenset()


def _rows(columns: Mapping[str, Tensor], rows: int | None) -> int:
    lengths = {name: len(column) for name, column in columns.items()}
    if rows is not None:
        lengths["rows"] = rows
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ArgumentError(
            f"predict: expected columns of one length; got {lengths}. Give every column one value "
            "per datum."
        )
    return next(iter(lengths.values()), 1)


def _target(model: nn.Module, one: Mapping[str, Tensor], site: str | None) -> _Target:
    """Run the model on one row to see its sites."""
    observing = trace_program(model, {**one, "size": 1})
    names = [name for name, node in nodes_of(observing).items() if is_site(node)]
    name = site or ("x" if "x" in names else names[-1])
    if name not in names:
        raise ArgumentError(
            f"site: expected one of the model's sites {names}; got {name!r}. Name one of them."
        )
    # Without the column named as the site, as a site that is not observed needs no data.
    needed = [name for name, p in signature(model).items() if p.default is p.empty]
    without = {n: value for n, value in one.items() if n in needed or n != name}
    trace = trace_program(model, {**without, "size": 1})
    node = nodes_of(trace)[name]
    column, computed, left = None, False, frozenset[str]()
    if one:
        columns = observed_columns(model, one, observing)
        column = columns.get(name)
        left = frozenset(columns.values()) - _conditions(model, one, columns, needed, column)
        computed = column is not None and observing.nodes[name]["value"] is not one[column]
        if node["is_observed"] and column is None:
            raise ArgumentError(
                f"site {name!r}: expected no value where nothing is observed; got one whichever "
                f"of {sorted(one)} is left out. Leave out the column that it is "
                "computed from."
            )
    dims = [-dim for n in sample_sites(trace).values() for dim in frames(n).values()]
    return _Target(
        site=name,
        column=column,
        structure=Structure(latent=(), observed=(), max_plate_nesting=max(dims, default=1)),
        elements=max(1, node["fn"].event_shape.numel()),
        computed=computed,
        left=left,
    )


def _conditions(
    model: nn.Module,
    one: Mapping[str, Tensor],
    columns: Mapping[str, str],
    needed: Sequence[str],
    column: str | None,
) -> frozenset[str]:
    """Columns of other observed sites that depend on no latent: they are conditions."""
    others = {site: c for site, c in columns.items() if c != column}
    if not others:
        return frozenset()
    given = {name: value for name, value in one.items() if name != column}
    scores = []
    for seed in (1, 2):
        with forked(placement(model), seed=seed):
            nodes = nodes_of(trace_program(model, {**given, "size": 1}))
        scores.append({site: log_prob(nodes[site]) for site in others})
    found = set()
    for site, other in others.items():
        if torch.equal(*(score[site] for score in scores)):
            found.add(other)
        elif other in needed:
            raise ContractError(
                f"site {site!r}: expected to be sampled where nothing is observed, as it depends "
                f"on the latents; got one that {type(model).__name__} always observes at "
                f"{other!r}, so that predictions would be neither given it nor without "
                "it. Give that argument of forward the default None."
            )
    return frozenset(found)


def _truth(
    model: nn.Module, some: Mapping[str, Tensor], target: _Target, *, masked: bool
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The data of the site as the model observes them, if their column is given.

    First as they are scored, then with NaN where they are missing or masked, (N, ...).
    """
    if target.column is None:
        return None, None
    if not target.computed and not masked:
        return some[target.column], some[target.column]
    with seeded(0, placement(model)):
        node = nodes_of(trace_program(model, some))[target.site]
    return node["value"], arranged(node, seen_value(node))


def _part(
    node: Site, truth: Tensor | None, interval: float, keep_draws: bool
) -> dict[str, Tensor]:
    """The prediction of a chunk of rows."""
    drawn, fn = by_draw(node, node["value"]), node["fn"]
    part: dict[str, Tensor] = {}
    if is_categorical(fn):
        part["probs"] = probabilities(node, leading=LEADING).mean(0)
        part["mean"] = part["probs"].argmax(-1)
        nothing = torch.full(part["mean"].shape, torch.nan, device=drawn.device)
        part |= dict.fromkeys(("scale", "latent_scale", "lower", "upper"), nothing)
    else:
        part |= _moments(node, drawn)
        part["lower"], part["upper"] = central(drawn, interval)
    if keep_draws:
        part["draws"] = drawn
    if truth is not None:
        part["log_density"] = log_density(node, truth).logsumexp(0) - math.log(len(drawn))
    return part


def _moments(node: Site, drawn: Tensor) -> dict[str, Tensor]:
    """The mean, the standard deviation and the part of it due to the latents, each (N, ...)."""
    fn = node["fn"]
    try:
        mean, noise = by_draw(node, fn.mean), by_draw(node, variance(fn)).mean(0)
    except (NotImplementedError, AttributeError):
        unknown = torch.full(drawn.shape[1:], torch.nan, dtype=drawn.dtype, device=drawn.device)
        return {"mean": drawn.mean(0), "scale": drawn.std(0), "latent_scale": unknown}
    # mean.var(0) in a tenth of its time.
    latent = (mean - mean.mean(0)).square().sum(0) / (len(mean) - 1)
    scales = {"scale": (latent + noise).sqrt(), "latent_scale": latent.sqrt()}
    return {"mean": mean.mean(0), **scales}
