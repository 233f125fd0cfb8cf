"""The baseline LIVAE: latents of an unseen view, interpolated between an object's nearest views.

References:
    | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
    | https://arxiv.org/abs/1810.11738
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import ROWS, above
from ppvae.programs.batches import on_one_device

__all__ = ["interpolate_latents"]


@on_one_device
@typed(codes=ROWS, objects=ROWS, views=ROWS, at_objects=ROWS, at_views=ROWS, period=above(0))
def interpolate_latents(
    codes: Tensor,
    objects: Tensor,
    views: Tensor,
    *,
    at_objects: Tensor,
    at_views: Tensor,
    period: float | None = None,
) -> Tensor:
    r"""Linear interpolation between an object's nearest encoded views on either side,

    .. math::
        z_* = \frac{d_+ z_- + d_- z_+}{d_- + d_+}

    :math:`d_\pm` being the distances to the nearest view above and below. Where an object has no
    view on one side, the nearest on the other is copied.

    Arguments:
        codes: Encodings, with shape (N, L).
        objects: Their objects, with shape (N).
        views: Their views, with shape (N).
        at_objects: Objects to predict, with shape (K).
        at_views: In which views, with shape (K).
        period: After which views repeat, such as :math:`2 \pi`; none by default.

    Returns:
        With shape (K, L).

    Raises:
        ArgumentError: If an object has no encoded view.
    """
    one = objects.shape == views.shape == codes.shape[:1] and at_objects.shape == at_views.shape
    if not one or at_objects.dim() != 1 or codes.dim() != 2:
        raise ArgumentError(
            "interpolate_latents: expected codes (N, L), objects and views (N), at_objects and "
            f"at_views (K); got {tuple(codes.shape)}, {tuple(objects.shape)}, "
            f"{tuple(views.shape)}, {tuple(at_objects.shape)} and {tuple(at_views.shape)}. Draw "
            "them from the same rows."
        )
    same = at_objects[:, None] == objects
    absent = (~same.any(1)).nonzero()[:, 0]
    if len(absent) > 0:
        raise ArgumentError(
            f"objects: expected an encoded view of each; got none of "
            f"{at_objects[absent[:3]].tolist()}. Encode some of their images first."
        )
    ahead = views.double() - at_views.double()[:, None]
    behind = -ahead
    if period is not None:
        ahead, behind = ahead % period, behind % period
    away = torch.tensor(torch.inf, dtype=torch.float64, device=codes.device)
    above, after = ahead.where(same & (ahead >= 0), away).min(1)
    below, before = behind.where(same & (behind >= 0), away).min(1)
    share = torch.where(above + below > 0, below / (above + below), torch.zeros_like(below))
    share = share.where(above.isfinite(), torch.zeros_like(share))
    share = share.where(below.isfinite(), torch.ones_like(share))[:, None].to(codes)
    return (1 - share) * codes[before] + share * codes[after]
