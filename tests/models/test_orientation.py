"""Rotations in space as a site: what is encoded, searched, and said of it."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppvae
from ppvae.data import turned_solids
from ppvae.distributions import Blocks, PowerSpherical, SphericalUniform
from ppvae.errors import ArgumentError
from ppvae.guides import AmortizedGuide, Orient
from ppvae.models import VAE, OrientedDecoder
from ppvae.nets import MLP, FlatRotation, heads
from ppvae.objectives import ELBO, Linear, RotationSearch
from ppvae.objectives.rotations import _preference
from ppvae.programs import decode, encode, posterior
from ppvae.report.facts import Facts
from ppvae.report.rules import verdict
from tests.pairs import build, encoder, images


def test_encoded_rotations_are_rotations_and_decode():
    pair = build("so3vae, points")
    found = encode(pair.guide, pair.batch)
    n = len(pair.batch["x"])
    assert found["turn_probs"].shape == (n, 3)
    rotation = found["rotation"]
    torch.testing.assert_close(
        rotation @ rotation.mT, torch.eye(3).expand(n, 3, 3), rtol=0, atol=1e-5
    )
    assert decode(pair.model, found)["x"].shape == pair.batch["x"].shape


def test_modes_are_those_of_the_network():
    x = images()
    net = encoder(heads.RotationModes(2))
    with pytest.raises(ArgumentError, match="Orient: expected 3 modes of the network; got 2"):
        Orient(net, modes=3)(x)
    with pytest.raises(ArgumentError, match="modes: expected 1 or more; got 0"):
        OrientedDecoder(nn.Identity(), modes=0)


def test_the_search_is_of_pairs_with_rotations():
    pair = build("vae, mlp")
    with pytest.raises(ArgumentError, match="RotationSearch: expected a site 'rotation'"):
        (ELBO() + RotationSearch(4))(pair.model, pair.guide)(pair.batch)
    with pytest.raises(ArgumentError, match="rotations: expected an integer >= 1; got 0"):
        RotationSearch(0)


def test_the_search_moves_the_guide_to_where_pictures_fit():
    """Data drawn by the model itself at known rotations: the guide is taught them."""
    torch.manual_seed(0)
    shape = (1, 6, 6)
    decoder = OrientedDecoder(FlatRotation(MLP([1, 9], heads.Normal(shape), hidden=[])))
    model = VAE(decoder, latent_dim=1)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    net = MLP(36, heads.RotationModes(1), hidden=[32], in_shape=shape)
    to_z = MLP(36, heads.DiagonalNormal(1), hidden=[4], in_shape=shape)
    guide = AmortizedGuide(nn.Sequential(Orient(net), to_z))
    rotation = ppvae.distributions.RotationUniform(like=torch.zeros(())).sample((128,))
    x = decode(model, {"z": torch.zeros(128, 1), "rotation": rotation})["x"]
    spec = ELBO(weights={"x": 0.0, "z": 1.0, "rotation": 0.0}) + RotationSearch(
        96, widths=(0.01, 0.001), steps=80
    )
    objective = spec(model, guide)
    optimizer = torch.optim.Adam(guide.parameters(), 5e-3)

    def error() -> float:
        return float(
            ppvae.evaluate.rotation_errors(encode(guide, {"x": x})["rotation"], rotation).median()
        )

    before = error()
    for _ in range(120):
        optimizer.zero_grad()
        objective({"x": x}).loss.backward()
        optimizer.step()
        objective.advance()
    assert before > 0.8
    assert error() < 0.4


def test_contents_are_preferred_against_the_average_over_data():
    q, contents = dist.Normal(torch.randn(5, 2), 0.7), torch.randn(3, 2)
    log_q = q.log_prob(contents[:, None]).sum(-1)  # (C, N)
    expected = (log_q - log_q.logsumexp(1, keepdim=True)).mT[..., None]
    found = _preference(dist.Independent(q, 1), contents)
    torch.testing.assert_close(found, expected)


def test_a_ramp_may_begin_later():
    ramp = Linear(0.0, 1.0, 4, after=10)
    assert [float(ramp(torch.tensor(t))) for t in (0, 10, 12, 14, 20)] == [0, 0, 0.5, 1, 1]


def test_blocks_keep_to_their_supports_and_have_the_sum_of_divergences():
    axis = torch.eye(3)[0]
    normal = torch.distributions.Normal(torch.zeros(2), 0.5)
    q = Blocks(
        [PowerSpherical(axis, torch.tensor(4.0)), torch.distributions.Independent(normal, 1)]
    )
    prior = torch.distributions.Normal(torch.zeros(2), 1.0)
    p = Blocks([SphericalUniform(3, like=axis), torch.distributions.Independent(prior, 1)])
    kl = torch.distributions.kl_divergence
    expected = kl(q.parts[0], p.parts[0]) + kl(normal, prior).sum()
    torch.testing.assert_close(kl(q, p), expected)
    draws = q.sample((500,))
    assert q.support.check(draws).all()
    assert not q.support.check(torch.zeros(5))
    torch.testing.assert_close(
        draws.mean(0), q.mean * torch.tensor([0.8 * 4 / 4, 0, 0, 0, 0]) * 1.0, rtol=0, atol=0.5
    )
    with pytest.raises(ArgumentError, match="expected vectors with one batch shape"):
        Blocks([SphericalUniform(3), normal])


@pytest.mark.parametrize("family", ["power-spherical", "von-mises-fisher"])
def test_the_entry_of_spheres_has_a_direction_beside_normals(family):
    x = torch.rand(20, 1, 8, 8)
    pair = ppvae.zoo.svae({"x": x}, latent_dim=4, euclidean=2, family=family, hidden=(8,))
    z = encode(pair.guide, {"x": x})["z"]
    assert z.shape == (20, 6)
    torch.testing.assert_close(z[:, :4].norm(dim=1), torch.ones(20), rtol=0, atol=1e-5)
    with pytest.raises(ArgumentError, match="latent_dim"):
        ppvae.zoo.svae({"x": x}, latent_dim=1)
    q = posterior(pair.guide, {"x": x})["z"]
    assert [type(part).__name__ for part in q.parts][1] == "Independent"


def test_improper_rotations_in_the_data_are_refused():
    data = turned_solids(num=20, size=8)
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    rotation = torch.as_tensor(data.train["orientation"])
    bad = data.train.with_columns(orientation=rotation @ mirror.to(rotation))
    with pytest.raises(ArgumentError, match="such as reflections"):
        ppvae.zoo.entry("so3vae").check(data._replace(train=bad))
    ppvae.zoo.entry("so3vae").check(data)


def test_the_verdict_says_that_nothing_is_turned():
    still = Facts(metrics={"rotation_spread/rotation": 2.0})
    assert "not turned" in str(verdict(still))
    wrong = Facts(metrics={"rotation_spread/rotation": 120.0, "rotation_error": 100.0})
    said = {answer.question: answer for answer in verdict(wrong)}
    assert "not turned" not in str(said)
    assert said["Does it predict the evaluated rows?"].mark == "bad"
