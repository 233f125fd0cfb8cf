"""The classification, or regression, loss of a site that is known for some data."""

from __future__ import annotations

from torch import Tensor

from ppvae.borders import typed
from ppvae.distributions.partly_known import PartlyKnown
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.objectives.classes import latent_site
from ppvae.objectives.schedules import Schedule, as_schedule
from ppvae.objectives.terms import Context, Term
from ppvae.programs import signature

__all__ = ["Supervision"]


class Supervision(Term):
    r""":math:`\alpha(t)` times the mean of :math:`-\log q(v_n \mid x_n)` over the known data.

    The ELBO itself does not train the posterior of a label where the label is known; this term
    does. The mean is over the batch's known data, so that :math:`\alpha` does not depend on the
    number of labels (the paper's is relative to all data); without known data, the term is zero.

    Arguments:
        site: Latent site whose guide distribution is
            :class:`~ppvae.distributions.partly_known.PartlyKnown` where values are given. Without
            the column of values, as in validation data, the term is zero.
        weight: :math:`\alpha`, a number or a schedule.

    Raises:
        ArgumentError: If ``weight`` is negative; when called on a batch, if there is no such
            latent site, or if its guide has all its columns and no known values.

    References:
        | Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014)
        | https://arxiv.org/abs/1406.5298
    """

    sharded = True

    @typed(weight=at_least(0))
    def __init__(self, site: str = "y", *, weight: float | Schedule = 1.0) -> None:
        super().__init__()
        self.name = f"supervision_{site}"
        self.site = site
        self.weight = as_schedule(weight)

    def forward(self, context: Context) -> Tensor:
        q = latent_site("Supervision", context, self.site)
        if not isinstance(q, PartlyKnown):
            if set(signature(context.guide)) <= set(context.batch):
                raise ArgumentError(
                    f"Supervision: expected known values of the site {self.site!r} in the guide, "
                    f"by ppvae.distributions.PartlyKnown; got {type(q).__name__} given all its "
                    "columns, which would leave the term at zero. Let the guide sample "
                    "PartlyKnown.classes(q, y), or leave the term out."
                )
            # No labels in this batch's columns (a validation set without them).
            return next(iter(context.kl.values())).new_zeros(())
        log_prob = q.free.log_prob(q.value.expand(q.batch_shape + q.event_shape))
        known = q.known.expand_as(log_prob)
        total = context.shards.sum(-log_prob.masked_fill(~known, 0.0))
        loss = total / context.shards.sum(known).clamp_min(1)
        return self.weight(context.step).to(loss) * loss
