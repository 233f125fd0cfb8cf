r"""The posterior of a GP's weights given a table of encodings, in float64 and without gradients.

.. math::
    z_{nl} = f_n \cdot w_l + \sqrt{v_1} \, \epsilon_{nl}, \qquad
    f_n = \sqrt{v_0} \; x_{p(n)} \otimes r_{q(n)}, \qquad w_l \sim N(0, I_H)

The posterior precision of each :math:`w_l` is the same :math:`A = I + F^\top F / v_1`, an H x H
matrix that needs neither the encoder nor an N x H array (:mod:`ppvae.gp.layout`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.gp.layout import Layout

__all__ = ["GPState", "spreads", "weight_noise"]

# Rows whose variances are computed at once.
ROWS = 256


@dataclass(frozen=True)
class GPState:
    r"""The posterior of the weights given the encodings.

    Attributes:
        mean: :math:`m = A^{-1} F^\top \mu / v_1`, with shape (H, L).
        covariance: :math:`S = A^{-1}`, with shape (H, H).
        log_det: :math:`\log |A|`, with shape ().
        spread: :math:`B = S F^\top \mathrm{diag}\left(\sum_l s_{nl}^2\right) F S / v_1^2`, with
            shape (H, H): the effect of the encodings' own variances on the gradient of the bound.
        left_out: :math:`m` without the data of each fold, with shape (folds, H, L); no folds if
            not requested.
    """

    mean: Tensor
    covariance: Tensor
    log_det: Tensor
    spread: Tensor
    left_out: Tensor

    @classmethod
    @torch.no_grad()
    def solve(
        cls,
        layout: Layout,
        x: Tensor,
        r: Tensor,
        v0: Tensor,
        v1: Tensor,
        *,
        table: Tensor,
        variances: Tensor,
        leave_out: bool = False,
    ) -> GPState:
        """From features of the layout's levels and the encodings.

        Arguments:
            layout: Which object and view each training datum shows.
            x: Features of its objects, with shape (P, M).
            r: Features of its views, with shape (Q, R).
            v0: Variance of the GP, with shape ().
            v1: Variance of the noise, with shape ().
            table: Encodings :math:`\\mu`, with shape (N, L).
            variances: Their variances, summed over latents, with shape (N).
            leave_out: Whether to solve without each fold too.
        """
        ratio = v0 / v1
        projections = layout.fold_projections(x, r, table) * (v0.sqrt() / v1)
        projection = projections.sum(0)
        gram = layout.gram(x, r)[0]
        precision = ratio * gram
        precision.diagonal().add_(1.0)
        factor = torch.linalg.cholesky_ex(precision).L
        covariance = torch.cholesky_inverse(factor)
        noise = layout.gram(x, r, variances.to(x)[None])[0] * (v0 / v1.square())
        left_out = projections[:0]
        if leave_out:
            without = precision - ratio * layout.fold_grams(x, r)
            factors = torch.linalg.cholesky_ex(without).L
            left_out = torch.cholesky_solve(projection - projections, factors)
        return cls(
            mean=covariance @ projection,
            covariance=covariance,
            log_det=2 * factor.diagonal().log().sum(),
            spread=covariance @ noise @ covariance,
            left_out=left_out,
        )


@torch.no_grad()
def weight_noise(
    layout: Layout,
    x: Tensor,
    r: Tensor,
    v0: Tensor,
    v1: Tensor,
    *,
    covariance: Tensor,
    variances: Tensor,
) -> Tensor:
    r""":math:`A^{-1} F^\top D_l F A^{-1} / v_1^2`: the part of S due to uncertain encodings.

    Arguments:
        layout: Which object and view each training datum shows.
        x: Features of its objects, with shape (P, M).
        r: Features of its views, with shape (Q, R).
        v0: Variance of the GP, with shape ().
        v1: Variance of the noise, with shape ().
        covariance: :math:`A^{-1}`, with shape (H, H).
        variances: :math:`D_l = \mathrm{diag} \, s_l^2`, with shape (N, L).

    Returns:
        With shape (L, H, H).
    """
    noise = layout.gram(x, r, variances.to(x).mT) * (v0 / v1.square())
    return covariance @ noise @ covariance


def spreads(f: Tensor, covariance: Tensor) -> Tensor:
    r""":math:`f_n^\top S_l f_n`: variances of :math:`f_n w_l`, with shape (..., N, L).

    Arguments:
        f: Features, with shape (..., N, H).
        covariance: :math:`S_l`, which are symmetric, with shape (L, H, H).
    """
    # One matrix product on the covariances as they lie in memory, which einsum would copy.
    stacked = covariance.flatten(0, 1)
    parts = [
        ((stacked @ rows.mT).unflatten(0, covariance.shape[:2]) * rows.mT).sum(1).mT
        for rows in f.flatten(0, -2).split(ROWS)
    ]
    return torch.cat(parts).reshape(*f.shape[:-1], len(covariance))
