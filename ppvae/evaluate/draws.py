r"""Draws from a fitted pair, site by site: of the posterior, its replicates, and predictions.

.. math::
    z^s \sim q(z \mid x), \quad \tilde x^s \sim p(x \mid z^s) \qquad\text{or}\qquad
    z^s \sim p(z \mid \mathrm{columns}), \quad \tilde x^s \sim p(x \mid z^s)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from ppvae.distributions import Counts, rotation_matrix, unit_vector
from ppvae.distributions.supports import support_of
from ppvae.errors import ContractError
from ppvae.evaluate.points import points_among
from ppvae.evaluate.sites import Sites
from ppvae.objectives.weights import log_weights
from ppvae.programs import (
    DATA_PLATE,
    PARTICLES,
    Structure,
    frames,
    signature,
    trace_program,
)
from ppvae.programs.densities import no_draws
from ppvae.programs.means import arranged, probabilities
from ppvae.programs.shared import shared_draws
from ppvae.programs.sites import Site, nodes_of
from ppvae.programs.threads import unvalidated
from ppvae.programs.traces import expect_sites, rows_of
from ppvae.runs.run import Run

__all__ = [
    "LEADING",
    "Draws",
    "by_draw",
    "expect_rows",
    "log_density",
    "posterior_draws",
    "predictive_draws",
    "predictive_trace",
    "runs_on",
]

LEADING = (PARTICLES, DATA_PLATE)


@dataclass(frozen=True)
class Draws:
    """S draws of the sites of N data.

    Attributes:
        latent: Draws by latent site, with shape (S, N, ...).
        probs: Probabilities that each discrete latent site was drawn from, (S, N, K), or
            (S, N, ...) of Bernoulli sites.
        observed: Replicates by observed site, with shape (S, N, ...).
        shared: Latent sites outside the data plate, with draws of shape (S, ...).
        directions: Latent sites of unit vectors.
        rotations: Latent sites of rotation matrices (3, 3).
        deterministic: Values of the model's deterministic sites, with shape (S, N, ...), or
            (S, 1, ...) if they are the same for all data.
        rows: N.
        log_likelihood: Log-density of the data at each draw, by observed site, (S, N).
        log_weight: :math:`\\log p(x, z^s) - \\log q(z^s \\mid x)`, with shape (S, N); None where
            the guide gives a latent of each datum as a point (:mod:`ppvae.evaluate.points`).
    """

    latent: Mapping[str, Tensor]
    probs: Mapping[str, Tensor]
    observed: Mapping[str, Tensor]
    shared: frozenset[str] = frozenset()
    directions: frozenset[str] = frozenset()
    rotations: frozenset[str] = frozenset()
    deterministic: Mapping[str, Tensor] = field(default_factory=dict)
    rows: int = 1
    log_likelihood: Mapping[str, Tensor] = field(default_factory=dict)
    log_weight: Tensor | None = None

    def globals(self) -> dict[str, Tensor]:
        """The draws of the shared sites, to be passed with the next rows."""
        return {name: self.latent[name] for name in self.shared}


def _replicate(node: Site) -> Tensor:
    """A replicate of a site at each draw; of counts, with the datum's own library."""
    fn = node["fn"]
    fn = fn.given(node["value"]) if isinstance(fn, Counts) else fn
    try:
        value: Tensor = fn().detach()
    except NotImplementedError as error:
        raise no_draws(node["name"], fn, str(error)) from error
    return value


def posterior_draws(
    run: Run,
    batch: Mapping[str, Tensor],
    sites: Sites,
    num_draws: int,
    *,
    given: Mapping[str, Tensor] | None = None,
) -> Draws:
    """Draws of the guide, and of each observed site given them.

    A site that depends on another observed site is drawn given the data of that site.

    Arguments:
        run: Fitted run; its model and guide are used in their current mode.
        batch: Columns by name, each with shape (N, ...).
        sites: The pair's sites.
        num_draws: S.
        given: Draws of shared sites, from :meth:`Draws.globals` of other rows.
    """
    structure = sites.structure
    guide_trace = _trace(run.guide, batch, structure, num_draws, given=given)
    model_trace = _trace(run.model, batch, structure, num_draws, replay=guide_trace)
    expect_sites(structure, guide_trace, model_trace)
    drawn = _draws(sites, model_trace, guide_trace, num_draws)
    nodes = {name: nodes_of(model_trace)[name] for name in sites.targets}
    q, p = nodes_of(guide_trace), nodes_of(model_trace)
    points = points_among(
        structure,
        {name: q[name]["fn"] for name in structure.latent},
        {name: p[name]["fn"] for name in structure.latent},
        {name: q[name]["value"] for name in structure.latent},
        particles=num_draws,
    )
    plain = replace(structure, enumerated=())
    weights = log_weights(plain, guide_trace, model_trace, particles=num_draws)
    return replace(
        drawn,
        observed={name: by_draw(node, _replicate(node)) for name, node in nodes.items()},
        log_likelihood={name: log_density(node, node["value"]) for name, node in nodes.items()},
        log_weight=None if points else weights,
    )


def predictive_draws(
    run: Run,
    columns: Mapping[str, Tensor],
    sites: Sites,
    num_draws: int,
    *,
    rows: int,
    use_guide: bool = True,
    given: Mapping[str, Tensor] | None = None,
) -> Draws:
    """Draws of the model's sites at known columns, with nothing observed.

    Latents come from the prior, which for a GP prior in evaluation mode is the posterior
    predictive given the training data; or from the guide, if it needs no observed column (as that
    of an encoder-decoder). Latents outside the data plate come from the guide in any case.

    Arguments:
        run: Fitted run; its model and guide are used in their current mode.
        columns: Known columns by name, each with shape (N, ...); observed ones are not used.
        sites: Sites of the pair.
        num_draws: Number of draws S.
        rows: Number of data N.
        use_guide: Whether to draw from the guide as above; False for always the prior.
        given: Draws of shared sites.

    Raises:
        ContractError: If the model cannot determine the number of data to sample.
    """
    if use_guide and sites.structure.shared and not given:
        given = shared_draws(run.model, run.guide, columns, sites.structure, num_draws)
    trace, source = predictive_trace(
        run.model,
        {**sites.known(columns), "size": rows},
        sites.structure,
        num_draws,
        guide=run.guide if use_guide else None,
        given=given,
    )
    drawn = _draws(sites, trace, source, num_draws)
    expect_rows(run.model, drawn.rows, rows)
    return drawn


def expect_rows(model: nn.Module, actual: int, rows: int) -> None:
    """Refuse a model that sampled another number of data than requested.

    Arguments:
        model: The generative program.
        actual: Number of data that it sampled.
        rows: Number of data that were requested.

    Raises:
        ContractError: If the two differ.
    """
    if actual != rows:
        raise ContractError(
            f"{type(model).__name__}: expected predictions of {rows} data; got {actual}. Give "
            "forward an argument size and pass it on, data_plate(x, size=size), or pass a column "
            "that says how many."
        )


def predictive_trace(
    model: nn.Module,
    known: Mapping[str, Tensor | int],
    structure: Structure,
    num_draws: int,
    *,
    guide: nn.Module | None = None,
    given: Mapping[str, Tensor] | None = None,
) -> tuple[poutine.Trace, poutine.Trace]:
    """A trace of S runs of a model at known columns, and the trace that drew its latents.

    Arguments:
        model: The generative program.
        known: Known columns by name, and the number of data as ``size``.
        structure: Structure of the model, or of the pair.
        num_draws: Number of draws S.
        guide: Guide that draws the latents in place of the prior, if it runs on the known columns.
        given: Draws of shared sites.
    """
    if guide is not None and runs_on(guide, known):
        source = _trace(guide, known, structure, num_draws, given=given)
        return _trace(model, known, structure, num_draws, replay=source), source
    trace = _trace(model, known, structure, num_draws, given=given)
    return trace, trace


def runs_on(guide: nn.Module, columns: Collection[str]) -> bool:
    """Whether a guide needs columns, all of them among these."""
    needed = [name for name, p in signature(guide).items() if p.default is p.empty]
    return bool(needed) and all(name in columns for name in needed)


def _trace(
    module: nn.Module,
    batch: Mapping[str, Tensor | int],
    structure: Structure,
    num_draws: int,
    *,
    given: Mapping[str, Tensor] | None = None,
    replay: poutine.Trace | None = None,
) -> poutine.Trace:
    with unvalidated():
        trace = trace_program(
            module,
            batch,
            structure,
            particles=num_draws,
            enumerate=False,
            given=given,
            replay=replay,
            unscaled=True,
        )
    missing = [name for name in structure.latent if name not in trace.nodes]
    if missing:
        raise ContractError(
            f"{type(module).__name__}: expected the latent sites {list(structure.latent)} where "
            f"nothing is observed, too; got a run without {missing}. Sample them whether or not "
            "the data are given."
        )
    return trace


def _draws(
    sites: Sites, model_trace: poutine.Trace, latent_trace: poutine.Trace, num_draws: int
) -> Draws:
    latent = {name: nodes_of(latent_trace)[name] for name in sites.structure.latent}
    observed = {name: nodes_of(model_trace)[name] for name in sites.targets}
    rows = rows_of((*latent.values(), *observed.values()))
    size = (num_draws, rows)
    return Draws(
        latent={name: by_draw(node, node["value"]) for name, node in latent.items()},
        probs={
            name: probabilities(node, leading=LEADING)
            for name, node in latent.items()
            if node["fn"].has_enumerate_support
        },
        observed={name: by_draw(node, node["value"]) for name, node in observed.items()},
        shared=frozenset(n for n, node in latent.items() if DATA_PLATE not in frames(node)),
        directions=_supported(latent, unit_vector),
        rotations=_supported(latent, rotation_matrix),
        deterministic={
            name: _computed(nodes_of(model_trace)[name], sites.structure, size)
            for name in sites.structure.deterministic
        },
        rows=rows,
    )


def _computed(node: Site, structure: Structure, size: tuple[int, int]) -> Tensor:
    """The values of a deterministic site, with shape (S, N or 1, other plates..., *event).

    Without ``event_dim``, Pyro counts all dimensions of the value as the event's. Those of the
    event are then the ones to the right of the plates and the particles, which a value has in
    front if it depends on a latent site.
    """
    draws, rows = size
    value, event_dim, nesting = node["value"], node["fn"].event_dim, structure.max_plate_nesting
    in_plate = DATA_PLATE in frames(node)
    if event_dim == value.dim():
        rank = len(structure.event_shapes[node["name"]])
        if value.dim() > rank:
            event_dim = value.dim() - nesting - 1
        else:
            event_dim = rank - (in_plate and rank > 0 and value.size(0) == rows)
    batch, event = value.shape[: value.dim() - event_dim], value.shape[value.dim() - event_dim :]
    value = value.reshape((1,) * (nesting + 1 - len(batch)) + batch + event)
    value = value.movedim(nesting, 1)
    value = value.expand(draws, rows if in_plate else -1, *value.shape[2:])
    inner = [n for n in value.shape[2 : nesting + 1] if n > 1]
    return value.reshape(*value.shape[:2], *inner, *event)


def _supported(nodes: Mapping[str, Site], support: Constraint) -> frozenset[str]:
    return frozenset(name for name, node in nodes.items() if support_of(node["fn"]) is support)


def log_density(node: Site, data: Tensor) -> Tensor:
    """The log-density of a site's data at each of S draws of its latents, with shape (S, N).

    Arguments:
        node: The site in a trace of S runs.
        data: Values that the model observes.
    """
    value = scale_and_mask(node["fn"].log_prob(data), node["scale"], node["mask"])
    by_plate = by_draw(node, value, event_dim=0)
    return by_plate.reshape(*by_plate.shape[:2], -1).sum(2)


def by_draw(node: Site, value: Tensor, *, event_dim: int | None = None) -> Tensor:
    """A value of a site with its dimensions in the order (S, [N], other plates..., *event)."""
    return arranged(node, value, leading=LEADING, event_dim=event_dim)
