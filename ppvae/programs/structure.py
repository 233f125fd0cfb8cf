"""The sites of a (model, guide) pair, as one run shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Structure"]


@dataclass(frozen=True)
class Structure:
    """The sites of a pair, from one run on a batch.

    Attributes:
        latent: Names of the latent sites, in the guide's order.
        observed: Names of the model's observed sites, in the model's order.
        enumerated: Latent sites that are summed exactly (``infer={"enumerate": "parallel"}``).
        max_plate_nesting: Number of dimensions, from the right, that the plates use.
        event_shapes: Site name to event shape.
        num_rows: Size of the data plate in that run.
        shared: Global latent sites, those outside the data plate.
        sampled: Latent sites with a KL that is estimated at the draws even if a closed form is
            registered, because the closed form would be wrong (:mod:`ppvae.programs.order`).
        auxiliary: The guide's further sites (``infer={"is_auxiliary": True}``, ``pyro.factor``).
        factors: The model's ``pyro.factor`` sites.
        deterministic: The model's ``pyro.deterministic`` sites.
        columns: For each site observed at a column's own tensor, the name of the column. A site
            observed at a computed value, such as ``obs=x / x.sum(-1, keepdim=True)``, is not
            included.
    """

    latent: tuple[str, ...]
    observed: tuple[str, ...]
    enumerated: tuple[str, ...] = ()
    max_plate_nesting: int = 1
    event_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    num_rows: int = 1
    shared: tuple[str, ...] = ()
    sampled: frozenset[str] = frozenset()
    auxiliary: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    deterministic: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def drawn(self) -> frozenset[str]:
        """All sites that enter the guide's density."""
        return frozenset((*self.latent, *self.auxiliary))

    @property
    def joint(self) -> frozenset[str]:
        """All sites that enter the model's density."""
        return frozenset((*self.latent, *self.scored))

    @property
    def scored(self) -> tuple[str, ...]:
        """Sites of the model whose log-densities add up to its log-likelihood."""
        return (*self.observed, *self.factors)
