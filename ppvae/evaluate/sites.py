r"""The sampled and observed sites of a pair, and the columns that observed sites come from.

Observed sites may have any name and number, and may be computed from a column
(``obs=x / x.sum(-1, keepdim=True)``, slices ``obs=x[..., t]``). The data of a site are the values
in a run of the model with the columns; a column counts as observed where a site is no longer
observed without it. Deterministic sites and factors are not data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pyro import poutine
from pyro.distributions import MaskedDistribution
from torch import Tensor, nn

from ppvae.errors import ArgumentError, ContractError, PPVAEError
from ppvae.programs import (
    DATA_PLATE,
    Structure,
    check_pair,
    forked,
    frames,
    placement,
    signature,
    trace_program,
)
from ppvae.programs.means import arranged, is_density, is_site
from ppvae.programs.sites import Site, nodes_of
from ppvae.programs.traces import expect_whole
from ppvae.runs.run import Run

__all__ = [
    "Sites",
    "expect_column",
    "masks_of",
    "observed_columns",
    "observed_values",
    "seen_value",
    "sites_of",
]


@dataclass(frozen=True)
class Sites:
    """The sampled and observed sites of a pair.

    Attributes:
        structure: Structure of the pair.
        targets: Observed sites that represent data: those in the data plate, no deterministic
            sites, no factors.
        columns: Column that each observed site is observed at or computed from.
        computed: Observed sites with other values than the column, missing ones apart.
        required: Observed columns that the model cannot run without.
        continuous: Whether all targets are scored by densities, rather than some by probabilities.
    """

    structure: Structure
    targets: tuple[str, ...]
    columns: Mapping[str, str]
    computed: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    continuous: bool = True

    def known(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The columns of a batch at which no site is observed.

        Raises:
            ContractError: If the model always observes a site, so that it cannot be predicted.
        """
        for site in self.targets:
            if site not in self.columns or self.columns[site] in self.required:
                raise ContractError(
                    f"site {site!r}: expected to be sampled where nothing is observed; got an "
                    f"observed value whichever of {sorted(batch)} is left out. Give the argument "
                    "of forward that it comes from the default None, and pass obs=None where it "
                    "is None."
                )
        observed = set(self.columns.values())
        return {name: value for name, value in batch.items() if name not in observed}


def _observed(trace: poutine.Trace) -> list[str]:
    return [
        name for name, node in nodes_of(trace).items() if is_site(node) and node["is_observed"]
    ]


def observed_columns(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    trace: poutine.Trace,
    replayed: poutine.Trace | None = None,
) -> dict[str, str]:
    """The column of each observed site: by value, by name, or by the effect of leaving it out.

    Arguments:
        model: The generative program.
        batch: A few rows, columns by name.
        trace: A trace of the model on this batch.
        replayed: The guide's trace that it was run against, if any.
    """
    columns = {}
    for site in _observed(trace):
        same = [name for name, value in batch.items() if value is trace.nodes[site]["value"]]
        if site in batch or same:
            columns[site] = site if site in batch else same[0]
    rest = [site for site in _observed(trace) if site not in columns]
    rows = len(next(iter(batch.values()))) if batch else 1
    for left_out in batch if rest else ():
        if left_out in _required(model):
            continue
        others = {name: value for name, value in batch.items() if name != left_out}
        try:
            without = trace_program(model, {**others, "size": rows}, replay=replayed)
        except (PPVAEError, RuntimeError, TypeError, AttributeError, ValueError):
            continue  # A column that the model cannot run without is not an observed one.
        free = set(rest) - set(_observed(without))
        columns |= {site: left_out for site in rest if site in free and site not in columns}
    return columns


def _required(model: nn.Module) -> frozenset[str]:
    """The arguments of a program that have no default."""
    return frozenset(name for name, p in signature(model).items() if p.default is p.empty)


def sites_of(run: Run, batch: Mapping[str, Tensor]) -> Sites:
    """Run a pair once on some rows.

    Arguments:
        run: Its model and guide.
        batch: Columns by name.

    Raises:
        ContractError: If the pair does not fit the batch, or if it has a random part of a plate.
    """
    structure = check_pair(run.model, run.guide, batch, training=False)
    guide_trace = trace_program(run.guide, batch)
    trace = trace_program(run.model, batch, replay=guide_trace)
    expect_whole(trace)
    nodes = nodes_of(trace)
    targets = tuple(name for name in structure.observed if DATA_PLATE in frames(nodes[name]))
    columns = observed_columns(run.model, batch, trace, guide_trace)
    computed = frozenset(
        site
        for site in targets
        if site not in columns or not _is_column(nodes[site]["value"], batch[columns[site]])
    )
    continuous = all(is_density(nodes[site]["fn"]) for site in targets)
    return Sites(structure, targets, columns, computed, _required(run.model), continuous)


def _is_column(value: Tensor, column: Tensor) -> bool:
    """Whether a site is observed at a column, up to what stands for missing values."""
    if value is column:
        return True
    missing = column.isnan() if column.is_floating_point() else column == -1
    return value.shape == column.shape and bool(((value == column) | missing).all())


def observed_values(run: Run, batch: Mapping[str, Tensor], sites: Sites) -> dict[str, Tensor]:
    """The data of each observed site, with shape (N, ...), as the model observes them.

    What a mask leaves out of the log-density is NaN (:func:`seen_value`). The programs run with
    Pyro's validation on, so that they refuse invalid values, such as a class out of range.

    Arguments:
        run: Its model and guide, as they are.
        batch: Columns by name, each with shape (N, ...).
        sites: The pair's sites.
    """
    with forked(placement(run.model), placement(run.guide)):
        trace = trace_program(run.model, batch, replay=trace_program(run.guide, batch))
    nodes = nodes_of(trace)
    return {name: arranged(nodes[name], seen_value(nodes[name])) for name in sites.targets}


def expect_column(sites: Sites, column: str) -> None:
    """Refuse a pair that does not observe a column as it is, but as ``obs=x / x.sum()``, say.

    Arguments:
        sites: The pair's sites.
        column: Name of the column, and of the site that observes it.

    Raises:
        ArgumentError: If no site of that name observes the column itself.
    """
    if column not in sites.targets or column in sites.computed:
        computed = f"one computed from {sites.columns.get(column)!r}"
        got = computed if column in sites.targets else f"the sites {list(sites.targets)}"
        raise ArgumentError(
            f"column: expected a site {column!r} that observes the column {column!r} itself; got "
            f"{got}. Pass what the model observes as that column, or use Run.predict, whose "
            "numbers are those of the site."
        )


def seen_value(node: Site) -> Tensor:
    """The value of an observed site, with NaN where a mask leaves it out of the log-density.

    Masks are those of ``poutine.mask`` and of ``.mask()``. Whole numbers of which some are left
    out become floating-point numbers.

    Arguments:
        node: The site in a trace.
    """
    value = node["value"]
    for mask, event_dim in masks_of(node):
        kept = torch.as_tensor(mask, device=value.device)
        if not kept.all():
            value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
            left_out = ~kept.reshape(*kept.shape, *[1] * event_dim)
            value = value.expand(torch.broadcast_shapes(value.shape, left_out.shape))
            value = value.masked_fill(left_out, torch.nan)
    return value


def masks_of(node: Site) -> list[tuple[Tensor | bool, int]]:
    """The masks of a site, each with the number of dimensions of what one entry masks.

    Arguments:
        node: The site in a trace.
    """
    fn, mask = node["fn"], node["mask"]
    masks = [] if mask is None else [(mask, fn.event_dim)]
    while hasattr(fn, "base_dist"):
        if isinstance(fn, MaskedDistribution):
            masks.append((fn._mask, fn.event_dim))
        fn = fn.base_dist
    return masks
