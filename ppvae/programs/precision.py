"""Checks that programs draw in the precision that they take, and where their batch is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.densities import base_of, describe
from ppvae.programs.sites import Site
from ppvae.programs.traces import sample_sites, trace_program

__all__ = ["DEVICE", "PRECISION", "check_devices", "check_precision"]

DEVICE = (
    "Make tensors where the batch is, with x.new_zeros(2) or torch.zeros(2, device=x.device) in "
    "place of torch.zeros(2), or keep them by register_buffer, or fit with device='cpu'."
)
PRECISION = "Give model, guide and data one precision: .float() or .double() of each."


def check_devices(role: str, sites: Mapping[str, Site], device: torch.device) -> None:
    """Refuse a distribution with parameters on another device than the batch.

    A number without dimensions may be on the CPU.

    Arguments:
        role: Who samples the sites: "model" or "guide".
        sites: Sites of one run by name.
        device: Device of the batch.

    Raises:
        ContractError: At the first such site.
    """
    for name, site in sites.items():
        places = {tensor.device for tensor in _parameters(base_of(site["fn"])) if tensor.dim()}
        if places - {device}:
            raise ContractError(
                f"site {name!r}: expected the {role}'s {describe(site['fn'])} on {device}, where "
                f"the batch is; got one on {(places - {device}).pop()}. {DEVICE}"
            )


def _parameters(fn: object) -> Iterator[Tensor]:
    for value in vars(fn).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, torch.distributions.Distribution):
            yield from _parameters(value)


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
