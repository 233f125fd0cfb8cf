"""The scale that encoder and decoder share: the same model, and a faster way to its optimum."""

import pyro.distributions as dist
import pytest
import torch

import ppvae
from ppvae.errors import ArgumentError
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads, shared_scale

L, R = 3, 12


def networks(head=heads.DiagonalNormal):
    torch.manual_seed(0)
    encoder = MLP(R, head(L), hidden=())
    return encoder, MLP((L, 2), heads.Normal((R,), heads.Shared(0.5)), hidden=())


@pytest.mark.parametrize("head", [heads.DiagonalNormal, heads.FullNormal])
def test_the_likelihood_of_an_encoded_datum_does_not_change_and_the_encoding_is_scaled(head):
    encoder, decoder = networks(head)
    scaled = shared_scale(encoder, decoder, latent_dim=L)
    assert scaled[0].log_scale is scaled[1].log_scale
    c = torch.tensor([0.5, 1.0, 3.0])
    scaled[0].log_scale.data.copy_(c.log())
    x, y = torch.randn(5, R), torch.randn(5, 2)
    q, p = scaled[0](x), encoder(x)
    torch.testing.assert_close(q.mean, c * p.mean)
    torch.testing.assert_close(q.variance, c.square() * p.variance)
    z = p.rsample()
    jacobian = c.log().sum()
    torch.testing.assert_close(q.log_prob(c * z), p.log_prob(z) - jacobian)
    torch.testing.assert_close(scaled[1](c * z, y).mean, decoder(z, y).mean)


def test_an_encoder_without_a_normal_distribution_is_refused():
    class Sphere(torch.nn.Module):
        def forward(self, x):
            return dist.Laplace(x, torch.ones_like(x)).to_event(1)

    encoder, _ = shared_scale(Sphere(), torch.nn.Identity(), latent_dim=L)
    with pytest.raises(ArgumentError, match="shared_scale: expected an encoder with a normal"):
        encoder(torch.zeros(2, L))


def test_training_with_the_scale_comes_to_the_variance_of_the_prior_in_fewer_steps():
    # Latents that the data determine well have, at the optimum, means of nearly unit variance.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, L, generator=generator) @ torch.randn(L, R, generator=generator)
    x += 0.1 * torch.randn(200, R, generator=generator)
    variances, elbos = {}, {}
    for name in ("plain", "scaled"):
        torch.manual_seed(0)
        encoder = MLP(R, heads.DiagonalNormal(L, init=0.2), hidden=())
        decoder = MLP(L, heads.Normal((R,), heads.Shared(0.3)), hidden=())
        if name == "scaled":
            encoder, decoder = shared_scale(encoder, decoder, latent_dim=L)
        run = ppvae.fit(
            VAE(decoder, latent_dim=L),
            AmortizedGuide(encoder),
            {"x": x},
            epochs=300,
            batch_size=200,
            learning_rate=2e-2,
            seed=0,
            progress=False,
        )
        variances[name] = float(run.encode({"x": x})["z"].var(0).mean())
        elbos[name] = run.history[-1]["elbo"]
    assert abs(variances["scaled"] - 1) < 0.1 < abs(variances["plain"] - 1)
    assert elbos["scaled"] > elbos["plain"]
