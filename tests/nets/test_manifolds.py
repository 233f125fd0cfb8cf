"""Latent spaces other than the plane: heads and priors on spheres and rotations."""

from __future__ import annotations

import pytest
import torch

import ppvae
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, AnyDirection, AnyRotation, StandardNormal, heads
from ppvae.objectives import ELBO
from ppvae.programs import decode, encode
from tests.pairs import build, decoder, encoder, images

directions = pytest.mark.parametrize(
    "head", [heads.PowerSphericalDirection, heads.VonMisesFisherDirection]
)


@directions
def test_a_direction_is_a_unit_vector_with_a_concentration(head):
    made = head(3, init=7.0)
    assert made.raw_shape == (4,)
    q = made(torch.tensor([[0.0, 2.0, 0.0, 0.0], [3.0, 0.0, 4.0, 1.0]]))
    torch.testing.assert_close(q.mean, torch.tensor([[0.0, 1.0, 0.0], [0.6, 0.0, 0.8]]))
    assert q.concentration[0].item() == pytest.approx(7.0, rel=1e-4)
    assert q.concentration[1] > q.concentration[0]
    assert torch.isfinite(made(torch.zeros(4)).sample()).all()
    with pytest.raises(ValueError, match="dim: expected at least 2; got 1"):
        head(1)


def test_a_rotation_is_the_identity_at_raw_zero_and_always_a_rotation():
    made = heads.Rotation(init=0.2)
    q = made(torch.zeros(9))
    torch.testing.assert_close(q.mean, torch.eye(3))
    torch.testing.assert_close(q.scale, torch.full((3,), 0.2), rtol=1e-4, atol=1e-5)
    loc = made(torch.randn(50, 9)).mean
    torch.testing.assert_close(loc @ loc.mT, torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(loc), torch.ones(50), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["vae, sphere", "vae, rotations"])
def test_what_is_encoded_lies_in_the_space_and_decodes(name):
    pair = build(name)
    z = encode(pair.guide, pair.batch)["z"]
    if name == "vae, sphere":
        torch.testing.assert_close(z.norm(dim=-1), torch.ones(len(z)), atol=1e-5, rtol=0)
    else:
        eye = torch.eye(3).expand_as(z)
        torch.testing.assert_close(z @ z.mT, eye, atol=1e-5, rtol=0)
    assert decode(pair.model, {"z": z})["x"].shape == pair.batch["x"].shape


def test_a_sphere_is_learned():
    x = images().repeat(8, 1, 1, 1)
    guide = AmortizedGuide(encoder(heads.PowerSphericalDirection(3)))
    run = ppvae.fit(
        VAE(decoder(3), prior=AnyDirection(3)),
        guide,
        {"x": x},
        ELBO(weights={"z": 0.1}),
        epochs=200,
        batch_size=96,
        learning_rate=1e-2,
        seed=0,
        progress=False,
    )
    elbo = run.history.column("elbo")
    assert elbo[-1] > elbo[0] + 5
    # Places across the image end up at places across the sphere.
    assert encode(guide, {"x": x})["z"].std(0).min() > 0.05


def test_a_prior_is_of_the_models_dtype():
    for prior, shape in [
        (StandardNormal(2), (2,)),
        (AnyDirection(3), (3,)),
        (AnyRotation(), (3, 3)),
    ]:
        drawn = prior.float()().sample()
        assert drawn.shape == shape
        assert drawn.dtype == torch.float32


def test_other_priors_are_refused_in_words():
    with pytest.raises(ValueError, match="expected either latent_dim or prior"):
        VAE(decoder(2))
    with pytest.raises(ValueError, match="expected either latent_dim or prior"):
        VAE(decoder(2), latent_dim=2, prior=AnyDirection(2))
    with pytest.raises(ValueError, match="latent_dim: expected an integer >= 1 or None; got 0"):
        VAE(MLP(1, heads.Bernoulli((1, 8, 8))), latent_dim=0)
    with pytest.raises(ValueError, match="dim: expected at least 2; got 1"):
        AnyDirection(1)
