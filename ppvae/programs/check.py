"""The check that holds a model, a guide and a batch to their contract."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.contract import DATA_PLATE, arguments
from ppvae.programs.scopes import forked_rng

__all__ = ["Structure", "check_pair"]

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Structure:
    """What one run of a (model, guide) pair showed.

    Attributes:
        latent: Names of the latent sites, in the guide's order.
        observed: Names of the model's observed sites.
        enumerated: The latent sites that are summed exactly (``infer={"enumerate": "parallel"}``).
        max_plate_nesting: How many dimensions from the right the plates use.
        event_shapes: Site name to event shape.
        num_rows: The size of the data plate in that run.
    """

    latent: tuple[str, ...]
    observed: tuple[str, ...]
    enumerated: tuple[str, ...] = ()
    max_plate_nesting: int = 1
    event_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    num_rows: int = 1


def _sites(trace: Any) -> dict[str, dict[str, Any]]:
    return {name: node for name, node in trace.nodes.items() if node["type"] == "sample"}


def _frames(site: Mapping[str, Any]) -> dict[str, Any]:
    return {frame.name: frame for frame in site["cond_indep_stack"] if frame.vectorized}


def _run(module: nn.Module, role: str, batch: Batch, replay: Any = None) -> poutine.Trace:
    program = module if replay is None else poutine.replay(module, trace=replay)
    chosen = arguments(module, batch)
    try:
        return prune_subsample_sites(poutine.trace(program).get_trace(**chosen))
    except ContractError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        shapes = {name: tuple(column.shape) for name, column in chosen.items()}
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        if ": expected " in first and "; got " in first:  # One of ours says it all.
            raise ContractError(first) from error
        raise ContractError(
            f"{role} {type(module).__name__} failed on a batch with shapes {shapes}: {first}. "
            "Check that its networks were built for these shapes."
        ) from error


def check_pair(model: nn.Module, guide: nn.Module, batch: Batch) -> Structure:
    """Run ``guide``, then ``model`` against it, on ``batch``; compare what they sample.

    Arguments:
        model: The generative program.
        guide: The variational program over the same columns.
        batch: Columns by name, each with shape (N, ...), as the objective will get them.

    Returns:
        The pair's :class:`Structure`.

    Raises:
        ContractError: If a column is missing, if the latent sites differ in name, batch shape or
            event shape, if nothing is observed, if a datum-wise site is outside the data plate,
            if a latent site can neither be reparameterised nor enumerated, or if a log-density
            is not finite.
    """
    tensors = [column for column in batch.values() if isinstance(column, Tensor)]
    training = model.training, guide.training
    try:
        # eval(): a check must not move what a module learns from the batches it is given.
        model.eval()
        guide.eval()
        with torch.no_grad(), forked_rng(*tensors):
            guide_trace = _run(guide, "guide", batch)
            model_trace = _run(model, "model", batch, replay=guide_trace)
            _refuse_store(guide_trace, model_trace)
            structure = _compare(guide_trace, model_trace)
            _check_densities(model_trace, guide_trace)
    finally:
        model.train(training[0])
        guide.train(training[1])
    return structure


def _refuse_store(*traces: poutine.Trace) -> None:
    for trace in traces:
        names = [name for name, node in trace.nodes.items() if node["type"] == "param"]
        if names:
            raise ContractError(
                f"pyro.param: expected parameters held by modules; got {names} from the global "
                "parameter store, where two models in one process overwrite each other. "
                "Use torch.nn.Parameter in a plain torch.nn.Module."
            )


def _compare(guide_trace: poutine.Trace, model_trace: poutine.Trace) -> Structure:
    guide_sites = {
        name: site
        for name, site in _sites(guide_trace).items()
        if not site["is_observed"] and not site["infer"].get("is_auxiliary")
    }
    model_sites = _sites(model_trace)
    latent = {name: site for name, site in model_sites.items() if not site["is_observed"]}
    observed = {name: site for name, site in model_sites.items() if site["is_observed"]}

    only_model = sorted(latent.keys() - guide_sites.keys())
    only_guide = sorted(guide_sites.keys() - latent.keys())
    if only_model or only_guide:
        raise ContractError(
            f"model and guide disagree on latent sites: only in model {only_model}, "
            f"only in guide {only_guide}. Give both the same site names, or pass the column "
            "that makes a site observed."
        )
    if not observed:
        raise ContractError(
            f"the model observes nothing: its sites {sorted(model_sites)} are all latent. "
            "Pass the observed column (usually 'x') in the data."
        )
    for name, site in guide_sites.items():
        p, q = latent[name]["fn"], site["fn"]
        for kind in ("event_shape", "batch_shape"):
            if getattr(p, kind) != getattr(q, kind):
                raise ContractError(
                    f"site {name!r}: {kind} is {tuple(getattr(p, kind))} in the model but "
                    f"{tuple(getattr(q, kind))} in the guide. Give both the same dimensions, "
                    "declared with .to_event()."
                )
        if _frames(latent[name]).keys() != _frames(site).keys():
            raise ContractError(
                f"site {name!r}: in the plates {sorted(_frames(latent[name]))} in the model but "
                f"{sorted(_frames(site))} in the guide. Use the same plates in both."
            )
    rows = {_frames(s)[DATA_PLATE].size for s in model_sites.values() if DATA_PLATE in _frames(s)}
    if not rows:
        raise ContractError(
            f"no site of the model is in the plate {DATA_PLATE!r}: its sites are "
            f"{sorted(model_sites)}. Wrap the datum-wise sites in ppvae.contract.data_plate(...)."
        )
    enumerated = tuple(
        name for name, s in guide_sites.items() if s["infer"].get("enumerate") == "parallel"
    )
    for name, site in guide_sites.items():
        fn = site["fn"]
        if name not in enumerated and not fn.has_rsample:
            raise ContractError(
                f"site {name!r}: expected a reparameterised distribution or an enumerated one in "
                f"the guide; got {type(fn).__name__}. Mark a finite discrete site with "
                'infer={"enumerate": "parallel"}.'
            )
        if name in enumerated and not fn.has_enumerate_support:
            raise ContractError(
                f"site {name!r}: marked for enumeration, but {type(fn).__name__} has no finite "
                "support. Remove the mark, or use a Categorical or Bernoulli distribution."
            )
    frames = [f for s in model_sites.values() for f in _frames(s).values()]
    return Structure(
        latent=tuple(guide_sites),
        observed=tuple(observed),
        enumerated=enumerated,
        max_plate_nesting=max(-frame.dim for frame in frames),
        event_shapes={name: tuple(s["fn"].event_shape) for name, s in model_sites.items()},
        num_rows=rows.pop(),
    )


def _check_densities(model_trace: poutine.Trace, guide_trace: poutine.Trace) -> None:
    for role, trace in (("model", model_trace), ("guide", guide_trace)):
        for name, site in _sites(trace).items():
            value = site["value"]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    log_prob = site["fn"].log_prob(value)
            except (RuntimeError, ValueError, IndexError, NotImplementedError) as error:
                raise ContractError(
                    f"site {name!r}: the {role}'s {_describe(site['fn'])} cannot score a value "
                    f"with shape {tuple(value.shape)}: {str(error).strip().splitlines()[0]}. "
                    "Compare the data's shape and range with the likelihood's."
                ) from error
            expected = torch.Size(site["fn"].batch_shape)
            if log_prob.shape != expected:
                raise ContractError(
                    f"site {name!r}: expected log-densities with shape {tuple(expected)} (one a "
                    f"datum); got {tuple(log_prob.shape)} from the {role}'s "
                    f"{_describe(site['fn'])} at a value with shape {tuple(value.shape)}. "
                    "Give the value the distribution's event shape."
                )
            if not torch.isfinite(log_prob).all():
                rows = (~torch.isfinite(log_prob)).sum().item()
                raise ContractError(
                    f"site {name!r}: the {role}'s log-density is not finite for {rows} of "
                    f"{log_prob.numel()} data. Check the data for NaN and for values outside the "
                    f"support of {_describe(site['fn'])}."
                )


def _describe(fn: Any) -> str:
    base = fn
    while hasattr(base, "base_dist"):
        base = base.base_dist
    return f"{type(base).__name__} (event shape {tuple(fn.event_shape)})"
