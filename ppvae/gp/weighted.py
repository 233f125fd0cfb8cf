r"""Posteriors with the GP's weights: a normal over one batch's latents, with its KL.

.. math::
    q(Z, w) = q(w) \prod_n q(z_n \mid w), \qquad
    \mathrm{KL}(q(Z, w) \| p(Z, w)) = \mathrm{KL}(q(w) \| N(0, I))
        + \sum_n E_{q(w)} \left[ \mathrm{KL}(q(z_n \mid w) \| p(z_n \mid w)) \right]

The likelihood of datum n needs only the marginal :math:`q(z_n)`, a normal here; its share of the
KL, :math:`\mathrm{KL}(q(w) \| p(w)) / N` and its own term, is computed by the guide and stored
with the marginal. It is a closed form: a Monte Carlo objective (``ELBO(analytic=False)``) would
use the marginals only, and miss the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import register_kl

from ppvae.gp.collapsed import CollapsedGP

__all__ = ["WeightedNormal"]


class WeightedNormal(dist.Independent):
    """The marginal normal of a batch's latents, with shape (N | L), and its KL from the GP prior.

    Arguments:
        loc: Mean, with shape (N, L).
        scale: Standard deviation, with shape (N, L).
        kl: Each datum's share of the KL of latents and weights, in nats, with shape (N).
        pseudo: The normal pseudo-observations that the marginals come from, with shape (N | L),
            where there are any.
    """

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        kl: Tensor,
        *,
        pseudo: dist.TorchDistribution | None = None,
    ) -> None:
        super().__init__(dist.Normal(loc, scale), 1)
        self.kl = kl
        self.pseudo = pseudo

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> WeightedNormal:
        batch_shape = torch.Size(batch_shape)
        shape = batch_shape + self.event_shape
        base = self.base_dist
        return WeightedNormal(
            base.loc.expand(shape),
            base.scale.expand(shape),
            self.kl.expand(batch_shape),
            pseudo=None if self.pseudo is None else self.pseudo.expand(batch_shape),
        )

    def gathered(
        self, gather: Callable[[Tensor, int], Tensor], pseudo: dist.TorchDistribution | None
    ) -> WeightedNormal:
        """The distribution of the rows of all processes, with its pseudo-observations."""
        loc, scale = (gather(value, -2) for value in (self.base_dist.loc, self.base_dist.scale))
        return WeightedNormal(loc, scale, gather(self.kl, -1), pseudo=pseudo)


@register_kl(WeightedNormal, CollapsedGP)
def _kl_weighted(q: WeightedNormal, p: CollapsedGP) -> Tensor:
    return q.kl
