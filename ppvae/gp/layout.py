r"""The object and view of each training datum, and sums over data without N x H arrays.

With :math:`f_n = x_{p(n)} \otimes r_{q(n)}`, the GP needs of the N training data only

.. math::
    G = \sum_n c_n f_n f_n^\top, \qquad b = \sum_n f_n \mu_n^\top

in all and for each *fold*, a group of views that is left out together. Two routes to the same
sums: by cells of the object x view grid, :math:`O(N + P Q M^2 + Q M^2 R^2)`, where the grid is
reasonably full; by the objects' own views, :math:`O(N R^2 + P M^2 R^2)`, where views are many or
continuous. Incomplete grids and several data in one cell are counted as they are. In float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError

__all__ = ["Layout"]

ROWS = 8192
OBJECTS = 4096


class Layout(nn.Module):
    """The object and view of each training datum.

    Arguments:
        objects: Object ids, with shape (N).
        views: Views, with shape (N) or (N, V).
        folds: At most how many groups of views; one a view where there are no more views than
            this, else views are dealt out in turn.

    Raises:
        ArgumentError: If the columns differ in length.
    """

    def __init__(self, objects: Tensor, views: Tensor, *, folds: int = 1) -> None:
        super().__init__()
        if len(objects) != len(views):
            raise ArgumentError(
                f"object and view: expected columns of one length; got {len(objects)} and "
                f"{len(views)}. Draw both from the same rows."
            )
        levels, view_codes = torch.unique(views, dim=0, return_inverse=True)
        object_levels, object_codes = torch.unique(objects, dim=0, return_inverse=True)
        self.num_rows = len(objects)
        self.num_views = len(levels)
        self.num_objects = len(object_levels)
        self.num_folds = max(1, min(folds, self.num_views))
        self.is_grid = self.num_views * self.num_objects <= 16 * self.num_rows
        order = torch.argsort(view_codes, stable=True)
        for name, value in {
            "views": levels,
            "objects": object_levels,
            "view_codes": view_codes,
            "object_codes": object_codes,
            "fold_codes": view_codes % self.num_folds,
            "order": order,
        }.items():
            self.register_buffer(name, value, persistent=False)
        self.views: Tensor
        self.objects: Tensor
        self.view_codes: Tensor
        self.object_codes: Tensor
        self.fold_codes: Tensor
        self.order: Tensor
        self.view_counts = torch.bincount(view_codes, minlength=self.num_views).tolist()

    def gram(self, x: Tensor, r: Tensor, weights: Tensor | None = None) -> Tensor:
        r""":math:`\sum_n c_n f_n f_n^\top`.

        Arguments:
            x: Features of ``objects``, with shape (P, M).
            r: Features of ``views``, with shape (Q, R).
            weights: c, with shape (W, N); ones by default.

        Returns:
            With shape (W, M R, M R), W = 1 by default.
        """
        if weights is None:
            weights = x.new_ones(1, self.num_rows)
        if self.is_grid:
            by_view = self._grid(x, weights)
            return _kronecker(by_view.mT @ _outer(r), x, r)
        sums = x.new_zeros(len(weights), self.num_objects, r.size(1) ** 2)
        for rows in self._rows():
            outer = _outer(r[self.view_codes[rows]])
            sums.index_add_(1, self.object_codes[rows], weights[:, rows, None] * outer)
        return _kronecker(_over_objects(x, sums), x, r)

    def fold_grams(self, x: Tensor, r: Tensor) -> Tensor:
        r""":math:`\sum_{n \in \mathrm{fold}} f_n f_n^\top`, with shape (folds, M R, M R)."""
        folds = torch.arange(self.num_folds, device=x.device)
        if self.is_grid:
            by_view = self._grid(x, x.new_ones(1, self.num_rows))[0]
            view_folds = torch.arange(self.num_views, device=x.device) % self.num_folds
            chosen = (view_folds == folds[:, None]).to(x)
            return _kronecker(torch.einsum("kq,qm,qr->kmr", chosen, by_view, _outer(r)), x, r)
        sums = x.new_zeros(self.num_folds * self.num_objects, r.size(1) ** 2)
        for rows in self._rows():
            cells = self.fold_codes[rows] * self.num_objects + self.object_codes[rows]
            sums.index_add_(0, cells, _outer(r[self.view_codes[rows]]))
        sums = sums.unflatten(0, (self.num_folds, self.num_objects))
        return _kronecker(_over_objects(x, sums), x, r)

    def fold_projections(self, x: Tensor, r: Tensor, values: Tensor) -> Tensor:
        r""":math:`\sum_{n \in \mathrm{fold}} f_n \mu_n^\top`: (N, L) to (folds, M R, L)."""
        size = x.size(1) * r.size(1)
        total = x.new_zeros(self.num_folds, size, values.size(1))
        if self.is_grid:
            start = 0
            for view, count in enumerate(self.view_counts):
                sums = x.new_zeros(x.size(1), values.size(1))
                for part in self.order[start : start + count].split(ROWS):
                    sums += x[self.object_codes[part]].mT @ values[part].to(x)
                start += count
                total[view % self.num_folds] += (sums[:, None] * r[view][:, None]).flatten(0, 1)
            return total
        for rows in self._rows():
            f = x[self.object_codes[rows]][:, :, None] * r[self.view_codes[rows]][:, None]
            fold = torch.nn.functional.one_hot(self.fold_codes[rows], self.num_folds).to(x)
            total += torch.einsum("nk,nh,nl->khl", fold, f.flatten(1), values[rows].to(x))
        return total

    def _rows(self) -> Iterator[Tensor]:
        yield from torch.arange(self.num_rows, device=self.order.device).split(ROWS)

    def _grid(self, x: Tensor, weights: Tensor) -> Tensor:
        r""":math:`\sum_p O_{qp} x_p x_p^\top` of each view, with shape (W, Q, M M)."""
        cells = self.view_codes * self.num_objects + self.object_codes
        grid = x.new_zeros(len(weights), self.num_views * self.num_objects)
        grid.index_add_(1, cells, weights.to(x))
        grid = grid.unflatten(1, (self.num_views, self.num_objects))
        total = x.new_zeros(len(weights), self.num_views, x.size(1) ** 2)
        for start in range(0, self.num_objects, OBJECTS):
            part = slice(start, start + OBJECTS)
            total += grid[:, :, part] @ _outer(x[part])
        return total


def _outer(rows: Tensor) -> Tensor:
    """(N, D) to (N, D D)."""
    return (rows[:, :, None] * rows[:, None, :]).flatten(1)


def _over_objects(x: Tensor, sums: Tensor) -> Tensor:
    r""":math:`\sum_p x_p x_p^\top \otimes S_p`: (W, P, R R) to (W, M M, R R)."""
    total = x.new_zeros(len(sums), x.size(1) ** 2, sums.size(2))
    for start in range(0, len(x), OBJECTS):
        part = slice(start, start + OBJECTS)
        total += _outer(x[part]).mT @ sums[:, part]
    return total


def _kronecker(products: Tensor, x: Tensor, r: Tensor) -> Tensor:
    """(W, M M, R R) to (W, M R, M R)."""
    m, width = x.size(1), r.size(1)
    split = products.unflatten(2, (width, width)).unflatten(1, (m, m))
    return split.transpose(2, 3).reshape(-1, m * width, m * width)
