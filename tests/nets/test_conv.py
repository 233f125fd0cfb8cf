"""Convolutional networks of any size."""

from __future__ import annotations

import pytest
import torch

from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import ConvDecoder, ConvEncoder, conv, heads
from ppvae.programs import ContractError, check_pair


@pytest.mark.parametrize("size", [(28, 28), (9, 13), (128, 128)])
def test_sub_pixel_decoder_makes_any_size(size):
    head = heads.Normal((3, *size), heads.Shared())
    decoder = ConvDecoder((4, 2), head, hidden=16, upsample="shuffle", last_channels=5)
    fn = decoder(torch.randn(2, 1, 4), torch.randn(3, 2))
    assert fn.batch_shape == (2, 3)
    assert fn.event_shape == (3, *size)
    features = decoder.features(torch.randn(2, 1, 4), torch.randn(3, 2))
    assert features.shape == (2, 3, 5, *size)
    with pytest.raises(ValueError, match="'repeat' or 'shuffle'"):
        ConvDecoder(4, head, upsample="transposed")


def test_a_networks_own_words_reach_the_user_alone():
    encoder = ConvEncoder((1, 8, 8), heads.DiagonalNormal(2))
    decoder = ConvDecoder(2, heads.Bernoulli((1, 8, 8)))
    model, guide = VAE(decoder, latent_dim=2), AmortizedGuide(encoder)
    with pytest.raises(ContractError, match=r"^ConvEncoder: expected .* Build the network"):
        check_pair(model, guide, {"x": torch.zeros(3, 1, 9, 8)})


@pytest.mark.parametrize(
    ("shape", "fused"), [((3, 32, 48), 3), ((1, 28, 28), 2), ((2, 13, 21), 0)]
)
def test_without_gradients_a_stage_that_doubles_is_one_convolution(shape, fused, monkeypatch):
    calls, original = [], conv._repeated_and_convolved
    monkeypatch.setattr(
        conv, "_repeated_and_convolved", lambda *given: (calls.append(1), original(*given))[1]
    )
    decoder, z = ConvDecoder(4, heads.Bernoulli(shape)), torch.randn(2, 3, 4)
    expected = decoder(z).base_dist.logits
    assert not calls
    with torch.no_grad():
        torch.testing.assert_close(decoder(z).base_dist.logits, expected.detach())
    assert len(calls) == fused
