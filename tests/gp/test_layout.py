"""Sums over the training data against rows written out, by both routes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppvae.gp import Layout

M, R, L = 3, 5, 2


def make(kind: str, folds: int) -> tuple[Layout, Tensor, Tensor, Tensor, Tensor]:
    """A layout with its features and dense rows; folds of the data, from views alone."""
    rows = 70
    objects = torch.randint(0, 11, (rows,)) * 3
    if kind == "grid":
        views = torch.randint(0, 6, (rows,)).double() / 7
    else:
        objects = torch.randint(0, 60, (rows,)) * 3
        views = torch.rand(rows, 2)
    layout = Layout(objects, views, folds=folds)
    assert layout.is_grid == (kind == "grid")
    x, r = torch.randn(layout.num_objects, M), torch.randn(layout.num_views, R)
    f = torch.einsum("nm,nr->nmr", x[layout.object_codes], r[layout.view_codes]).flatten(1)
    return layout, x, r, f, layout.fold_codes


@pytest.mark.parametrize("kind", ["grid", "irregular"])
def test_sums_are_those_of_the_rows(kind):
    layout, x, r, f, folds = make(kind, 4)
    torch.testing.assert_close(layout.gram(x, r)[0], f.T @ f)
    weights = torch.rand(2, len(f))
    weighted = torch.einsum("wn,nh,nk->whk", weights, f, f)
    torch.testing.assert_close(layout.gram(x, r, weights), weighted)
    assert layout.num_folds == 4
    values = torch.randn(len(f), L)
    grams, projections = layout.fold_grams(x, r), layout.fold_projections(x, r, values)
    for fold in range(4):
        out = folds == fold
        assert out.any()
        torch.testing.assert_close(grams[fold], f[out].T @ f[out])
        torch.testing.assert_close(projections[fold], f[out].T @ values[out])


@pytest.mark.parametrize("kind", ["grid", "irregular"])
def test_sums_in_parts_are_those_of_all_rows(kind, monkeypatch):
    monkeypatch.setattr("ppvae.gp.layout.ROWS", 8)
    monkeypatch.setattr("ppvae.gp.layout.OBJECTS", 3)
    test_sums_are_those_of_the_rows(kind)


def test_a_view_is_in_one_fold():
    layout, *_ = make("grid", 4)
    for view in range(layout.num_views):
        assert len(layout.fold_codes[layout.view_codes == view].unique()) == 1
    assert Layout(torch.arange(3), torch.tensor([0.0, 0.0, 1.0]), folds=16).num_folds == 2
