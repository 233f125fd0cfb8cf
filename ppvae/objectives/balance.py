r"""A term that keeps classes equally frequent over the data.

.. math::
    \frac1N \sum_n \mathrm{KL}(q(y \mid x_n) \| p(y)) = I_q(x; y) + \mathrm{KL}(\bar q(y) \| p(y)),
    \qquad \bar q(y) = \frac1N \sum_n q(y \mid x_n)

The KL of the ELBO, or its capacity, does not distinguish the two parts: assigning all data to one
class costs the same as assigning every datum with certainty to any class. This term is the second
part.
"""

from __future__ import annotations

from torch import Tensor

from ppvae.borders import typed
from ppvae.expected import at_least
from ppvae.objectives.schedules import Schedule, as_schedule
from ppvae.objectives.terms import Context, Term

__all__ = ["Balance"]


class Balance(Term):
    r""":math:`\lambda(t) \, \mathrm{KL}(\bar q(y) \| p(y))`, the mean taken over the batch.

    Arguments:
        site: An enumerated site that depends on no other.
        weight: :math:`\lambda`, a number or a schedule; minus the weight of the KL leaves only
            the mutual information in the loss.

    Raises:
        ArgumentError: If ``weight`` is negative.

    References:
        | ELBO surgery (Hoffman and Johnson, 2016)
    """

    sharded = True

    @typed(weight=at_least(0))
    def __init__(self, site: str = "y", *, weight: float | Schedule = 1.0) -> None:
        super().__init__()
        self.name = f"balance_{site}"
        self.site = site
        self.weight = as_schedule(weight)

    def forward(self, context: Context) -> Tensor:
        probs = context.shards.gather(context.q[self.site].probs, -2)
        mean = probs.reshape(-1, probs.size(-1)).mean(0).clamp_min(1e-8)
        prior = context.p[self.site].probs
        prior = prior.reshape(-1, prior.size(-1))[0]
        return self.weight(context.step).to(mean) * (mean * (mean / prior).log()).sum()
