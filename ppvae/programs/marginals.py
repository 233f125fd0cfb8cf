r"""The guide's distribution of a latent site, averaged over the enumerated sites before it.

.. math::
    q(z_n) = \sum_k q(y_n = k) \, q(z_n \mid y_n = k)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ppvae.errors import ContractError
from ppvae.programs.sites import Site
from ppvae.programs.structure import Structure
from ppvae.programs.traces import frames, log_probability, sample_sites, trace_program

__all__ = ["Marginal", "absent", "marginal_of", "marginals"]


class Marginal(TorchDistribution):
    """A mixture over the dimensions of enumeration, with mean and variance but no density.

    Arguments:
        fn: Distributions with shape (K..., batch | event).
        weights: Probabilities with shape (K..., batch), up to dimensions of size one.
        nesting: Number of batch dimensions.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, fn: TorchDistribution, weights: Tensor, nesting: int) -> None:
        self.fn, self.weights, self.nesting = fn, weights, nesting
        shape = torch.Size(fn.batch_shape)[-nesting:]
        super().__init__(shape, torch.Size(fn.event_shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean over values and classes, with shape (\\*batch, \\*event)."""
        return self._expect(self.fn.mean)

    @property
    def variance(self) -> Tensor:
        """The variance within and among classes, with shape (\\*batch, \\*event)."""
        spread = (self.fn.mean - self._over(self.mean)).square()
        return self._expect(self.fn.variance + spread)

    def _over(self, value: Tensor) -> Tensor:
        r"""A value with shape (\*batch, \*event), with the dimensions of enumeration in front."""
        return value[(None,) * (len(self.fn.batch_shape) - self.nesting)]

    def _expect(self, value: Tensor) -> Tensor:
        weights = self.weights[(..., *(None,) * len(self.event_shape))]
        kept = self.nesting + len(self.event_shape)
        total: Tensor = (weights * value).sum(tuple(range(-value.dim(), -kept)))
        return total


def marginals(
    structure: Structure, trace: poutine.Trace, *, particles: bool = False
) -> dict[str, TorchDistribution]:
    """The guide's distribution of each latent site; a :class:`Marginal` after enumerated sites.

    Arguments:
        structure: Structure of the pair, or of the guide alone.
        trace: Trace of the guide, with all values of its enumerated sites side by side.
        particles: Whether the guide was run in the plate of particles.
    """
    sites = sample_sites(trace)
    nesting = structure.max_plate_nesting + particles
    distributions = {}
    for name in structure.latent:
        fn = sites[name]["fn"]
        dims = [dim for dim in range(-len(fn.batch_shape), -nesting) if fn.batch_shape[dim] > 1]
        if dims and name not in structure.enumerated:
            weights = _weights(structure, sites, dims)
            fn = Marginal(fn, weights, nesting)
        distributions[name] = fn
    return distributions


def _weights(structure: Structure, sites: Mapping[str, Site], dims: list[int]) -> Tensor:
    """Joint probabilities of the enumerated sites with these dimensions, the others summed out."""
    total = torch.zeros(())
    for name in structure.enumerated:
        site = sites[name]
        score = log_probability(site)
        total = score + total.to(score)
    weights: Tensor = total.exp()
    first = min(dims)
    for dim in range(-weights.dim(), first):
        weights = weights.sum(dim, keepdim=True)
    for dim in range(first, max(dims)):
        if dim not in dims:
            weights = weights.sum(dim, keepdim=True)
    return weights


def absent(site: str, names: Iterable[str]) -> ContractError:
    """The error of a prior whose site the guide does not have.

    Arguments:
        site: Name of the prior's site.
        names: Names of the guide's sites.
    """
    return ContractError(
        f"prior: expected a latent site {site!r}, of which it is the prior; got {list(names)}. "
        f'Name its site, as in GPPrior(..., site="{next(iter(names), site)}").'
    )


def marginal_of(guide: nn.Module, batch: dict[str, Tensor], site: str) -> TorchDistribution:
    """A guide's distribution of a site in one run, with enumerated sites before it summed out.

    Arguments:
        guide: The variational program.
        batch: Columns by name, each with shape (N, ...).
        site: Name of a latent site.

    Raises:
        ContractError: If the guide has no such site.
    """
    trace = trace_program(guide, batch)
    sites = sample_sites(trace)
    if site not in sites:
        raise absent(site, sites)
    enumerated = [n for n, s in sites.items() if s["infer"].get("enumerate") == "parallel"]
    if not enumerated or site in enumerated:
        fn: TorchDistribution = sites[site]["fn"]
        return fn
    depths = [-dim for node in sites.values() for dim in frames(node).values()]
    structure = Structure(
        latent=(site,),
        observed=(),
        enumerated=tuple(enumerated),
        max_plate_nesting=max(depths, default=0),
    )
    return marginals(structure, trace_program(guide, batch, structure))[site]
