r"""The posterior of latents that all data share, for predictions and means.

After training, a prediction is :math:`\int p(x_* \mid W) \, q(W) \, dW`: latents in the data plate
come from their prior, those outside it from the guide.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.batches import placement
from ppvae.programs.contract import signature
from ppvae.programs.decoding import decode, decoded_nodes, values_of
from ppvae.programs.means import arranged, encode, is_site
from ppvae.programs.scopes import evaluating, forked
from ppvae.programs.sites import DATA_PLATE, Site
from ppvae.programs.structure import Structure
from ppvae.programs.threads import unvalidated
from ppvae.programs.traces import PARTICLES, frames, sample_sites, trace_program

__all__ = ["decode_given_data", "shared_draws"]

# Rows that are drawn in place of the observed columns, where these are not given.
STANDING_IN = 4


def shared_draws(
    model: nn.Module,
    guide: nn.Module,
    columns: Mapping[str, Tensor],
    structure: Structure,
    num_draws: int,
) -> dict[str, Tensor]:
    """S draws of the guide's sites outside the data plate, with shape (S, ...).

    Where the guide needs observed columns that are not given, it runs on draws of the model; the
    posterior of these sites must not depend on them.

    Arguments:
        model: The generative program.
        guide: The variational program.
        columns: Columns by name; observed ones may be among them.
        structure: Structure of the model, or of the pair.
        num_draws: Number of draws S.

    Raises:
        ContractError: If the posterior of such a site depends on columns that are not given.
    """
    names = _shared(model, columns)
    if not names:
        return {}
    batch = _complete(model, guide, columns, names)
    if batch is None:
        raise ContractError(
            f"predict: expected the columns {_missing(guide, columns)} of the guide, from which "
            f"the posterior of {names} is computed, outside the data plate; got "
            f"{sorted(columns)}. Pass them, such as those of training data."
        )
    with unvalidated():
        trace = trace_program(guide, batch, structure, particles=num_draws, enumerate=False)
    nodes = sample_sites(trace)
    leading = (PARTICLES, DATA_PLATE)
    return {n: arranged(nodes[n], nodes[n]["value"], leading=leading) for n in names}


def decode_given_data(
    model: nn.Module,
    guide: nn.Module,
    latents: Mapping[str, Tensor],
    columns: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """As :func:`ppvae.programs.decode`, with shared latents left out at their posterior means.

    This holds for those whose posterior does not depend on columns that are not given.

    Arguments:
        model: The generative program.
        guide: The variational program.
        latents: Latent sites by name, as :func:`ppvae.programs.encode` returns them.
        columns: Known columns by name.
    """
    nodes = decoded_nodes(model, latents, columns)
    names, batch = [name for name, node in nodes.items() if _is_shared(node)], None
    if names:
        row = {name: column[:1] for name, column in columns.items()}
        with evaluating(model, guide):
            batch = _complete(model, guide, row, names)
    if batch is None:
        return values_of(nodes)
    encoded = encode(guide, batch)
    means = {name: encoded[name] for name in names}
    return means | decode(model, {**means, **latents}, columns=columns)


def _shared(model: nn.Module, columns: Mapping[str, Tensor]) -> list[str]:
    """The latent sites outside the data plate."""
    with forked(placement(model)):
        nodes = sample_sites(trace_program(model, _sized(columns)))
    return [name for name, node in nodes.items() if _is_shared(node)]


def _is_shared(node: Site) -> bool:
    return is_site(node) and not node["is_observed"] and DATA_PLATE not in frames(node)


def _sized(columns: Mapping[str, Tensor]) -> dict[str, Tensor | int]:
    rows = next((len(column) for column in columns.values()), STANDING_IN)
    return {**columns, "size": rows}


def _missing(guide: nn.Module, columns: Mapping[str, Tensor]) -> list[str]:
    """The columns that a guide needs and that are not given."""
    needed = [name for name, p in signature(guide).items() if p.default is p.empty]
    return [name for name in needed if name not in columns]


def _complete(
    model: nn.Module, guide: nn.Module, columns: Mapping[str, Tensor], names: list[str]
) -> Mapping[str, Tensor] | None:
    """Columns on which a guide gives these sites their posterior, or None."""
    missing = _missing(guide, columns)
    if not missing:
        return columns
    one, other = (_standing_in(model, columns, missing, seed) for seed in (1, 2))
    return one if one and other and _agree(guide, one, other, names) else None


def _standing_in(
    model: nn.Module, columns: Mapping[str, Tensor], missing: list[str], seed: int
) -> dict[str, Tensor] | None:
    """The columns with draws of the model in place of the missing ones; None if it draws none."""
    with forked(placement(model), seed=seed):
        nodes = sample_sites(trace_program(model, _sized(columns)))
    if not set(missing) <= set(nodes):
        return None
    return {**columns, **{name: arranged(nodes[name], nodes[name]["value"]) for name in missing}}


def _agree(
    guide: nn.Module, one: Mapping[str, Tensor], other: Mapping[str, Tensor], names: list[str]
) -> bool:
    """Whether the posteriors of these sites are the same given two batches."""
    values = []
    for batch in (one, other):
        with forked(placement(guide), seed=0):
            nodes = sample_sites(trace_program(guide, batch))
        values.append([nodes[name]["value"] for name in names])
    return all(torch.equal(a, b) for a, b in zip(*values, strict=True))
