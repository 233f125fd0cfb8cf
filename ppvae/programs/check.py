"""The check of a model, a guide and a batch against their contract."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta, TorchDistribution
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.agreement import (
    check_estimators,
    compare_names,
    compare_shapes,
    compare_supports,
)
from ppvae.programs.automatic import copied, refuse_unsuitable
from ppvae.programs.columns import refuse_columns
from ppvae.programs.contract import DATA_PLATE
from ppvae.programs.densities import base_of, check_densities, refuse_torch
from ppvae.programs.order import without_closed_form
from ppvae.programs.precision import check_devices, check_precision
from ppvae.programs.running import SUBSAMPLED, refuse_functions, run_program
from ppvae.programs.scopes import evaluating, forked
from ppvae.programs.seeding import marked, refuse_seeds
from ppvae.programs.sites import Site
from ppvae.programs.structure import Structure
from ppvae.programs.threads import tracing, validated
from ppvae.programs.traces import expect_sites, frames, sample_sites, trace_program
from ppvae.programs.vectorised import check_vectorised

__all__ = ["check_pair"]

Batch = Mapping[str, Tensor]
Sites = Mapping[str, Site]

# Number of site names that a message lists.
SHOWN = 8
# Bytes from which on an array that a program holds is not copied for a trial.
LARGE = 10_000_000


def check_pair(
    model: nn.Module, guide: nn.Module, batch: Batch, *, training: bool = True
) -> Structure:
    """Run ``guide``, then ``model`` against it, on ``batch``; compare what they sample.

    Both run once with one draw, and once with several draws side by side and all values of the
    enumerated sites, as in objectives and evaluations; the results must agree. Copies of both run
    once in training mode, where they must have the same sites.

    Arguments:
        model: The generative program.
        guide: The variational program over the same columns.
        batch: Columns by name, each with shape (N, ...), as passed to the objective.
        training: Whether they are tried in training mode, too.

    Returns:
        The pair's :class:`~ppvae.programs.Structure`.

    Raises:
        ContractError: If a program raises, if a column is missing, if the latent sites differ in
            name, batch shape or event shape, if nothing is observed, if the dimensions of one
            datum are not declared, if a latent site can neither be reparameterised nor
            enumerated, if a log-density is not finite, if a program is right for one draw but
            wrong for several, or if a program has other sites in training mode.
    """
    refuse_functions(model=model, guide=guide)
    refuse_columns(batch)
    refuse_unsuitable(guide)
    with validated(), forked(*_tensors(batch)):
        # A check must not change state that a module learns from batches.
        with evaluating(model, guide):
            structure = _evaluated(model, guide, batch)
        if training:
            _check_training(model, guide, batch, structure)
    return structure


def _evaluated(model: nn.Module, guide: nn.Module, batch: Batch) -> Structure:
    mark = marked()
    # A store of their own: pyro.module in another pair may have taken the names of theirs.
    with tracing(), pyro.get_param_store().scope():
        guide_trace = run_program(guide, "guide", batch)
        refuse_seeds("guide", guide, mark)
        model_trace = run_program(model, "model", batch, replay=guide_trace)
        refuse_seeds("model", model, mark)
    _refuse_store(guide, guide_trace)
    _refuse_store(model, model_trace)
    for trace in (guide_trace, model_trace):
        refuse_torch(sample_sites(trace))
    device = next((t.device for t in _tensors(batch)), torch.device("cpu"))
    check_devices("guide", sample_sites(guide_trace), device)
    check_devices("model", sample_sites(model_trace), device)
    structure = _structure(guide_trace, model_trace, model, batch)
    check_precision(model, batch, structure.latent, guide_trace, model_trace)
    check_densities("model", sample_sites(model_trace), structure.num_rows)
    check_densities("guide", sample_sites(guide_trace), structure.num_rows)
    check_vectorised(model, guide, batch, structure)
    return structure


def _check_training(
    model: nn.Module, guide: nn.Module, batch: Batch, structure: Structure
) -> None:
    """Refuse a pair with other sites in training mode.

    What else goes wrong there, as without the data that hooks are to prepare, is left to the first
    step, in which it goes wrong again.
    """
    try:
        # Copies: normalisation, say, learns from every batch that it sees in training mode.
        model, guide = copied((model, guide), shared=_large_tables(model, guide))
        for program in (model, guide):
            if not program.training:  # One in training mode may have frozen parts.
                program.train()
        with torch.no_grad(), tracing(), pyro.get_param_store().scope():
            guide_trace = trace_program(guide, batch)
            model_trace = trace_program(model, batch, replay=guide_trace)
    except Exception:
        return
    expect_sites(structure, guide_trace, model_trace)


def _large_tables(*programs: nn.Module) -> list[object]:
    """Arrays of NumPy and the like that programs hold, too large to be copied for a trial."""
    parts = [part for program in programs for part in program.modules()]
    held = [value for part in parts for value in vars(part).values()]
    tables = [value for value in held if not isinstance(value, Tensor | type)]
    return [table for table in tables if _bytes(table) > LARGE]


def _bytes(value: object) -> int:
    size = getattr(value, "nbytes", 0) if hasattr(value, "__array__") else 0
    return size if isinstance(size, int) else 0


def _tensors(batch: Batch) -> list[Tensor]:
    return [column for column in batch.values() if isinstance(column, Tensor)]


def _refuse_store(module: nn.Module, trace: poutine.Trace) -> None:
    """Refuse parameters in the global store; Pyro's own modules hold theirs themselves."""
    own = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    names = []
    for name, node in trace.nodes.items():
        if node["type"] == "param":
            value = node["value"]
            unconstrained = getattr(value, "unconstrained", lambda: None)()
            if not {id(value), id(unconstrained)} & own:
                names.append(name)
    if names:
        raise ContractError(
            f"pyro.param: expected parameters held by modules; got {names} from the global "
            "parameter store, where two models in one process overwrite each other. "
            "Use torch.nn.Parameter in a plain torch.nn.Module."
        )


def _structure(
    guide_trace: poutine.Trace, model_trace: poutine.Trace, model: nn.Module, batch: Batch
) -> Structure:
    guide_sites, auxiliary = _guide_sites(sample_sites(guide_trace))
    model_sites = sample_sites(model_trace)
    deterministic = {n for n, s in model_sites.items() if s["infer"].get("_deterministic")}
    factors = {
        name
        for name, site in model_sites.items()
        if site["is_observed"] and site["infer"].get("is_auxiliary")
    }
    latent = {name: site for name, site in model_sites.items() if not site["is_observed"]}
    observed = {
        name: site
        for name, site in model_sites.items()
        if site["is_observed"] and name not in deterministic | factors
    }
    compare_names(latent, guide_sites)
    if not observed:
        others = f" and the factors {sorted(factors)}" if factors else ""
        raise ContractError(
            f"the model observes nothing: it has the latent sites {sorted(latent)}{others}. Pass "
            "the observed column (usually 'x') in the data; a likelihood is a site of it, "
            "pyro.sample('x', ..., obs=x), as a pyro.factor could not be predicted."
        )
    scored = {n: s for n, s in model_sites.items() if n not in deterministic}
    rows = _rows(scored)
    _compare_rows(rows, batch)
    if not latent:
        raise ContractError(
            "latent sites: expected at least one; got a model that observes all of its sites, and "
            "a guide that samples none. Leave out the column of the site that is to be latent; a "
            "model without latents is trained by maximum likelihood, with torch alone."
        )
    _refuse_random_loops({**scored, **guide_sites, **auxiliary})
    for role, sites in (("model", scored), ("guide", {**guide_sites, **auxiliary})):
        for name, site in sites.items():
            _check_batch_shape(role, name, site)
    _check_auxiliary(guide_sites, auxiliary)
    compare_shapes(latent, guide_sites)
    compare_supports(latent, guide_sites)
    enumerated = check_estimators({**guide_sites, **auxiliary})
    nesting = [-d for s in (*scored.values(), *auxiliary.values()) for d in frames(s).values()]
    names = tuple(guide_sites)
    return Structure(
        latent=names,
        observed=tuple(observed),
        enumerated=enumerated,
        max_plate_nesting=max(nesting),
        event_shapes={n: tuple(s["fn"].event_shape) for n, s in model_sites.items()},
        num_rows=rows,
        shared=tuple(name for name in names if DATA_PLATE not in frames(latent[name])),
        sampled=without_closed_form(model, batch, names, guide_trace, model_trace)
        - set(enumerated),
        auxiliary=tuple(auxiliary),
        factors=tuple(n for n in model_sites if n in factors),
        deterministic=tuple(n for n in model_sites if n in deterministic),
        columns={
            name: column
            for name, site in observed.items()
            for column, value in batch.items()
            if site["value"] is value
        },
    )


def _guide_sites(sites: Sites) -> tuple[Sites, Sites]:
    """The guide's latent sites, and its auxiliary ones."""
    latent, auxiliary = {}, {}
    for name, site in sites.items():
        if site["infer"].get("_deterministic"):
            continue
        if site["infer"].get("is_auxiliary"):
            auxiliary[name] = site
        elif site["is_observed"]:
            raise ContractError(
                f"site {name!r}: expected the guide to sample it; got obs=. "
                "Leave obs out, and pass the known value to the guide's networks."
            )
        else:
            latent[name] = site
    return latent, auxiliary


def _check_auxiliary(guide_sites: Sites, auxiliary: Sites) -> None:
    """Refuse auxiliary sites whose entropy would be added to the ELBO for nothing."""
    drawn = {name: site for name, site in auxiliary.items() if not site["is_observed"]}
    fixed = [site for site in guide_sites.values() if isinstance(base_of(site["fn"]), Delta)]
    free = sum(site["value"].numel() for site in drawn.values())
    if len(drawn) == len(auxiliary) and free > sum(site["value"].numel() for site in fixed):
        raise ContractError(
            f"auxiliary sites {list(drawn)}: expected latent sites that are computed from them, "
            "each pyro.sample(name, Delta(value, log_density=...)); got latents with a density of "
            "their own, so that the ELBO would exceed the evidence. Make the latents Deltas, with "
            "the log-density of the change of variables, or add that of the auxiliary sites given "
            "the latents, log r: pyro.factor(name, -log_r, has_rsample=True) in the guide."
        )


def _rows(sites: Sites) -> int:
    """The size of the data plate."""
    plates = {
        frame.size if frame.full_size in (None, frame.size) else (frame.size, frame.full_size)
        for site in sites.values()
        for frame in site["cond_indep_stack"]
        if frame.name == DATA_PLATE and frame.vectorized
    }
    if not plates:
        names = sorted(sites)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise ContractError(
            f"no site of the model is in the plate {DATA_PLATE!r}: its sites are "
            f"{names[:SHOWN]}{more}. Wrap the datum-wise sites in `with "
            "ppvae.programs.data_plate(...):`, in place of a loop over data."
        )
    dims = {frames(site)[DATA_PLATE] for site in sites.values() if DATA_PLATE in frames(site)}
    if dims != {-1}:
        raise ContractError(
            f"plate {DATA_PLATE!r}: expected dim=-1, the rightmost of the plates; got "
            f"{sorted(dims)}. Use ppvae.programs.data_plate(...), and dim=-2 for plates within."
        )
    size = plates.pop()
    if isinstance(size, tuple):
        raise ContractError(
            f"plate {DATA_PLATE!r}: expected all rows of the batch; got a subsample of {size[0]} "
            f"of {size[1]}. {SUBSAMPLED}"
        )
    return int(size)


def _compare_rows(rows: int, batch: Batch) -> None:
    """Refuse a data plate of another size than the batch: all numbers are per row."""
    lengths = {name: len(column) for name, column in batch.items() if isinstance(column, Tensor)}
    if lengths and rows not in lengths.values():
        raise ContractError(
            f"plate {DATA_PLATE!r}: expected one entry per row, {next(iter(lengths.values()))}; "
            f"got {rows}, of columns with lengths {lengths}. Sample what is within a row in a "
            "plate of its own (dim=-2) or as an event, or reshape the data before the fit, so "
            "that each is a row."
        )


def _refuse_random_loops(sites: Sites) -> None:
    """Refuse a loop over a random part of a plate, whose sites differ from run to run."""
    for site in sites.values():
        for frame in site["cond_indep_stack"]:
            if not frame.vectorized and frame.full_size not in (None, frame.size):
                raise ContractError(
                    f"plate {frame.name!r}: expected a loop over all {frame.full_size} steps; got "
                    f"one over a random {frame.size} of them, so that sites differ from run to "
                    "run. Leave out subsample_size."
                )


def _check_batch_shape(role: str, name: str, site: Site) -> None:
    """Refuse a site with a dimension of its batch shape that belongs to no plate."""
    batch_shape = tuple(site["fn"].batch_shape)
    sizes = {f.dim: f.size for f in site["cond_indep_stack"] if f.dim is not None}
    for dim in range(-len(batch_shape), 0):
        if batch_shape[dim] != 1 and sizes.get(dim) != batch_shape[dim]:
            if site["is_observed"] and site["infer"].get("is_auxiliary"):
                raise ContractError(
                    f"factor {name!r}: expected the batch shape of the plates "
                    f"{sorted(frames(site))}; got {batch_shape} in the {role}. Call pyro.factor "
                    "inside the data plate, with one number per datum."
                )
            depth = max((-d for d in sizes), default=0)
            event_dim = site["fn"].event_dim
            missing = max(1, site["value"].dim() - depth - event_dim)
            expected = tuple(sizes.get(d, 1) for d in range(-depth, 0))
            raise ContractError(
                f"site {name!r}: expected batch shape {expected}, that of the plates "
                f"{sorted(frames(site))}; got {batch_shape} in the {role}, at a value with shape "
                f"{tuple(site['value'].shape)}. Declare the dimensions of one datum with "
                f".to_event({missing + _reinterpreted(site['fn'])})."
            )


def _reinterpreted(fn: TorchDistribution) -> int:
    return int(getattr(fn, "reinterpreted_batch_ndims", 0))
