r"""The KL divergence of a site, and closed forms that neither torch nor Pyro registers.

Importing this module registers them with :func:`torch.distributions.kl_divergence`.
"""

from __future__ import annotations

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
    register_kl,
)

from ppvae.programs import Site, log_prob

__all__ = ["site_kl"]


def site_kl(q: Site, p: Site, *, analytic: bool) -> Tensor:
    """KL of one site, scaled and masked, in closed form or at the drawn value.

    Arguments:
        q: The guide's site.
        p: The model's site.
        analytic: Whether the closed form is used where one is registered.
    """
    at_draw: Site
    if analytic:
        try:
            value = kl_divergence(q["fn"], p["fn"])
        except NotImplementedError:
            pass
        else:
            scaled: Tensor = scale_and_mask(value, p["scale"], p["mask"])
            ours, theirs = q["mask"], p["mask"]
            if ours is theirs or not (isinstance(ours, Tensor) and isinstance(theirs, Tensor)):
                return scaled
            # Rows that model and guide mask differently, in other batches than that of the check.
            at_draw = {**p, "value": q["value"]}
            return torch.where(ours == theirs, scaled, log_prob(q) - log_prob(at_draw))
    at_draw = {**p, "value": q["value"]}
    return log_prob(q) - log_prob(at_draw)


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
