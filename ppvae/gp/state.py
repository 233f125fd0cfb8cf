r"""The algebra of a GP over object x view in weight space, on an incomplete grid.

.. math::
    z_{nl} = f_n \cdot w_l + \sqrt{v_1} \, \epsilon_{nl}, \qquad
    f_n = \sqrt{v_0} \; x_{p(n)} \otimes r_{q(n)}, \qquad w_l \sim N(0, I_H)

The posterior precision of each :math:`w_l` is the same :math:`A = I + F^\top F / v_1`, an H x H
matrix that needs neither the encoder nor an N x H array: with :math:`O_{pq}` the number of data
that show object p in view q,

.. math::
    F^\top F = v_0 \sum_q \left(\sum_p O_{pq} x_p x_p^\top\right) \otimes r_q r_q^\top, \qquad
    F^\top \mu = \sqrt{v_0} \sum_q \left(\sum_p x_p \bar\mu_{pq}^\top\right) \otimes r_q

:math:`\bar\mu_{pq}` being the sum of the encodings of cell (p, q). All in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["GPState", "Layout", "gram", "quadratic"]


class Layout(nn.Module):
    """Which object and view each training datum shows.

    Arguments:
        objects: Object ids, with shape (N).
        views: Views, with shape (N) or (N, V).
    """

    def __init__(self, objects: Tensor, views: Tensor) -> None:
        super().__init__()
        if len(objects) != len(views):
            raise ValueError(
                f"object and view: expected columns of one length; got {len(objects)} and "
                f"{len(views)}. Draw both from the same rows."
            )
        levels, view_codes = torch.unique(views, dim=0, return_inverse=True)
        object_levels, object_codes = torch.unique(objects, dim=0, return_inverse=True)
        self.num_rows = len(objects)
        self.num_views = len(levels)
        self.num_objects = len(object_levels)
        cells = view_codes * self.num_objects + object_codes
        counts = torch.bincount(cells, minlength=self.num_views * self.num_objects)
        for name, value in {
            "views": levels,
            "objects": object_levels,
            "view_codes": view_codes,
            "cells": cells,
            "counts": counts.reshape(self.num_views, self.num_objects).double(),
        }.items():
            self.register_buffer(name, value, persistent=False)
        self.views: Tensor
        self.objects: Tensor
        self.view_codes: Tensor
        self.cells: Tensor
        self.counts: Tensor

    def cell_sums(self, values: Tensor) -> Tensor:
        """Sums over the data of each cell: (N, L) to (Q, P, L)."""
        sums = values.new_zeros(self.num_views * self.num_objects, values.size(-1))
        sums.index_add_(0, self.cells, values)
        return sums.reshape(self.num_views, self.num_objects, -1)


def gram(weights: Tensor, x: Tensor, r: Tensor) -> Tensor:
    r""":math:`\sum_{qp} O_{qp} (x_p \otimes r_q)(x_p \otimes r_q)^\top` without forming rows.

    Arguments:
        weights: O, with shape (..., Q, P).
        x: Object features, with shape (P, M).
        r: View features, with shape (Q, R).

    Returns:
        With shape (..., M R, M R). Cost O(P Q M^2 + Q M^2 R^2).
    """
    size = x.size(1) * r.size(1)
    outer = (x[:, :, None] * x[:, None, :]).flatten(1)
    objects = (weights @ outer).unflatten(-1, (x.size(1), x.size(1)))
    views = (r[:, :, None] * r[:, None, :]).flatten(1)
    both = torch.einsum("...qmn,qv->...mnv", objects, views)
    both = both.unflatten(-1, (r.size(1), r.size(1))).transpose(-3, -2)
    return both.reshape(*weights.shape[:-2], size, size)


@dataclass(frozen=True)
class GPState:
    """The GP's features, and what the table of encodings says of its weights.

    Attributes:
        x: Object features, with shape (P, M).
        r: View features, with shape (Q, R).
        layout: Which object and view each training datum shows.
        sums: Object features times encodings a view, with shape (Q, M, L); no gradient enters
            the encodings.
        v0: Variance of the GP, with shape ().
        v1: Variance of the noise, with shape ().
        cholesky: Lower factor of A, with shape (H, H).
        mean: :math:`m = A^{-1} F^T \\mu / v_1`, with shape (H, L), detached: the bound holds for
            any m, and is tight at this one, so that its gradient there is nil.
    """

    x: Tensor
    r: Tensor
    layout: Layout
    sums: Tensor
    v0: Tensor
    v1: Tensor
    cholesky: Tensor
    mean: Tensor

    @classmethod
    def build(
        cls, layout: Layout, x: Tensor, r: Tensor, table: Tensor, v0: Tensor, v1: Tensor
    ) -> GPState:
        """From features of the layout's levels, the encodings (N, L) and the variances."""
        cells = layout.cell_sums(table)
        sums = torch.einsum("pm,qpl->qml", x, cells.double())
        factor = torch.linalg.cholesky(_precision(layout.counts, x, r, v0, v1))
        rhs = _project(sums.detach(), r.detach(), v0.detach(), v1.detach())
        mean = torch.cholesky_solve(rhs, factor.detach())
        return cls(x, r, layout, sums, v0, v1, factor, mean)

    def rows(self, x: Tensor, r: Tensor) -> Tensor:
        r""":math:`f = \sqrt{v_0} \, x \otimes r`: (B, M), (B, R) to (B, H)."""
        return self.v0.sqrt() * (x[..., :, None] * r[..., None, :]).flatten(-2)

    def leverage(self, f: Tensor) -> Tensor:
        r""":math:`h = f^\top A^{-1} f`, the GP's variance there given exact encodings: (B)."""
        return quadratic(f, self.cholesky)

    def log_det(self) -> Tensor:
        r""":math:`\log |A|`, with shape ()."""
        return 2 * self.cholesky.diagonal().log().sum()

    def without(self, keep: Tensor) -> tuple[Tensor, Tensor]:
        r"""The posterior of the weights when whole views are left out.

        Arguments:
            keep: One for the views that stay and zero for others, with shape (..., Q).

        Returns:
            The mean, with shape (..., H, L), and the lower Cholesky factor of the precision,
            with shape (..., H, H). Gradients flow into the features and the variances.
        """
        counts = keep[..., None] * self.layout.counts
        factor = torch.linalg.cholesky(_precision(counts, self.x, self.r, self.v0, self.v1))
        kept = keep[..., None, None] * self.sums
        rhs = _project(kept, self.r, self.v0, self.v1)
        return torch.cholesky_solve(rhs, factor), factor


def _precision(counts: Tensor, x: Tensor, r: Tensor, v0: Tensor, v1: Tensor) -> Tensor:
    scaled = gram(counts, x, r) * (v0 / v1)
    return scaled + torch.eye(scaled.size(-1), dtype=scaled.dtype, device=scaled.device)


def _project(sums: Tensor, r: Tensor, v0: Tensor, v1: Tensor) -> Tensor:
    """F^T mu / v1 from (..., Q, M, L): (..., H, L)."""
    return torch.einsum("...qml,qr->...mrl", sums, r).flatten(-3, -2) * (v0.sqrt() / v1)


def quadratic(f: Tensor, cholesky: Tensor) -> Tensor:
    r""":math:`f^\top A^{-1} f` from A's lower factor: (..., B, H), (..., H, H) to (..., B)."""
    half = torch.linalg.solve_triangular(cholesky, f.mT, upper=False)
    return half.square().sum(-2)
