r"""A term that keeps classes equally frequent over the data.

.. math::
    \frac1N \sum_n \mathrm{KL}(q(y \mid x_n) \| p(y)) = I_q(x; y) + \mathrm{KL}(\bar q(y) \| p(y)),
    \qquad \bar q(y) = \frac1N \sum_n q(y \mid x_n)

The KL of the ELBO, or its capacity, does not distinguish the two parts: assigning all data to one
class costs the same as assigning every datum with certainty to any class. This term is the second
part. Where the prior differs by row, as p(y | c), p(y) is its mean, too, over the same rows.
"""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppvae.borders import typed
from ppvae.expected import at_least
from ppvae.objectives.classes import class_logits, depends_on_classes, enumerated_site
from ppvae.objectives.schedules import Schedule, as_schedule
from ppvae.objectives.terms import Context, Term

__all__ = ["Balance"]


class Balance(Term):
    r""":math:`\lambda(t) \, \mathrm{KL}(\bar q(y) \| \bar p(y))`, the means taken over the batch.

    Both means include the entries of plates within that of the data, and the expectation over
    other sites that q or p depend on. The KL's mutual information is that of the module's equation
    where the prior is the same for all rows.

    Arguments:
        site: A site of classes in the data plate: Categorical, Bernoulli or another with finitely
            many values.
        weight: :math:`\lambda`, a number or a schedule; minus the weight of the KL leaves only
            the mutual information in the loss.

    Raises:
        ArgumentError: If ``weight`` is negative; when called on a batch, if there is no such site,
            or if it has no finite number of values.

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
        """The weighted KL of a batch's mean in nats, with shape ().

        Raises:
            ArgumentError: If there is no such site of classes.
        """
        q = enumerated_site("Balance", context, self.site)
        mean = self._mean(context, q).clamp_min(1e-8)
        prior = self._mean(context, context.p[self.site])
        return self.weight(context.step).to(mean) * (mean * (mean / prior).log()).sum()

    def _mean(self, context: Context, fn: TorchDistribution) -> Tensor:
        """The mean probabilities of the classes over all rows, with shape (K)."""
        probs = class_logits(fn).exp()
        if depends_on_classes(context, fn):
            rows = probs.size(-2)
            parts = [context.expectation(part).reshape(-1, rows) for part in probs.unbind(-1)]
            probs = torch.stack(parts, -1)
        probs = context.shards.gather(probs, -2)
        return probs.reshape(-1, probs.size(-1)).mean(0)
