"""The latent site that a term names, and the probabilities of its classes."""

from __future__ import annotations

from pyro.distributions import MaskedDistribution, TorchDistribution
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.objectives.terms import Context

__all__ = ["class_logits", "depends_on_classes", "enumerated_site", "latent_site"]


def latent_site(term: str, context: Context, site: str) -> TorchDistribution:
    """The guide's distribution of a latent site.

    Arguments:
        term: Name of the term that needs it.
        context: The evaluation.
        site: Name of the site.

    Raises:
        ArgumentError: If there is no such latent site.
    """
    if site not in context.q:
        raise ArgumentError(
            f"{term}: expected one of the latent sites {list(context.q)}; got {site!r}. "
            "Name one of them."
        )
    return context.q[site]


def enumerated_site(term: str, context: Context, site: str) -> TorchDistribution:
    """The guide's distribution of a site of classes in the data plate.

    Arguments:
        term: Name of the term that needs it.
        context: The evaluation.
        site: Name of the site.

    Raises:
        ArgumentError: If there is no such latent site, if it has no finite number of values, or if
            it is outside the data plate.
    """
    q = latent_site(term, context, site)
    shared = () if context.structure is None else context.structure.shared
    if not q.has_enumerate_support or q.event_dim > 1 or site in shared:
        where = "outside the data plate" if site in shared else "of another kind"
        raise ArgumentError(
            f"{term}: expected a site of classes in the data plate, with finitely many values; "
            f"got {site!r}, a {type(q).__name__} {where}. Name a site such as a Categorical one."
        )
    return q


def class_logits(fn: TorchDistribution) -> Tensor:
    """The log-probability of each value of a discrete distribution, with shape (..., N, K).

    Arguments:
        fn: A distribution that enumerates its support, such as Categorical or Bernoulli, with
            batch shape (..., N); a mask is left out.
    """
    while isinstance(fn, MaskedDistribution):
        fn = fn.base_dist
    values = fn.enumerate_support(expand=False)
    return fn.log_prob(values).expand(len(values), *fn.batch_shape).movedim(0, -1)


def depends_on_classes(context: Context, fn: TorchDistribution) -> bool:
    """Whether a site's distribution differs between the classes of another, enumerated site.

    Arguments:
        context: The evaluation.
        fn: The distribution in model or guide.
    """
    nesting = 1 if context.structure is None else context.structure.max_plate_nesting
    nesting += context.particles > 1
    shape = tuple(fn.batch_shape)
    return any(size > 1 for size in shape[: max(0, len(shape) - nesting)])
