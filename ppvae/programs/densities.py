"""The check that the sites of one run have values that their distributions can score."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from traceback import walk_tb

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ppvae.errors import ContractError
from ppvae.programs.sites import Site

__all__ = [
    "base_of",
    "check_densities",
    "describe",
    "element_of",
    "no_draws",
    "refuse_torch",
    "undrawn",
]


def no_draws(name: str, fn: TorchDistribution, reason: str) -> ContractError:
    """The error of a site whose distribution has a density, but cannot be drawn from.

    Arguments:
        name: Name of the site.
        fn: Its distribution.
        reason: What it says itself.
    """
    line = next((line.rstrip(". ") for line in reason.splitlines() if line.strip()), "")
    own = f" ({line})" if line and not line.startswith("Trace Shapes") else ""
    return ContractError(
        f"site {name!r}: expected a distribution that can be drawn; got {describe(fn)}, which "
        f"cannot{own}. Define sample(sample_shape) in its class, or give the site another "
        "distribution; encode and log_likelihood need no draws of observed sites, and "
        "to_arviz(..., prior_rows=0) none of the prior."
    )


def undrawn(error: BaseException) -> ContractError | None:
    """The error of the site that a program was drawing as it failed; None if there is none.

    Arguments:
        error: What the program raised; Pyro raises a copy of the first error from it.
    """
    frames = walk_tb((error.__cause__ or error).__traceback__)
    for frame, _ in frames:
        if frame.f_code.co_name == "default_process_message":
            site = frame.f_locals["msg"]
            if site["type"] == "sample":
                return no_draws(site["name"], site["fn"], str(error.__cause__ or error))
    return None


def refuse_torch(sites: Mapping[str, Site]) -> None:
    """Refuse a distribution of torch alone, which lacks what Pyro adds.

    Arguments:
        sites: Sites of one run by name.

    Raises:
        ContractError: At the first such site.
    """
    for name, site in sites.items():
        if not hasattr(site["fn"], "has_enumerate_support") or not hasattr(site["fn"], "to_event"):
            kind = type(site["fn"])
            raise ContractError(
                f"site {name!r}: expected a distribution of pyro.distributions; got "
                f"{kind.__module__}.{kind.__qualname__}. Import {kind.__name__} from "
                "pyro.distributions, or derive a class from it and "
                "pyro.distributions.torch_distribution.TorchDistributionMixin."
            )


def check_densities(role: str, sites: Mapping[str, Site], rows: int) -> None:
    """Refuse a site whose value does not fit its distribution, or has no finite log-density.

    Arguments:
        role: Who samples the sites: "model" or "guide".
        sites: Sites of one run by name.
        rows: Number of data in that run.

    Raises:
        ContractError: At the first such site.
    """
    for name, site in sites.items():
        value, fn = site["value"], base_of(site["fn"])
        _check_event(role, name, site, rows)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                log_prob = site["fn"].log_prob(value)
        except (RuntimeError, ValueError, IndexError, NotImplementedError) as error:
            raise ContractError(
                f"site {name!r}: the {role}'s {describe(site['fn'])} cannot score a value "
                f"with shape {tuple(value.shape)}: {str(error).strip().splitlines()[0]}. "
                "Compare the data's shape and range with the likelihood's."
            ) from error
        expected = torch.Size(site["fn"].batch_shape)
        if log_prob.shape != expected:
            raise ContractError(
                f"site {name!r}: expected log-densities with shape {tuple(expected)} (one per "
                f"datum); got {tuple(log_prob.shape)} from the {role}'s "
                f"{describe(site['fn'])} at a value with shape {tuple(value.shape)}. "
                "Give the value the distribution's event shape."
            )
        if not _is_of_value(site, log_prob):
            raise ContractError(
                f"site {name!r}: expected a log-density of the value alone; got one that the "
                f"{role}'s {type(fn).__name__} keeps beside its draws. Use a distribution that "
                "scores a copy of its draw alike: RelaxedBernoulli or RelaxedOneHotCategorical in "
                "place of the straight-through ones."
            )
        bad = ~torch.isfinite(scale_and_mask(log_prob, mask=site["mask"]))
        if bad.any():
            raise ContractError(
                f"site {name!r}: the {role}'s log-density is not finite for {int(bad.sum())} of "
                f"{log_prob.numel()} data. Check the data for NaN and for values outside the "
                f"support of {describe(site['fn'])}."
            )


def _is_of_value(site: Site, log_prob: Tensor) -> bool:
    """Whether a copy of a site's value has the same log-density, up to rounding."""
    try:
        copied = site["fn"].log_prob(site["value"].clone())
    except (KeyError, NotImplementedError):
        return True  # A flow without an inverse can only score its own draws.
    except ValueError:
        return False
    return torch.allclose(copied, log_prob, rtol=1e-2, atol=1e-2, equal_nan=True)


def _check_event(role: str, name: str, site: Site, rows: int) -> None:
    """Refuse a value that is broadcast against the event, and rows as a part of the event."""
    fn, value = site["fn"], site["value"]
    event, event_dim = tuple(fn.event_shape), fn.event_dim
    if site["infer"].get("_deterministic") or not event_dim:
        return
    actual = tuple(value.shape[max(0, value.dim() - event_dim) :])
    if actual != event:
        raise ContractError(
            f"site {name!r}: expected a value with the event shape {event} of the {role}'s "
            f"{describe(fn)}; got one with shape {tuple(value.shape)}, which torch would "
            "broadcast. Give both the same dimensions: value.unsqueeze(-1) for one number per "
            "datum, loc.expand(...) for one parameter of several numbers."
        )
    if site["is_observed"] and value.dim() == event_dim and event[0] == rows > 1:
        raise ContractError(
            f"site {name!r}: expected the event shape of one datum; got {event}, which starts "
            f"with the {rows} rows of the batch, in the {role}. Sample it in "
            f"ppvae.programs.data_plate(...), with .to_event({event_dim - 1})."
        )


def base_of(fn: TorchDistribution) -> TorchDistribution:
    """The distribution within declared event dimensions, masks and transforms."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn


def element_of(fn: TorchDistribution) -> TorchDistribution:
    """The distribution of one element, without declared event dimensions and masks."""
    while hasattr(fn, "base_dist") and not isinstance(
        fn, torch.distributions.TransformedDistribution
    ):
        fn = fn.base_dist
    return fn


def describe(fn: TorchDistribution) -> str:
    """The name of a distribution, and its event shape."""
    return f"{type(base_of(fn)).__name__} (event shape {tuple(fn.event_shape)})"
