r"""Summaries of a fitted pair: posterior means of latents, and means decoded from them.

The same data always give the same numbers. The value that represents a distribution:

==================================== ========================================================
distribution                         its value
==================================== ========================================================
a class (enumerable)                 the mode, with its probabilities as ``<site>_probs``
categories over an event             the most probable category of each element, with the
                                     probabilities as ``<site>_probs``
a mean in closed form                :math:`E[z]`
no closed form (a flow)              the mean of :data:`DRAWS` draws with a fixed seed
a value computed from other draws    the value at the means of these: under ``AutoNormal``, which
(``Delta`` of an auxiliary site)     transforms a Normal, the median of a constrained site
no mean at all (Cauchy)              the median, or else the mode, or the median of such draws
==================================== ========================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data.mapped import ColumnsLike
from ppvae.distributions import SharedStudentT
from ppvae.errors import ArgumentError, ContractError
from ppvae.programs.batches import batches, placed
from ppvae.programs.contract import DATA_PLATE
from ppvae.programs.densities import describe, element_of
from ppvae.programs.scopes import evaluating, explained, seeded
from ppvae.programs.sites import Site
from ppvae.programs.threads import tracing
from ppvae.programs.traces import expect_whole, frames, sample_sites, trace_program

__all__ = [
    "DRAWS",
    "AtMean",
    "arranged",
    "encode",
    "encode_rows",
    "is_categorical",
    "is_density",
    "is_site",
    "posterior",
    "probabilities",
    "variance",
]

# Number of draws in place of a mean without closed form, and number in memory at once.
DRAWS, AT_ONCE = 256, 32


def is_categorical(fn: TorchDistribution) -> bool:
    """Whether each element is the number of a category, which has no mean."""
    return isinstance(element_of(fn), torch.distributions.Categorical)


def is_density(fn: TorchDistribution) -> bool:
    """Whether data are scored by a density, rather than by a probability as under a Bernoulli.

    Arguments:
        fn: The distribution of an observed site.
    """
    if isinstance(element_of(fn), torch.distributions.Bernoulli):
        return False
    try:
        support = fn.support
    except (NotImplementedError, AttributeError):
        return True
    return support is None or not support.is_discrete


def probabilities(node: Site, *, leading: Sequence[str] = (DATA_PLATE,)) -> Tensor:
    """The probabilities of each category or class of a site, with shape (N, ..., K).

    Arguments:
        node: The site in a trace.
        leading: Leading dimensions, as for :func:`arranged`.
    """
    probs: Tensor = element_of(node["fn"]).probs
    event_dim = probs.dim() - len(node["fn"].batch_shape)
    return arranged(node, probs, leading=leading, event_dim=event_dim)


def variance(fn: TorchDistribution) -> Tensor:
    """The variance of a distribution; for a Student t, without torch's slow masks.

    Arguments:
        fn: A distribution.

    Raises:
        NotImplementedError: If it has none in closed form.
    """
    base = element_of(fn)
    if isinstance(base, torch.distributions.StudentT) and not isinstance(base, SharedStudentT):
        finite = base.scale.square() * base.df / (base.df - 2)
        above_one = torch.where(base.df > 2, finite, torch.full_like(finite, torch.inf))
        return torch.where(base.df > 1, above_one, torch.full_like(finite, torch.nan))
    value: Tensor = fn.variance
    return value


def _drawn(fn: TorchDistribution, *, median: bool) -> Tensor:
    # A flow of pyro.contrib.zuko draws by a call alone, as pyro.sample does.
    try:
        with seeded(0):
            where = fn()
    except NotImplementedError as error:
        raise ContractError(
            f"{describe(fn)}: expected a distribution with a mean or draws; got one with neither. "
            "Define one of these in its class, or give its site a proper distribution, such as a "
            "wide Normal."
        ) from error
    with seeded(0, where):
        parts = [fn(torch.Size((AT_ONCE,))).detach() for _ in range(DRAWS // AT_ONCE)]
    draws = torch.cat(parts)
    return draws.median(0).values if median else draws.mean(0)


def _summary(fn: TorchDistribution, *, latent: bool) -> Tensor:
    """The value that represents a distribution (see the table of this module)."""
    if is_categorical(fn):
        return element_of(fn).mode
    if latent and fn.has_enumerate_support:
        # That of a Bernoulli site with probability 1/2 is NaN: the first class, as of Categorical.
        return fn.mode.nan_to_num(nan=0.0)
    try:
        mean: Tensor = fn.mean
    except (NotImplementedError, AttributeError) as error:
        if torch.compiler.is_compiling():
            raise ContractError(f"{fn} has no mean in closed form") from error
        return _drawn(fn, median=False)
    # In torch.export no value is known; what it writes is compared with the eager values.
    if torch.compiler.is_compiling() or torch.isfinite(mean).all():
        return mean
    return torch.where(torch.isfinite(mean), mean, _middle(fn))


def _middle(fn: TorchDistribution) -> Tensor:
    """The median, or else the mode: that of HalfCauchy is 0, which as a scale nothing takes."""
    element = element_of(fn)
    for value in (lambda: element.icdf(element.mean.new_tensor(0.5)), lambda: fn.mode):
        try:
            middle: Tensor = value()
            return middle
        except (NotImplementedError, AttributeError):
            continue
    return _drawn(fn, median=True)


def is_site(node: Site) -> bool:
    """Whether a node of a trace is a site of the program, not a plate or an auxiliary site."""
    return (
        node["type"] == "sample"
        and hasattr(node["fn"], "batch_shape")
        and not node["infer"].get("is_auxiliary")
        and not node["infer"].get("_deterministic")
    )


def arranged(
    node: Site,
    value: Tensor,
    *,
    leading: Sequence[str] = (DATA_PLATE,),
    event_dim: int | None = None,
) -> Tensor:
    """A value of a site with its dimensions in the order (leading plates, other plates, event).

    Arguments:
        node: The site in a trace.
        value: Its value, with shape (plates... | event...), or another tensor with its plates.
        leading: Names of the plates that come first; the others follow, outer before inner.
        event_dim: Dimensions of ``value`` to the right of the plates; the distribution's own by
            default.
    """
    plates = frames(node)
    event_dim = node["fn"].event_dim if event_dim is None else event_dim
    nesting = max((-dim for dim in plates.values()), default=0)
    batch = tuple(node["fn"].batch_shape)
    batch = (1,) * (nesting - len(batch)) + batch
    event = value.shape[value.dim() - event_dim :]
    value = value.expand(torch.Size((*batch, *event)))
    kept = [len(batch) + dim for dim in _order(plates, leading)]
    others = [dim for dim in range(len(batch)) if dim not in kept]
    value = value.permute(torch.Size((*others, *kept, *range(len(batch), value.dim()))))
    return value.reshape(torch.Size((*(batch[dim] for dim in kept), *event)))


def _order(plates: Mapping[str, int], leading: Sequence[str] = (DATA_PLATE,)) -> list[int]:
    """The dimensions of plates: the leading ones first, then the outer before the inner."""
    first = [plates[name] for name in leading if name in plates]
    return [*first, *sorted(dim for name, dim in plates.items() if name not in leading)]


def _as_batch(node: Site, value: Tensor) -> Tensor:
    """The inverse of :func:`arranged`, for a value with a dimension for each plate of the site."""
    dims, event = _order(frames(node)), node["fn"].event_dim
    own = tuple(node["fn"].event_shape)
    if value.dim() != len(dims) + event or tuple(value.shape[len(dims) :]) != own:
        letters = ", ".join([*["N", "..."][: len(dims)], *map(str, own)])
        raise ArgumentError(
            f"latent {node['name']!r}: expected shape ({letters}); got {tuple(value.shape)}. Pass "
            "it as run.encode returns it."
        )
    order = sorted(range(len(dims)), key=dims.__getitem__)
    value = value.permute(torch.Size((*order, *range(len(dims), value.dim()))))
    sizes = [1] * max((-dim for dim in dims), default=0)
    for dim, size in zip(sorted(dims), value.shape, strict=False):
        sizes[dim] = size
    return value.reshape(torch.Size((*sizes, *value.shape[len(dims) :])))


class AtMean(Messenger):
    """Replaces draws: by a given value, or else by the value that represents the distribution."""

    def __init__(self, given: Mapping[str, Tensor] | None = None, *, decoding: bool) -> None:
        super().__init__()
        self.given, self.decoding = dict(given or {}), decoding

    def _pyro_sample(self, msg: Any) -> None:
        computed = msg["infer"].get("_deterministic") or not hasattr(msg["fn"], "batch_shape")
        factor = msg["is_observed"] and msg["infer"].get("is_auxiliary")
        if msg["done"] or computed or factor or (msg["is_observed"] and not self.decoding):
            return
        given = self.given.get(msg["name"])
        latent = not self.decoding
        value = _summary(msg["fn"], latent=latent) if given is None else _as_batch(msg, given)
        msg["value"], msg["done"] = value, True


def _latent_sites(guide: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Site]:
    with evaluating(guide), explained(guide, batch), tracing(), AtMean(decoding=False):
        trace = trace_program(guide, placed(guide, batch))
    expect_whole(trace)
    return {
        name: node
        for name, node in sample_sites(trace).items()
        if is_site(node) and not node["is_observed"]
    }


@typed()
def posterior(guide: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, TorchDistribution]:
    """The guide's distribution of each latent site, with the sites before it at their means.

    Arguments:
        guide: The variational program.
        batch: Columns by name, each with shape (N, ...).
    """
    return {name: node["fn"] for name, node in _latent_sites(guide, batch).items()}


@typed()
def encode(guide: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The posterior mean of each latent site, with shape (N, ...).

    A class y is encoded by its mode, with shape (N), and its probabilities (N, K) as ``y_probs``.
    A latent outside the data plate has the shape of its event. A mean without closed form is that
    of draws with a fixed seed, and a value that is computed from other draws, as under
    ``AutoNormal``, is that at their means: the median of a positive site (this module's table).

    Arguments:
        guide: The variational program.
        batch: Columns by name, each with shape (N, ...).
    """
    return _encoded(_latent_sites(guide, batch))


def _encoded(sites: Mapping[str, Site]) -> dict[str, Tensor]:
    encoded = {}
    for name, node in sites.items():
        encoded[name] = arranged(node, node["value"]).detach()
        if is_categorical(node["fn"]) or node["fn"].has_enumerate_support:
            encoded[f"{name}_probs"] = probabilities(node).detach()
    return encoded


@typed()
def encode_rows(
    guide: nn.Module, data: ColumnsLike, batch_size: int
) -> tuple[dict[str, Tensor], frozenset[str]]:
    """The posterior means of all rows, on the CPU, and the names of the global sites.

    Arguments:
        guide: The variational program.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        batch_size: Rows at a time.

    Returns:
        Means by site, with shape (N, ...), or (...) for a site outside the data plate; and the
        names of the latter.

    Raises:
        ContractError: If the posterior of a site outside the data plate differs from batch to
            batch, so that it has no single mean.
    """
    parts: list[dict[str, Tensor]] = []
    shared: frozenset[str] = frozenset()
    for batch in batches(guide, data, batch_size):
        sites = _latent_sites(guide, batch)
        shared = frozenset(n for n, node in sites.items() if DATA_PLATE not in frames(node))
        parts.append({name: value.cpu() for name, value in _encoded(sites).items()})
    joined = {}
    for name, first in parts[0].items():
        pieces = [part[name] for part in parts]
        if name.removesuffix("_probs") not in shared:
            joined[name] = torch.cat(pieces)
            continue
        if not all(torch.allclose(piece, first) for piece in pieces):
            raise ContractError(
                f"encode: expected one posterior of the site {name!r}, which is outside the data "
                f"plate; got {len(pieces)} that differ from batch to batch. Encode all rows at "
                "once: batch_size of at least the number of rows."
            )
        joined[name] = first
    return joined, shared
