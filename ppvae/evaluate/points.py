r"""Latents that a guide gives as a point for each datum (``Delta``), as in a MAP estimate.

Such a guide has no density, so that importance weights are :math:`p(x, \hat z)`: they depend on
the unit of z, have no spread, and are no estimate of p(x). A point of a *global* latent is a
learned parameter, and a ``Delta`` with a log-density, or of a value that is computed from the
guide's auxiliary draws, as under Pyro's ``AutoNormal``, has a density.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyro.distributions import Delta, TorchDistribution
from torch import Tensor

from ppvae.data import Dataset
from ppvae.evaluate.rows import plain_elbo
from ppvae.programs import Structure, batches, evaluating, placement, seeded
from ppvae.programs.densities import base_of
from ppvae.programs.means import is_density
from ppvae.runs.run import Run

__all__ = ["no_likelihood", "point_latents", "points_among"]


def points_among(
    structure: Structure,
    q: Mapping[str, TorchDistribution],
    p: Mapping[str, TorchDistribution],
    values: Mapping[str, Tensor],
    *,
    particles: int,
) -> tuple[str, ...]:
    """The latents in the data plate that one run of a pair gives as points.

    Arguments:
        structure: Structure of the pair.
        q: The guide's distribution by latent site.
        p: The model's distribution by latent site.
        values: Values by latent site, with shape (..., plates..., \\*event).
        particles: Number of draws side by side. With auxiliary sites, two or more show whether a
            value is computed from them; of one draw it is taken to be.
    """
    found = []
    for name in structure.latent:
        if name in structure.shared or isinstance(base_of(p[name]), Delta):
            continue
        fn = base_of(q[name])
        if not isinstance(fn, Delta) or (fn.log_density != 0).any():
            continue
        dim = -1 - structure.max_plate_nesting - len(q[name].event_shape)
        if structure.auxiliary and (particles < 2 or _varies(values[name], dim)):
            continue
        found.append(name)
    return tuple(found)


def _varies(value: Tensor, dim: int) -> bool:
    """Whether draws differ along a dimension."""
    return value.dim() >= -dim and bool((value != value.narrow(dim, 0, 1)).any())


def point_latents(run: Run, columns: Dataset) -> dict[str, bool]:
    """The latents in the data plate that a run's guide gives as points.

    Arguments:
        run: Its model and guide, in evaluation mode.
        columns: Rows, of which the first is used.

    Returns:
        By name, whether the prior is a density, whose value depends on the latent's unit, rather
        than a probability.
    """
    with evaluating(run.model, run.guide), seeded(0, placement(run.guide)):
        batch = next(batches(run.guide, columns, 1))
        _, context = plain_elbo(run, columns, num_particles=2).evaluate(batch)
    assert context.structure is not None
    names = points_among(
        context.structure, context.q, context.p, context.values, particles=context.particles
    )
    return {name: is_density(context.p[name]) for name in names}


def no_likelihood(names: Sequence[str]) -> str:
    """Why there is no log-likelihood, as the end of a message.

    Arguments:
        names: The latents that are points.
    """
    return (
        f"expected a posterior with a density of each latent; got a point (Delta) per datum of "
        f"{list(names)}, with which importance weights are log p(x, z) at that point: no "
        "likelihood of the data, and another number in another unit of the latent. Let the guide "
        "draw it from a distribution such as Normal, or judge by predictions and errors."
    )
