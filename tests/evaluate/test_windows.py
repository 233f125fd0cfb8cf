"""Latents of every window of an image."""

from __future__ import annotations

import pytest
import torch

import ppvae
from ppvae.data import patches
from ppvae.errors import ArgumentError
from ppvae.evaluate import encode_windows
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads


def fitted(shape):
    torch.manual_seed(0)
    decoder = MLP(2, heads.Normal(shape, heads.Shared(0.5)), hidden=(4,))
    size = torch.Size(shape).numel()
    guide = AmortizedGuide(MLP(size, heads.DiagonalNormal(2), hidden=(4,), in_shape=shape))
    return ppvae.fit(
        VAE(decoder, latent_dim=2),
        guide,
        {"x": torch.randn(20, *shape)},
        epochs=1,
        batch_size=10,
        seed=0,
        progress=False,
    )


def test_each_pixel_has_the_latent_of_its_window():
    run, image = fitted((2, 5, 5)), torch.randn(2, 9, 12)
    maps = encode_windows(run, image, step=2, batch_size=7)
    assert maps["z"].shape == (5, 6, 2)
    at = torch.tensor([[0, 0], [4, 10], [8, 6]])
    alone = run.encode({"x": patches(image, at, 5)})["z"]
    torch.testing.assert_close(maps["z"][at[:, 0] // 2, at[:, 1] // 2], alone)
    assert encode_windows(run, image)["z"].shape == (9, 12, 2)


def test_runs_of_vectors_and_steps_of_nothing_are_refused():
    with pytest.raises(ArgumentError, match=r"square patches .*; got x with shape \(5,\)"):
        encode_windows(fitted((5,)), torch.randn(9, 12))
    with pytest.raises(ArgumentError, match="step"):
        encode_windows(fitted((1, 5, 5)), torch.randn(9, 12), step=0)
