"""The check that a program is right for several draws side by side.

Objectives with several particles, enumeration and all evaluations run a program once for S draws,
with further dimensions in front of each value: z is (S, N, Z), a global W is (S, 1, Z, X). A
program such as ``z @ W`` is right for one draw and wrong for several.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro import poutine
from pyro.poutine.runtime import Message
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.sites import Site, nodes_of
from ppvae.programs.structure import Structure
from ppvae.programs.threads import tracing
from ppvae.programs.traces import sample_sites, trace_program

__all__ = ["check_vectorised"]

_REMEDY = (
    "Write it for dimensions in front, as in (z.unsqueeze(-2) @ W).squeeze(-2) in place of z @ W, "
    "s.unsqueeze(-1) in place of a scalar s beside a vector, a site outside the data plate as it "
    "is (its batch shape has a one for the rows), "
    "and torch.cat or mean over dimensions counted from the right (dim=-1)."
)


def check_vectorised(
    model: nn.Module, guide: nn.Module, batch: Mapping[str, Tensor], structure: Structure
) -> None:
    """Compare a run with several draws side by side to one with the last of them alone.

    Raises:
        ContractError: If a program does not run, or if a site's shape or log-density differs; it
            names the first such site.
    """
    # A number of draws equal to that of rows could hide a confusion of the two dimensions.
    draws = 3 if structure.num_rows == 2 else 2
    many = _run(guide, "guide", batch, structure, draws)
    dims = _enumerated_dims(structure, many)
    _compare(guide, "guide", batch, structure, many, draws, dims)
    replayed = _run(model, "model", batch, structure, draws, replay=many)
    _compare(model, "model", batch, structure, replayed, draws, dims)


def _run(
    module: nn.Module,
    role: str,
    batch: Mapping[str, Tensor],
    structure: Structure,
    draws: int,
    replay: poutine.Trace | None = None,
) -> poutine.Trace:
    seen = _LastSite()
    try:
        with tracing(), seen:
            return trace_program(module, batch, structure, particles=draws, replay=replay)
    except Exception as error:
        text = str(error).strip()
        where = f"after site {seen.name!r}" if seen.name else "before its first site"
        raise ContractError(
            f"{role} {type(module).__name__}: expected a program for several draws side by side; "
            f"got one that runs for one draw and fails for {draws}, {where}: "
            f"{text.splitlines()[0] if text else repr(error)}. {_REMEDY}"
        ) from error


class _LastSite(poutine.messenger.Messenger):
    """Remembers the site sampled last."""

    name: str | None = None

    def _pyro_post_sample(self, msg: Message[..., object]) -> None:
        self.name = msg["name"]


def _enumerated_dims(structure: Structure, trace: poutine.Trace) -> list[int]:
    """The dimensions of the enumerated sites' values; each site must have one of its own."""
    sites = sample_sites(trace)
    dims = [sites[name]["infer"]["_enumerate_dim"] for name in structure.enumerated]
    if len(set(dims)) < len(dims):
        raise ContractError(
            "pyro.markov: expected a dimension of its own for each enumerated site; got "
            f"{dims} for {list(structure.enumerated)}. Use range in place of pyro.markov, or "
            "train with Pyro's TraceMarkovEnum_ELBO."
        )
    return dims


def _compare(
    module: nn.Module,
    role: str,
    batch: Mapping[str, Tensor],
    structure: Structure,
    many: poutine.Trace,
    draws: int,
    dims: list[int],
) -> None:
    """Refuse a site whose log-density in the last draw is not that of the last draw alone."""
    nesting, who = structure.max_plate_nesting, f"{role} {type(module).__name__}"
    sites = sample_sites(many)
    last = {
        name: _last(site["value"], nesting + site["fn"].event_dim)
        for name, site in sites.items()
        if not site["is_observed"]
    }
    subsamples: dict[str, Tensor] = {
        name: node["value"]
        for name, node in nodes_of(many).items()
        if node["type"] == "sample" and name not in sites
    }
    try:
        one = sample_sites(trace_program(module, batch, given={**subsamples, **last}))
    except RuntimeError as error:
        raise ContractError(
            f"{who}: expected values for several draws to be those for one, side by side; got "
            f"some that the program cannot be run with alone ({str(error).splitlines()[0]}). "
            f"{_with_ones(nesting)}{_REMEDY}"
        ) from error
    if one.keys() != sites.keys():
        raise ContractError(
            f"{who}: expected the same sites in each run; got "
            f"{sorted(one.keys() ^ sites.keys())} in some runs only. Sample them always, and mask "
            "what does not count (poutine.mask)."
        )
    for name, site in sites.items():
        if name in structure.deterministic:
            continue
        alone = one[name]
        spare = [d for d in _spare_dims(site, nesting) if d not in dims]
        if spare:
            single, several = (draws, *alone["fn"].batch_shape), tuple(site["fn"].batch_shape)
            raise _differs(who, name, "batch shape", single, several, nesting)
        for kind, several, single in (
            ("event shape", site["fn"].event_shape, alone["fn"].event_shape),
            ("batch shape", _last_shape(site, nesting), _last_shape(alone, nesting)),
        ):
            if several != single:
                raise _differs(who, name, kind, tuple(single), tuple(several), nesting)
        score = _last(site["fn"].log_prob(site["value"]), nesting)
        try:
            expected = alone["fn"].log_prob(alone["value"])
        except (KeyError, NotImplementedError):
            continue  # A flow without an inverse can only score its own draws.
        score, expected = torch.broadcast_tensors(score, _last(expected, nesting))
        if not _close(score, expected):
            if _changes(module, batch, {**subsamples, **last}, name, alone):
                return  # A log-density that differs from run to run cannot be compared.
            gap = (score - expected).abs().max()
            raise ContractError(
                f"site {name!r}: expected the same log-density in each of several draws side by "
                f"side as in one draw alone; got a difference of {float(gap):.3g} nats in the "
                f"{who}. {_remedy(alone)}"
            )


def _remedy(site: Site) -> str:
    if site["is_observed"] and site["infer"].get("is_auxiliary"):
        return "Call pyro.factor inside the data plate, with one number per datum."
    return _REMEDY


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-2, atol=1e-3, equal_nan=True)


def _changes(
    module: nn.Module,
    batch: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    name: str,
    site: Site,
) -> bool:
    """Whether a site's log-density differs when the same program runs again."""
    again = sample_sites(trace_program(module, batch, given=given))[name]
    return not _close(again["fn"].log_prob(again["value"]), site["fn"].log_prob(site["value"]))


def _last(value: Tensor, kept: int) -> Tensor:
    """The last entry of all dimensions but the rightmost ``kept`` ones."""
    return value[(-1,) * max(0, value.dim() - kept)]


def _spare_dims(site: Site, nesting: int) -> list[int]:
    """Dimensions of a site's batch shape left of the plates' and of the draws'."""
    shape = tuple(site["fn"].batch_shape)
    return [dim for dim in range(-len(shape), -1 - nesting) if shape[dim] != 1]


def _last_shape(site: Site, nesting: int) -> tuple[int, ...]:
    """The batch shape of a site without dimensions in front of the plates."""
    shape = list(site["fn"].batch_shape[-nesting:])
    while shape and shape[0] == 1:
        shape.pop(0)
    return tuple(shape)


def _differs(
    who: str,
    name: str,
    kind: str,
    single: tuple[int, ...],
    several: tuple[int, ...],
    nesting: int,
) -> ContractError:
    return ContractError(
        f"site {name!r}: expected {kind} {single} for several draws side by side, as for one; got "
        f"{several} in the {who}. {_with_ones(nesting)}{_REMEDY}"
    )


def _with_ones(nesting: int) -> str:
    if nesting == 1:
        return ""
    ones = ", ".join(["S", *["1"] * (nesting - 1), "N"])
    return (
        "Values have a dimension of size one for each plate that they are not in, as "
        f"({ones}, ...) for a latent in the data plate alone; a value that is reduced over a "
        "plate needs that plate's entries as an event, .to_event(1). "
    )
