"""Random warps of images and spectra."""

from __future__ import annotations

import pytest
import torch

from ppvae.nets import Pose, Warp, grid, resample, transform_grid
from tests.pairs import images


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 9, 7), (1, 16)])
def test_without_widths_nothing_moves(shape):
    x = images(*shape)
    torch.testing.assert_close(Warp(shape)(x), x, rtol=0, atol=1e-9)


def test_a_shift_is_that_of_the_pose():
    x = images()
    torch.manual_seed(1)
    moved = Warp((1, 8, 8), translation=0.2)(x)
    torch.manual_seed(1)
    pose = Pose(shift=0.2 * torch.randn(len(x), 2), scale=torch.ones(len(x)))
    torch.testing.assert_close(moved, resample(x, transform_grid(grid(8, 8).to(x), pose)))


@pytest.mark.parametrize("width", ["rotation", "translation", "scale", "bend"])
def test_each_row_has_a_change_of_its_own_and_no_ink_appears(width):
    x = images()[:1].expand(6, -1, -1, -1)
    warped = Warp((1, 8, 8), **{width: 0.3})(x)
    assert warped.shape == x.shape
    assert (warped.flatten(1).diff(dim=0).abs().amax(1) > 1e-6).all()
    assert warped.min() >= x.min() - 1e-9
    assert warped.max() <= x.max() + 1e-9


def test_it_follows_dtype_and_gradients():
    x = images().float().requires_grad_()
    warped = Warp((1, 8, 8), rotation=0.1, bend=0.1)(x)
    assert warped.dtype == torch.float32
    warped.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="cannot turn"):
        Warp((1, 16), rotation=0.1)
    with pytest.raises(ValueError, match="widths of at least 0"):
        Warp((1, 8, 8), bend=-0.1)
    with pytest.raises(ValueError, match=r"shape \(..., 1, 8, 8\)"):
        Warp((1, 8, 8))(torch.zeros(3, 1, 9, 9))
