"""Networks that turn images by a known angle."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.nets import MLP, TurnedDecoder, TurnedEncoder, heads

SHAPE = (2, 8, 8)


def decoder(factor: int = 1) -> TurnedDecoder:
    canvas = (2, 8 * factor, 8 * factor)
    return TurnedDecoder(
        MLP(3, heads.Raw(canvas), hidden=[4]), heads.Normal(SHAPE, heads.Shared(0.1))
    )


@pytest.mark.parametrize("factor", [1, 2])
def test_a_quarter_turn_turns_the_image_counter_clockwise(factor):
    made = decoder(factor)
    z = torch.randn(5, 3).expand(2, 5, 3)
    still = made(z, torch.zeros(5)).mean
    assert still.shape == (2, 5, *SHAPE)
    turned = made(z, torch.full((5,), math.pi / 2)).mean
    torch.testing.assert_close(turned, still.rot90(1, (-2, -1)), atol=1e-5, rtol=1e-5)


def test_without_a_turn_it_is_the_canvas_averaged_down():
    made = decoder(2)
    z = torch.randn(4, 3)
    canvas = made.canvas(z).mean
    expected = canvas.unflatten(-1, (8, 2)).unflatten(-3, (8, 2)).mean((-1, -3))
    torch.testing.assert_close(made(z, torch.zeros(4)).mean, expected)


def test_the_encoder_sees_the_image_turned_back():
    inner = MLP(2 * 64, heads.DiagonalNormal(3), hidden=[4], in_shape=SHAPE)
    made = TurnedEncoder(inner, SHAPE)
    x = torch.randn(4, *SHAPE)
    turned = x.rot90(1, (-2, -1))
    seen = made(turned, torch.full((4,), math.pi / 2)).mean
    torch.testing.assert_close(seen, inner(x).mean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("canvas", [(1, 8, 8), (2, 12, 12), (2, 8, 16), (2, 4, 4)])
def test_a_canvas_that_does_not_fit_is_refused(canvas):
    net = MLP(3, heads.Raw(canvas), hidden=[4])
    with pytest.raises(ValueError, match=r"expected a canvas with shape \(2, 8, 8\)"):
        TurnedDecoder(net, heads.Normal(SHAPE, heads.Shared(0.1)))
