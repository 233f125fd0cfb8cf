r"""Draws from a fitted pair, site by site: of the posterior, its replicates, and predictions.

.. math::
    z^s \sim q(z \mid x), \quad \tilde x^s \sim p(x \mid z^s) \qquad\text{or}\qquad
    z^s \sim p(z \mid \mathrm{columns}), \quad \tilde x^s \sim p(x \mid z^s)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyro
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.objectives import ELBO
from ppvae.objectives.weights import log_weights
from ppvae.programs import DATA_PLATE, PARTICLES, Structure, arguments, signature
from ppvae.runs.run import Run

__all__ = ["Draws", "Sites", "posterior_draws", "predictive_draws", "sites_of"]


@dataclass(frozen=True)
class Sites:
    """What a pair samples and observes.

    Attributes:
        structure: Of the pair.
        columns: Observed site to the column it is observed at, often of the same name.
    """

    structure: Structure
    columns: Mapping[str, str]

    def known(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The columns that nothing is observed at."""
        return {k: v for k, v in batch.items() if k not in self.columns.values()}


def sites_of(run: Run, batch: Mapping[str, Tensor]) -> Sites:
    """Run a pair once on some rows.

    Raises:
        ContractError: If the pair does not fit the batch, or if an observed site has neither
            the name nor the value of a column.
    """
    objective = ELBO()(run.model, run.guide)
    structure = objective.check(batch)
    _, context = objective.evaluate(batch)
    columns = {}
    for site in structure.observed:
        same = [name for name, value in batch.items() if value is context.values[site]]
        named = [site] if site in batch else same
        if not named:
            raise ContractError(
                f"site {site!r}: expected to be observed at a column; got values that are none "
                f"of {sorted(batch)}. Pass the column itself as obs, or name the site after it."
            )
        columns[site] = named[0]
    return Sites(structure, columns)


@dataclass(frozen=True)
class Draws:
    """S draws of the sites of N data.

    Attributes:
        latent: Site to draws, with shape (S, N, ...).
        probs: Discrete latent site to the probabilities it was drawn from, (S, N, K).
        observed: Observed site to replicates, with shape (S, N, ...).
        shared: The latent sites outside the data plate, whose draws have shape (S, ...).
        log_likelihood: Observed site to the log-density of the data at each draw, (S, N).
        log_weight: :math:`\\log p(x, z^s) - \\log q(z^s \\mid x)`, with shape (S, N).
    """

    latent: Mapping[str, Tensor]
    probs: Mapping[str, Tensor]
    observed: Mapping[str, Tensor]
    shared: frozenset[str] = frozenset()
    log_likelihood: Mapping[str, Tensor] = field(default_factory=dict)
    log_weight: Tensor | None = None

    def globals(self) -> dict[str, Tensor]:
        """The draws of the shared sites: pass them on for the next rows."""
        return {name: self.latent[name] for name in self.shared}


class _Given(Messenger):
    """Puts given values, with shape (S, ...), in place of draws."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["done"]:
            value = self.values[msg["name"]]
            event_dim = msg["fn"].event_dim
            batch = msg["fn"].batch_shape
            msg["value"] = value.reshape(*batch, *value.shape[value.dim() - event_dim :])
            msg["done"] = True


def posterior_draws(
    run: Run,
    batch: Mapping[str, Tensor],
    sites: Sites,
    num_draws: int,
    *,
    given: Mapping[str, Tensor] | None = None,
) -> Draws:
    """Draws of the guide, and of each observed site given them.

    A site that depends on another observed one is drawn given that one's data.

    Arguments:
        run: Its model and guide, as they are (evaluation mode is the caller's affair).
        batch: Columns by name, each with shape (N, ...).
        sites: Of the pair.
        num_draws: S.
        given: Draws of shared sites, from :meth:`Draws.globals` of other rows.
    """
    structure = sites.structure
    guide_trace = _trace(run.guide, batch, structure, num_draws, given)
    with poutine.replay(trace=guide_trace):
        model_trace = _trace(run.model, batch, structure, num_draws)
    drawn = _draws(structure, model_trace, guide_trace)
    nodes = {name: model_trace.nodes[name] for name in structure.observed}
    weights = log_weights(
        replace(structure, enumerated=()),
        guide_trace,
        model_trace,
        particles=num_draws,
    )
    return replace(
        drawn,
        observed={name: _arrange(node, node["fn"].sample()) for name, node in nodes.items()},
        log_likelihood={
            name: _arrange(node, node["fn"].log_prob(node["value"]), event_dim=0)
            for name, node in nodes.items()
        },
        log_weight=weights,
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
    """Draws of the model's sites at known columns, nothing being observed.

    Latents come from the prior, which for a GP prior in evaluation mode is the posterior
    predictive given the training data; or from the guide, if it needs no observed column (an
    encoder-decoder's).

    Arguments:
        run: Its model and guide, as they are.
        columns: What is known, by name, each with shape (N, ...); observed ones are not used.
        sites: Of the pair.
        num_draws: S.
        rows: N.
        use_guide: False for the prior whatever the guide needs.
        given: Draws of shared sites.

    Raises:
        ContractError: If the model cannot tell how many data to sample.
    """
    structure, known = sites.structure, sites.known(columns)
    sized: dict[str, Any] = {**known, "size": rows}
    if use_guide and _runs_on(run.guide, known):
        source = _trace(run.guide, known, structure, num_draws, given)
        with poutine.replay(trace=source):
            trace = _trace(run.model, sized, structure, num_draws)
    else:
        source = trace = _trace(run.model, sized, structure, num_draws, given)
    drawn = _draws(structure, trace, source)
    found = {value.shape[1] for value in drawn.observed.values()}
    if found != {rows}:
        raise ContractError(
            f"{type(run.model).__name__}: expected predictions of {rows} data; got {found}. "
            "Give forward an argument size, or columns that say how many."
        )
    return drawn


def _runs_on(guide: nn.Module, columns: Mapping[str, Tensor]) -> bool:
    needed = [name for name, p in signature(guide).items() if p.default is p.empty]
    return bool(needed) and all(name in columns for name in needed)


def _trace(
    module: nn.Module,
    batch: Mapping[str, Any],
    structure: Structure,
    num_draws: int,
    given: Mapping[str, Tensor] | None = None,
) -> Any:
    plate = pyro.plate(PARTICLES, num_draws, dim=-1 - structure.max_plate_nesting)
    with pyro.validation_enabled(False), _Given(given or {}):
        # The plate inside the values that are given: they are shaped as the plate has it.
        return poutine.trace(plate(module)).get_trace(**arguments(module, batch))


def _draws(structure: Structure, model_trace: Any, latent_trace: Any) -> Draws:
    latent = {name: latent_trace.nodes[name] for name in structure.latent}
    return Draws(
        latent={name: _arrange(node, node["value"]) for name, node in latent.items()},
        probs={
            name: _arrange(node, node["fn"].probs, event_dim=1)
            for name, node in latent.items()
            if node["fn"].has_enumerate_support
        },
        observed={
            name: _arrange(model_trace.nodes[name], model_trace.nodes[name]["value"])
            for name in structure.observed
        },
        shared=frozenset(n for n, node in latent.items() if DATA_PLATE not in _frames(node)),
    )


def _frames(node: Any) -> dict[str, int]:
    return {f.name: f.dim for f in node["cond_indep_stack"] if f.vectorized}


def _arrange(node: Any, value: Tensor, event_dim: int | None = None) -> Tensor:
    """What belongs to a site as (S, [N], plates..., *event)."""
    event_dim = node["fn"].event_dim if event_dim is None else event_dim
    frames = _frames(node)
    order = [PARTICLES, DATA_PLATE]
    names = sorted(frames, key=lambda name: order.index(name) if name in order else len(order))
    nesting = max(-dim for dim in frames.values())
    batch = node["fn"].batch_shape
    batch = (1,) * (nesting - len(batch)) + tuple(batch)
    event = value.shape[value.dim() - event_dim :]
    value = value.expand(*batch, *event)
    kept = [len(batch) + frames[name] for name in names]
    others = [dim for dim in range(len(batch)) if dim not in kept]
    value = value.permute(*others, *kept, *range(len(batch), value.dim()))
    return value.reshape(*(batch[dim] for dim in kept), *event)
