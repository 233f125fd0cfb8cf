r"""Closed-form KL divergences that neither torch nor Pyro registers.

Importing this module registers them with :func:`torch.distributions.kl_divergence`.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, register_kl

__all__: list[str] = []


@register_kl(MultivariateNormal, Independent)
def _full_to_diagonal(q: MultivariateNormal, p: Independent[Distribution]) -> Tensor:
    r"""KL of a full-covariance normal from a diagonal one, with :math:`\Sigma = L L^\top`.

    .. math::
        \tfrac12 \sum_i \left[ \frac{(L L^\top)_{ii} + (\mu_i - m_i)^2}{s_i^2} - 1
            + 2 \log s_i - 2 \log L_{ii} \right]
    """
    if not isinstance(p.base_dist, Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    loc, scale = p.base_dist.loc, p.base_dist.scale
    tril = q.scale_tril
    variance = tril.square().sum(-1)
    log_diagonal = tril.diagonal(dim1=-2, dim2=-1).log()
    terms = (variance + (q.loc - loc).square()) / scale.square() - 1
    return (0.5 * terms + scale.log() - log_diagonal).sum(-1)
