"""A scale that is learned apart from the mean."""

from __future__ import annotations

import pyro
import pytest
import torch

from ppvae.nets import MLP, Calibrated, ConvDecoder, heads


def decoders():
    image = heads.Normal((2, 9, 7), heads.Shared(0.3))
    vector = heads.Normal((5,), heads.Shared(0.3))
    return {
        "conv": ConvDecoder(3, image, channels=(8, 4), upsample="shuffle"),
        "mlp": MLP(3, vector, hidden=(6,)),
        "linear": MLP(3, vector, hidden=()),
    }


@pytest.mark.parametrize("kind", ["conv", "mlp", "linear"])
def test_mean_and_scale_are_trained_apart(kind):
    decoder = Calibrated(decoders()[kind], init=0.1)
    z = torch.randn(4, 3)
    fn = decoder(z)
    normal = decoder.decoder(z)
    torch.testing.assert_close(fn.mean, normal.mean)
    x = torch.randn(fn.mean.shape)
    fn.log_prob(x).sum().backward()
    assert all(p.grad is not None for p in decoder.net.parameters())
    ours = [p.grad.clone() for p in decoder.decoder.parameters()]
    decoder.zero_grad()
    normal.log_prob(x).sum().backward()
    for mine, p in zip(ours, decoder.decoder.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad)
    decoder.zero_grad()
    fn = decoder(z).held()
    fn.log_prob(x).sum().backward()
    assert all(p.grad is None for p in [*decoder.net.parameters(), decoder.raw_freedom])
    expanded = fn.expand((2, 4))
    assert expanded.is_held
    assert expanded.log_prob(x).shape == (2, 4)


@pytest.mark.parametrize("kind", ["conv", "mlp", "linear"])
def test_training_and_evaluation_have_one_likelihood(kind):
    decoder = Calibrated(decoders()[kind], init=0.1)
    z = torch.randn(4, 3)
    trained = decoder(z)
    x = torch.randn(trained.mean.shape)
    used = decoder.eval()(z)
    torch.testing.assert_close(trained.log_prob(x), used.log_prob(x))
    torch.testing.assert_close(trained.mean, used.mean)
    torch.testing.assert_close(trained.stddev, used.stddev)


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_the_scale_is_learned_from_what_the_objective_scores(kind):
    decoder = Calibrated(decoders()[kind])
    z = torch.randn(100, 3)
    with torch.no_grad():
        mean = decoder(z).mean
        x = mean + 0.02 * torch.randn_like(mean)
    own = [*decoder.net.parameters(), decoder.raw_freedom]
    optimizer = torch.optim.Adam(own, lr=0.02)
    for _ in range(150):
        loss = -decoder(z).log_prob(x).mean() / mean[0].numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    decoder.eval()
    fn = decoder(z)
    torch.testing.assert_close(fn.mean, mean)
    assert abs(fn.stddev.log().mean() - torch.tensor(0.02).log()) < 0.25
    with pyro.plate("data", 100, dim=-1):
        assert pyro.sample("x", fn, obs=x).shape == x.shape


def test_another_likelihood_is_refused():
    decoder = Calibrated(MLP(3, heads.Bernoulli((5,)), hidden=(4,)))
    with pytest.raises(ValueError, match="normal likelihood"):
        decoder(torch.randn(2, 3))
