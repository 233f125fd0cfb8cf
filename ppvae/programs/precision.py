"""The check that a model takes latents in the precision that it draws them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.densities import base_of
from ppvae.programs.traces import sample_sites, trace_program

__all__ = ["PRECISION", "check_precision"]

PRECISION = "Give model, guide and data one precision: .float() or .double() of each."


def check_precision(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    latent: Sequence[str],
    guide_trace: poutine.Trace,
    model_trace: poutine.Trace,
) -> None:
    """Refuse a prior whose draws have a dtype that the model's networks do not take.

    Training would not show it, as latents then come from the guide.

    Arguments:
        model: The generative program.
        batch: Columns by name.
        latent: Latent sites.
        guide_trace: Trace of the guide on ``batch``.
        model_trace: Trace of the model, replayed against it.

    Raises:
        ContractError: If the model fails with latents of its own dtype.
    """
    sites = sample_sites(model_trace)
    drawn = {}
    for name in latent:
        value, dtype = sites[name]["value"], _dtype(sites[name]["fn"])
        if dtype not in (None, value.dtype) and value.is_floating_point():
            drawn[name] = value.to(dtype)
    if not drawn:
        return
    try:
        trace_program(model, batch, replay=guide_trace, given=drawn)
    except RuntimeError as error:
        name = next(iter(drawn))
        raise ContractError(
            f"site {name!r}: expected draws of the model in the guide's "
            f"{sites[name]['value'].dtype}; got {drawn[name].dtype}, for which the model fails: "
            f"{str(error).strip().splitlines()[0]}. {PRECISION} Constants of a distribution are "
            "made by register_buffer, or as x.new_zeros(...)."
        ) from error


def _dtype(fn: TorchDistribution) -> torch.dtype | None:
    """The floating-point dtype of a distribution's parameters, if it has any."""
    base = base_of(fn)
    values = [vars(base).get(name) for name in getattr(base, "arg_constraints", {})]
    dtypes = [v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()]
    return dtypes[0] if dtypes else None
