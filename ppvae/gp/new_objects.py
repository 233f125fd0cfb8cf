r"""Objects that were not in training, from a few encoded views, in closed form.

With the weights of latent l as a matrix :math:`W_l` (M x R), a latent is linear in the object's
features,

.. math::
    z_{kl} = \sqrt{v_0} \; x_* \cdot W_l r(w_k) + \epsilon_{kl}, \qquad
    \epsilon_{kl} \sim N(0, v_1 + s_{kl}^2), \qquad x_* \sim N(0, I / M)

so that :math:`x_*` is an M x M ridge solution of its k views, then scaled to unit norm.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import ROWS
from ppvae.gp.features import kronecker_rows, unit_rows
from ppvae.gp.prior import GPPrior
from ppvae.gp.state import spreads
from ppvae.programs.batches import placed

__all__ = ["infer_objects", "latents_of"]


@typed(codes=ROWS, objects=ROWS, views=ROWS)
@torch.no_grad()
def infer_objects(
    prior: GPPrior,
    codes: Tensor,
    objects: Tensor,
    views: Tensor,
    *,
    variances: Tensor | None = None,
) -> Tensor:
    r"""Features of new objects from encodings of some of their views.

    Arguments:
        prior: A settled GP prior.
        codes: Posterior means of the encoded views, with shape (K, L).
        objects: Number of the new object of each code, from 0 to P - 1, with shape (K).
        views: View of each code, with shape (K) or (K, V).
        variances: Posterior variances, with shape (K, L); zero by default.

    Returns:
        :math:`x_*`, rows of unit norm, with shape (P, M), in float64.

    Raises:
        ArgumentError: If the columns differ in length, or an object from 0 to P - 1 has no view.
    """
    if not len(codes) == len(objects) == len(views):
        raise ArgumentError(
            f"infer_objects: expected codes, objects and views of one length; got {len(codes)}, "
            f"{len(objects)} and {len(views)}. Draw them from the same rows."
        )
    if codes.dim() != 2 or objects.dim() != 1 or objects.is_floating_point() or objects.min() < 0:
        raise ArgumentError(
            f"infer_objects: expected codes (K, L) and whole numbers of objects (K) from 0; got "
            f"{tuple(codes.shape)} and {objects.dtype} with shape {tuple(objects.shape)}. Number "
            "the new objects from 0."
        )
    like = {"codes": codes, "objects": objects, "views": views}
    codes, objects, views = placed(prior, like).values()
    counts = torch.bincount(objects)
    if (counts == 0).any():
        raise ArgumentError(
            f"infer_objects: expected a view of every object from 0 to {len(counts) - 1}; got "
            f"none of {(counts == 0).nonzero()[:3, 0].tolist()}. Number only those that have one."
        )
    prior.views.check(views)
    v0, v1 = prior.variances()
    r = prior.views(views)
    m = prior.objects.num_features
    weights = prior.mean.double().unflatten(0, (m, r.size(-1)))
    design = v0.sqrt() * torch.einsum("mrl,kr->kml", weights, r)
    noise = v1 + (torch.zeros_like(codes) if variances is None else variances.to(v1)).double()
    scaled = design / noise[:, None]
    precision = (m * torch.eye(m).to(design)).repeat(len(counts), 1, 1)
    precision.index_add_(0, objects, scaled @ design.mT)
    projection = design.new_zeros(len(counts), m)
    projection.index_add_(0, objects, (scaled @ codes.double()[..., None])[..., 0])
    return unit_rows(torch.linalg.solve(precision, projection[..., None])[..., 0])


@torch.no_grad()
def latents_of(prior: GPPrior, x: Tensor, views: Tensor) -> dist.TorchDistribution:
    """The GP's prediction of the latents of objects given by their features.

    Arguments:
        prior: A settled GP prior.
        x: Features of the object that each row shows, with shape (N, M), such as
            ``infer_objects(...)[objects]``.
        views: In which view, with shape (N) or (N, V).

    Returns:
        A normal with shape (N | L), in the prior's dtype.
    """
    x, views = placed(prior, {"x": x, "views": views}).values()
    prior.views.check(views)
    v0, v1 = prior.variances()
    f = v0.sqrt() * kronecker_rows(x.double(), prior.views(views))
    spread = spreads(f, prior.covariance.double()).clamp_min(0)
    loc = f @ prior.mean.double()
    dtype = prior.mean.dtype
    return dist.Normal(loc.to(dtype), (spread + v1).sqrt().to(dtype)).to_event(1)
