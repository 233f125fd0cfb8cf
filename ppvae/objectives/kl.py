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

    Where model and guide weigh the site differently, the two densities count differently, and
    there is no KL: the difference is taken at the drawn value, as in Pyro's ``Trace_ELBO``. The
    first batch does not tell, as scales and masks may differ in other batches, or in training.

    Arguments:
        q: The guide's site.
        p: The model's site.
        analytic: Whether the closed form is used where one is registered.
    """
    agreed = _agreed(q, p) if analytic else False
    if agreed is not False:
        try:
            value = kl_divergence(q["fn"], p["fn"])
        except NotImplementedError:
            pass
        else:
            scaled: Tensor = scale_and_mask(value, p["scale"], p["mask"])
            return scaled if agreed is True else torch.where(agreed, scaled, _at_draw(q, p))
    return _at_draw(q, p)


def _at_draw(q: Site, p: Site) -> Tensor:
    """log q - log p at the guide's value, each with its own scale and mask."""
    at_draw: Site = {**p, "value": q["value"]}
    return log_prob(q) - log_prob(at_draw)


def _agreed(q: Site, p: Site) -> Tensor | bool:
    """Whether both sites have the same scale and mask; by entry where one of them is a tensor."""
    scales = _equal(q["scale"], p["scale"])
    masks = _equal(*(True if site["mask"] is None else site["mask"] for site in (q, p)))
    if scales is False or masks is False:
        return False
    return scales & masks


def _equal(ours: Tensor | float, theirs: Tensor | float) -> Tensor | bool:
    same = ours is theirs or ours == theirs
    return same if isinstance(same, Tensor) else bool(same)


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
