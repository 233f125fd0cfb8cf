"""BoTorch's look-ahead on our posterior, and its search in the latent space of a VAE."""

from __future__ import annotations

import pytest
import torch

import ppvae
from ppvae.active import acquisition_named, botorch_model
from ppvae.active.acquisition import Asked
from ppvae.errors import ArgumentError
from ppvae.nets import MLP, heads
from ppvae.zoo.surrogates import deep_kernel_surrogate

pytest.importorskip("botorch")


def places():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(36, 1, 2, 3, generator=generator, dtype=torch.float64)


def truth(x):
    return x.flatten(1)[:, 0] + 0.5 * x.flatten(1)[:, 1].sin()


def fitted():
    x = places()
    model = deep_kernel_surrogate(x, ensemble=2, first_steps=10, components=4, dim=2)
    rows = x.flatten(1)
    model.fit(rows[:10], truth(x)[:10, None])
    return model.eval(), rows


def test_fantasies_are_the_posterior_given_what_was_drawn():
    from botorch.sampling.normal import SobolQMCNormalSampler

    model, rows = fitted()
    sampler = SobolQMCNormalSampler(torch.Size([4]), seed=0)
    given = botorch_model(model).fantasize(rows[12:14, None], sampler)
    posterior = given.posterior(rows[20:23])
    assert posterior.mean.shape == (4, 2, 3, 1)
    drawn = sampler(botorch_model(model).posterior(rows[12:14, None], observation_noise=True))
    mean, covariance = model.joint(torch.cat([rows[20:23], rows[12:13]]))
    covariance = covariance[0]
    noise = model.noise_variance()[0]
    gain = covariance[:3, 3] / (covariance[3, 3] + noise)
    expected = mean[:3, 0] + gain * (drawn[1, 0, 0, 0] - mean[3, 0])
    torch.testing.assert_close(posterior.mean[1, 0, :, 0], expected, rtol=1e-4, atol=1e-4)
    rest = covariance[:3, :3].diagonal() - gain * covariance[:3, 3]
    torch.testing.assert_close(posterior.variance[1, 0, :, 0], rest, rtol=1e-3, atol=1e-4)
    with pytest.raises(ArgumentError, match="expected a model of measurements"):
        given.fantasize(rows[:1], sampler)


def test_the_knowledge_gradient_is_the_gain_of_the_largest_mean():
    model, rows = fitted()
    x = rows[10:]
    asked = Asked(model, x, 0.0, x[:0])
    found = acquisition_named("knowledge-gradient")(asked)
    mean, covariance = model.joint(x)
    noise = model.noise_variance()[0]
    slopes = covariance[0] / (covariance[0].diagonal() + noise).sqrt()
    z = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(2000).double() + 0.5) / 2000)
    lines = mean[:, :1, None] + slopes[:, :, None] * z  # (N', N, S)
    exact = lines.max(0).values.mean(-1) - mean.max()
    assert int(found.argmax()) == int(exact.argmax())
    assert float((found - exact).abs().max()) < 0.15 * float(exact.max())


def test_a_vaes_latents_are_a_space_that_botorch_searches():
    from botorch.acquisition.analytic import UpperConfidenceBound
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Normalize
    from botorch.optim import optimize_acqf

    x = places().float().flatten(1)
    y = truth(places())[:, None]
    torch.manual_seed(0)
    encoder = MLP(6, heads.DiagonalNormal(2), hidden=(8,))
    decoder = MLP(2, heads.Normal((6,)), hidden=(8,))
    run = ppvae.fit(
        ppvae.models.VAE(decoder, latent_dim=2),
        ppvae.guides.AmortizedGuide(encoder),
        {"x": x},
        epochs=2,
        progress=False,
    )
    z = run.encode({"x": x})["z"].double()
    bounds = torch.stack([z.min(0).values, z.max(0).values])
    model = SingleTaskGP(z[:12], y[:12], input_transform=Normalize(2, bounds=bounds))
    best, _ = optimize_acqf(
        UpperConfidenceBound(model, beta=4.0), bounds, q=1, num_restarts=2, raw_samples=16
    )
    assert ((best >= bounds[0]) & (best <= bounds[1])).all()
    assert run.decode({"z": best.float()})["x"].shape == (1, 6)
