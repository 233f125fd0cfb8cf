"""The check that a program is right for several draws side by side.

Objectives with several particles, enumeration and all evaluations run a program once for S draws,
with further dimensions in front of each value: z is (S, N, Z), a global W is (S, 1, Z, X). A
program such as ``z @ W`` is right for one draw and wrong for several.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine.runtime import Message
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.densities import base_of
from ppvae.programs.sites import Site, nodes_of
from ppvae.programs.structure import Structure
from ppvae.programs.threads import tracing
from ppvae.programs.traces import frames, inner_dims, sample_sites, trace_program

__all__ = ["check_vectorised"]

_OWN_NOISE = (
    "Draw the noise at a site of its own, e = pyro.sample('e', Normal(zeros, 1.), "
    "infer={'is_auxiliary': True}), in place of torch.randn, and give the Delta the log-density "
    "of the change of variables alone: Delta(loc + scale * e, log_density=-scale.log())."
)

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
        if site["infer"].get("_deterministic"):
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
        try:
            expected = _score(alone)
        except (KeyError, NotImplementedError):
            continue  # A flow without an inverse can only score its own draws.
        try:
            score = _last(_score(site), nesting)
        except (IndexError, RuntimeError, ValueError) as error:
            raise ContractError(
                f"site {name!r}: expected a distribution that scores several draws side by side; "
                f"got one in the {who} that fails for {draws}: {str(error).splitlines()[0]}. Give "
                "its parameters the dimensions in front that its value has, or use a transform "
                "that broadcasts them; those of pyro's splines do not."
            ) from error
        score, expected = torch.broadcast_tensors(score, _last(expected, nesting))
        if not _close(score, expected):
            again = sample_sites(trace_program(module, batch, given={**subsamples, **last}))[name]
            if not _close(_score(again), _score(alone)):
                return  # A log-density that differs from run to run cannot be compared.
            gap = (score - expected).abs().max()
            raise ContractError(
                f"site {name!r}: expected the same log-density in each of several draws side by "
                f"side as in one draw alone; got a difference of {float(gap):.3g} nats in the "
                f"{who}. {_remedy(alone, again)}"
            )
    _refuse_neighbours(module, who, batch, structure, one, {**subsamples, **last})


def _refuse_neighbours(
    module: nn.Module,
    who: str,
    batch: Mapping[str, Tensor],
    structure: Structure,
    sites: Mapping[str, Site],
    given: Mapping[str, Tensor],
) -> None:
    """Refuse entries of a plate that depend on the class of another entry, which is enumerated.

    Another class in the first entry must leave the log-densities of all others as they are.
    """
    for name in set(structure.enumerated) & sites.keys():
        classes, value = sites[name]["fn"].enumerate_support(), sites[name]["value"]
        events = sites[name]["fn"].event_dim
        same = value == classes[0]
        for axis in range(-events, 0):
            same = same.all(axis, keepdim=True)
        another = torch.where(same, classes[-1], classes[0])
        for dim in inner_dims(sites[name]):
            first = torch.zeros_like(value, dtype=torch.bool)
            first.narrow(dim - events, 0, 1).fill_(True)
            moved = torch.where(first, another, value)
            again = sample_sites(trace_program(module, batch, given={**given, name: moved}))
            for other, site in sites.items():
                within = dim in inner_dims(site) and not site["infer"].get("_deterministic")
                if other == name or not within:
                    continue
                try:
                    alike = _close(_rest(again[other], dim), _rest(site, dim))
                except (KeyError, NotImplementedError):
                    continue  # As above.
                if not alike:
                    plate = next(plate for plate, d in frames(site).items() if d == dim)
                    raise ContractError(
                        f"site {other!r}: expected each entry of the plate {plate!r} to depend on "
                        f"its own {name!r} alone, which is enumerated; got one in the {who} that "
                        "changes with another entry's. Each entry is summed by itself, not all "
                        "combinations: sample the entries in a loop, each as a site of its own."
                    )


def _rest(site: Site, dim: int) -> Tensor:
    """The log-densities of all entries of a plate but the first."""
    score = _score(site)
    return score.narrow(dim, 1, score.size(dim) - 1)


def _score(site: Site) -> Tensor:
    score: Tensor = site["fn"].log_prob(site["value"])
    return score


def _remedy(site: Site, again: Site) -> str:
    """What to write instead, for a site of two runs at the same values."""
    if site["is_observed"] and site["infer"].get("is_auxiliary"):
        return "Call pyro.factor inside the data plate, with one number per datum."
    one, other = base_of(site["fn"]), base_of(again["fn"])
    if isinstance(one, Delta) and isinstance(other, Delta) and not _close(one.v, other.v):
        return _OWN_NOISE
    return _REMEDY


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-2, atol=1e-3, equal_nan=True)


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
