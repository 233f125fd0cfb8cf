"""The classification, or regression, loss of a site that is known for some data."""

from __future__ import annotations

from torch import Tensor

from ppvae.borders import typed
from ppvae.distributions.partly_known import PartlyKnown
from ppvae.expected import at_least
from ppvae.objectives.schedules import Schedule, as_schedule
from ppvae.objectives.terms import Context, Term

__all__ = ["Supervision"]


class Supervision(Term):
    r""":math:`\alpha(t)` times the mean of :math:`-\log q(v_n \mid x_n)` over the known data.

    The ELBO itself does not train the posterior of a label where the label is known; this term
    does. The mean is over the batch's known data, so that :math:`\alpha` does not depend on the
    number of labels (the paper's is relative to all data); without known data, the term is zero.

    Arguments:
        site: Latent site whose guide distribution is
            :class:`~ppvae.distributions.partly_known.PartlyKnown`.
        weight: :math:`\alpha`, a number or a schedule.

    Raises:
        ArgumentError: If ``weight`` is negative.

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
        q = context.q[self.site]
        if not isinstance(q, PartlyKnown):
            # No labels in this batch's columns (a validation set without them).
            return context.values["x"].new_zeros(())
        log_prob = q.free.log_prob(q.value.expand(q.batch_shape + q.event_shape))
        known = q.known.expand_as(log_prob)
        total = context.shards.sum(-log_prob.masked_fill(~known, 0.0))
        loss = total / context.shards.sum(known).clamp_min(1)
        return self.weight(context.step).to(loss) * loss
