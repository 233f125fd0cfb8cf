r"""A term for changes of a datum that do not change its class.

.. math::
    \frac1N \sum_n \mathrm{KL}\left(\bar q(y \mid x_n) \,\|\, q(y \mid T x_n)\right)

for a random change T, such as a small rotation. The term is not part of a bound on the evidence:
it states knowledge of q(y | x) that the model does not contain. The plain ELBO is without it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.objectives.classes import class_logits, depends_on_classes, enumerated_site
from ppvae.objectives.schedules import Schedule, as_schedule
from ppvae.objectives.terms import Context, Term
from ppvae.programs import trace_program
from ppvae.programs.sites import nodes_of

__all__ = ["Consistency"]


class Consistency(Term):
    r""":math:`\lambda(t) \, \frac1N \sum_n \mathrm{KL}(\bar q(y | x_n) \| q(y | T x_n))`.

    The target :math:`\bar q` is the guide's posterior, or the label where it is known, without
    gradient; data with a largest probability below ``threshold`` are left out.

    Arguments:
        change: T, from a column (N, ...) to the same shape, such as :class:`~ppvae.nets.Warp`.
        site: A site of classes in the data plate, Categorical, Bernoulli or another with finitely
            many values, whose posterior depends on the columns alone.
        column: Column that is changed.
        weight: :math:`\lambda`, a number or a schedule.
        threshold: Lower limit of the target's greatest probability, from 0 to below 1.

    Raises:
        ArgumentError: If ``threshold`` or ``weight`` is out of its range; when called on a batch,
            if there is no such site or column, if the site has no finite number of values, or if
            its posterior depends on an enumerated site.

    References:
        | Unsupervised Data Augmentation for Consistency Training (Xie et al., 2019)
        | https://arxiv.org/abs/1904.12848
        | Learning Discrete Representations via Information Maximizing Self-Augmented Training
        | (Hu et al., 2017), https://arxiv.org/abs/1702.08720
    """

    sharded = True

    @typed(weight=at_least(0))
    def __init__(
        self,
        change: Callable[[Tensor], Tensor],
        site: str = "y",
        *,
        column: str = "x",
        weight: float | Schedule = 1.0,
        threshold: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise ArgumentError(
                f"Consistency: expected a threshold from 0 to below 1; got {threshold}. "
                "Use 0 to count every datum."
            )
        self.name = f"consistency_{site}"
        self.change = change
        self.site = site
        self.column = column
        self.weight = as_schedule(weight)
        self.threshold = threshold

    def forward(self, context: Context) -> Tensor:
        """The weighted mean KL of a batch in nats, with shape ().

        Raises:
            ArgumentError: If there is no such site or column, or the site is of another kind.
        """
        q = enumerated_site("Consistency", context, self.site)
        if depends_on_classes(context, q):
            raise ArgumentError(
                f"Consistency: expected a posterior of {self.site!r} that depends on the columns "
                f"alone; got one that depends on another of the sites {list(context.enumerated)}. "
                "Name that one."
            )
        columns = {name: v for name, v in context.batch.items() if name != self.site}
        if self.column not in columns:
            raise ArgumentError(
                f"Consistency: expected a column to change, of {sorted(columns)}; got "
                f"{self.column!r}. Name one of them."
            )
        log_target = class_logits(q).detach()
        target = log_target.exp()
        columns[self.column] = self.change(columns[self.column])
        trace = trace_program(context.guide, columns)
        log_changed = class_logits(nodes_of(trace)[self.site]["fn"])
        # 0 log 0 = 0.
        terms = target * (log_target - log_changed)
        kl = torch.where(target > 0, terms, torch.zeros_like(terms)).sum(-1)
        mean = context.shards.mean(kl * (target.amax(-1) >= self.threshold))
        return self.weight(context.step).to(mean) * mean
