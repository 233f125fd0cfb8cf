"""Means of the observed sites of a model, given latents."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError, ContractError, PPVAEError
from ppvae.programs.batches import placed
from ppvae.programs.contract import DATA_PLATE, signature
from ppvae.programs.means import AtMean, arranged, is_categorical, is_site, probabilities
from ppvae.programs.scopes import evaluating, explained
from ppvae.programs.sites import Site, nodes_of
from ppvae.programs.threads import tracing
from ppvae.programs.traces import expect_whole, frames, trace_program

__all__ = ["decode", "decoded_nodes", "values_of"]


@typed()
def decode(
    model: nn.Module,
    latents: Mapping[str, Tensor],
    *,
    columns: Mapping[str, Tensor] | None = None,
    site: str | None = None,
) -> dict[str, Tensor]:
    """The means of the observed sites given latents, by name, with shape (N, ...).

    Categories are decoded to the most probable one of each element, with their probabilities
    (N, ..., K) as ``x_probs``. A latent that is not given is set to the mean of its prior, and
    returned, too.

    Arguments:
        model: The generative program.
        latents: Latent sites by name, as :func:`encode` returns them, each with shape (N, ...);
            one outside the data plate with the shape of its event.
        columns: Known columns (N, ...) that the model takes, by name. Observed columns may be
            passed, but the decoded means do not depend on them.
        site: One site to return; all that are not given by default.

    Raises:
        ArgumentError: If a latent has the wrong rank, or if the model has no such site.
        ContractError: If the model needs a column that is not given.
    """
    nodes = decoded_nodes(model, latents, columns or {})
    if site is not None and site not in nodes:
        raise ArgumentError(
            f"site: expected one of the sites that are decoded, {sorted(nodes)}; got {site!r}. "
            "Name one of them."
        )
    return values_of(nodes if site is None else {site: nodes[site]})


def values_of(nodes: Mapping[str, Site]) -> dict[str, Tensor]:
    """The values of sites, with the probabilities of categories as ``<site>_probs``."""
    decoded = {}
    for name, node in nodes.items():
        decoded[name] = arranged(node, node["value"])
        if is_categorical(node["fn"]):
            decoded[f"{name}_probs"] = probabilities(node)
    return decoded


def decoded_nodes(
    model: nn.Module, latents: Mapping[str, Tensor], columns: Mapping[str, Tensor]
) -> dict[str, Site]:
    """The sites of a model's run at its means that are not given, by name.

    Arguments:
        model: The generative program.
        latents: Latent sites by name.
        columns: Known columns by name.
    """
    batch: dict[str, Tensor | int] = {**placed(model, columns)}
    latents = placed(model, latents)
    _refuse_latents(latents)
    with evaluating(model):
        if "size" in signature(model):
            with explained(model, {**latents, **batch}):
                batch["size"] = _count(model, latents, columns)
        try:
            with tracing(), AtMean(latents, decoding=True):
                trace = trace_program(model, batch)
        except (ValueError, RuntimeError) as error:
            if batch or isinstance(error, PPVAEError):
                with explained(model, {**latents, **batch}):
                    raise
            raise ContractError(
                f"decode: expected a model that samples as many data as there are latents; got "
                f"{type(model).__name__}, which fails: {str(error).strip().splitlines()[0]}. Give "
                "forward an argument size and pass it on, data_plate(x, size=size), or pass a "
                "column that says how many, such as the observed one."
            ) from error
    expect_whole(trace)
    sites = [name for name, node in nodes_of(trace).items() if is_site(node)]
    strange = [name for name in latents if name.removesuffix("_probs") not in nodes_of(trace)]
    if strange:
        raise ArgumentError(
            f"latents: expected sites of the model, {sites}; got {strange}. Leave the others out; "
            "a known column is passed as a column."
        )
    return {name: nodes_of(trace)[name] for name in sites if name not in latents}


def _refuse_latents(latents: Mapping[str, Tensor]) -> None:
    if torch.compiler.is_compiling():
        return
    for name, value in latents.items():
        if value.dtype == torch.bool or not value.numel() or not torch.isfinite(value).all():
            raise ArgumentError(
                f"latent {name!r}: expected finite numbers, at least one row; got {value.dtype} "
                f"with shape {tuple(value.shape)}. Pass it as run.encode returns it."
            )


def _count(model: nn.Module, latents: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> int:
    """Number of data, from a latent in the data plate."""
    if columns:
        return next(iter(columns.values())).shape[0]
    with tracing(), AtMean(decoding=True):
        trace = trace_program(model, {"size": 1})
    for name, node in nodes_of(trace).items():
        if name in latents and DATA_PLATE in frames(node) and latents[name].dim() > 0:
            return latents[name].shape[0]
    return 1
