r"""GP priors with their weights integrated out: a share of the GP's KL for each datum.

A subclass gives the share; the KL from a normal, diagonal or full, is registered here for all.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    constraints,
    register_kl,
)

__all__ = ["IntegratedGP"]


class IntegratedGP(TorchDistribution):
    """Base of the priors of one batch's latents, with shape (N | L).

    To write one, define ``mean``, ``variance``, ``log_prob``, ``expand`` and :meth:`kl_share`.
    ``rsample`` draws from the GP's posterior predictive given exact encodings.
    """

    support = constraints.real_vector
    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def kl_share(self, loc: Tensor, variance: Tensor, log_det: Tensor) -> Tensor:
        """Share of each datum in the KL from a normal, in nats, with shape (..., N).

        Arguments:
            loc: Means, with shape (..., N, L).
            variance: Variances, with shape (..., N, L).
            log_det: Log-determinants of the covariances, with shape (..., N).
        """
        raise NotImplementedError

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return Normal(self.mean, self.variance.sqrt()).rsample(Size(sample_shape))


@register_kl(Independent, IntegratedGP)
def _kl_diagonal(q: Independent[Distribution], p: IntegratedGP) -> Tensor:
    if not isinstance(q.base_dist, Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    scale = q.base_dist.scale
    return p.kl_share(q.base_dist.loc, scale.square(), 2 * scale.log().sum(-1))


@register_kl(MultivariateNormal, IntegratedGP)
def _kl_full(q: MultivariateNormal, p: IntegratedGP) -> Tensor:
    tril = q.scale_tril
    log_det = 2 * tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return p.kl_share(q.loc, tril.square().sum(-1), log_det)


@register_kl(Distribution, IntegratedGP)
def _kl_other(q: Distribution, p: IntegratedGP) -> Tensor:
    raise NotImplementedError
