"""Convolutional networks of any size."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional

from ppvae.fitting.layout import channels_last
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import ConvDecoder, ConvEncoder, conv, heads
from ppvae.nets.convolved import convolved
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


@pytest.mark.parametrize("upsample", ["repeat", "shuffle"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("shape", "fused"), [((3, 32, 48), (3, 3)), ((1, 28, 28), (2, 2)), ((2, 13, 21), (0, 2))]
)
def test_without_gradients_two_layers_are_one(shape, fused, last, upsample, monkeypatch):
    calls = []
    for name in ("repeated_and_convolved", "convolved_and_shuffled"):
        form = getattr(conv, name)
        monkeypatch.setattr(
            conv, name, lambda *given, form=form: (calls.append(form), form(*given))[1]
        )
    decoder = ConvDecoder(4, heads.Bernoulli(shape), upsample=upsample)
    z = torch.randn(2, 3, 4)
    with channels_last(decoder) if last else nullcontext():
        expected = decoder(z).base_dist.logits
        assert not calls
        with torch.no_grad():
            torch.testing.assert_close(decoder(z).base_dist.logits, expected.detach())
    expected_calls = {"repeat": fused[0], "shuffle": fused[1] if last else 0}
    assert len(calls) == expected_calls[upsample]


@pytest.mark.parametrize(("bias", "size"), [(True, 3), (False, 5)])
def test_without_gradients_one_filter_is_convolved_channel_by_channel(bias, size, monkeypatch):
    groups, original = [], functional.conv2d

    def counted(*given, **named):
        groups.append(named.get("groups", 1))
        return original(*given, **named)

    monkeypatch.setattr(functional, "conv2d", counted)
    layer = nn.Conv2d(6, 1, size, padding=size // 2, bias=bias)
    value = torch.randn(3, 6, 9, 7)
    expected = layer(value).detach()
    for last in (False, True):
        with torch.no_grad(), channels_last(layer) if last else nullcontext():
            torch.testing.assert_close(convolved(value, layer), expected)
    assert groups == [1, 1, 6]
