"""Poses as latent sites of any decoder, and images brought back to rest."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from ppvae.distributions import WrappedNormal, wrap
from ppvae.guides import Align, AmortizedGuide
from ppvae.models import VAE, PosedDecoder
from ppvae.nets import (
    MLP,
    Angle,
    CanvasDecoder,
    CoordinateDecoder,
    LogScale,
    Pose,
    Shift,
    Sites,
    grid,
    heads,
    place_grid,
    resample,
    transform_grid,
)
from ppvae.objectives import ELBO
from ppvae.programs import decode, encode
from tests.pairs import align, build, images

POSE = Pose(
    torch.tensor([0.4, -1.0]), torch.tensor([[0.2, 0.1], [-0.3, 0.0]]), torch.tensor([1.2, 0.8])
)


def test_placing_and_looking_up_are_inverse():
    places = grid(5, 5)
    there = torch.stack([place_grid(places, Pose(*(f[i] for f in POSE))) for i in range(2)])
    for i in range(2):
        back = transform_grid(there[i], Pose(*(f[i] for f in POSE)))
        torch.testing.assert_close(back, places)


def test_an_image_resampled_where_it_stands_is_itself():
    x = images(2, 8, 8)
    torch.testing.assert_close(resample(x, grid(8, 8)), x)
    line = torch.rand(3, 2, 16)
    torch.testing.assert_close(resample(line, grid(16)), line)


def test_a_quarter_turn_and_a_shift_by_pixels_are_exact():
    x = torch.rand(1, 1, 8, 8)
    turned = resample(x, transform_grid(grid(8, 8), Pose(angle=torch.tensor([math.pi / 2]))))
    torch.testing.assert_close(turned, torch.rot90(x, 1, (-2, -1)))
    moved = resample(x, transform_grid(grid(8, 8), Pose(shift=torch.tensor([[0.25, 0.5]]))))
    torch.testing.assert_close(moved[..., :-2, 1:], x[..., 2:, :-1])
    line = torch.rand(1, 1, 8)
    moved = resample(line, transform_grid(grid(8), Pose(shift=torch.tensor([[0.25]]))))
    torch.testing.assert_close(moved[..., 1:], line[..., :-1])


def test_aligning_undoes_what_posing_did():
    x = torch.zeros(2, 1, 40, 40)
    x[:, :, 12:24, 16:20] = 1
    x = torch.nn.functional.avg_pool2d(x, 9, 1, 4)
    posed = resample(x, transform_grid(grid(40, 40), POSE))
    back = resample(posed, place_grid(grid(40, 40), POSE))
    assert (posed - x).abs().mean() > 5 * (back - x).abs().mean()


@pytest.mark.parametrize("kind", ["canvas", "coordinates"])
def test_the_sites_are_those_with_a_width_and_have_that_width(kind):
    head = heads.Bernoulli((1, 8, 8))
    decoder = {
        "canvas": lambda: CanvasDecoder(MLP(2, heads.Raw(head.raw_shape)), head),
        "coordinates": lambda: CoordinateDecoder(2, head, hidden=[4]),
    }[kind]()
    model = VAE(PosedDecoder(decoder, rotation=0.5, scale=0.2), latent_dim=2)
    trace = poutine.trace(model).get_trace(size=4000)
    assert {"rotation", "scale"} < set(trace.nodes)
    assert "translation" not in trace.nodes
    assert trace.nodes["rotation"]["value"].shape == (4000,)
    assert trace.nodes["rotation"]["value"].std() == pytest.approx(0.5, rel=0.05)
    assert trace.nodes["scale"]["value"].log().std() == pytest.approx(0.2, rel=0.05)


def test_a_network_made_a_canvas_draws_what_it_drew():
    network = MLP(2, heads.Bernoulli((1, 8, 8)), hidden=[4])
    z = torch.randn(3, 2)
    before = network(z).mean
    decoder = CanvasDecoder.of(network)
    torch.testing.assert_close(decoder(z).mean, before)
    turned = decoder(z, pose=Pose(angle=torch.full((3,), math.pi / 2)))
    torch.testing.assert_close(turned.mean, torch.rot90(before, 1, (-2, -1)))


def test_latents_decode_to_what_they_say():
    pair = build("trvae with scale, canvas")
    rest = {"z": torch.randn(1, 2), "translation": torch.zeros(1, 2), "scale": torch.ones(1)}
    posed = {}
    for angle in (0.0, math.pi / 2):
        held = pyro.condition(pair.model, data={**rest, "rotation": torch.full((1,), angle)})
        posed[angle] = poutine.trace(held).get_trace(size=1).nodes["x"]["fn"].mean
    torch.testing.assert_close(posed[math.pi / 2], torch.rot90(posed[0.0], 1, (-2, -1)))


def test_the_content_of_a_turned_image_is_that_of_the_image_at_rest():
    trunk = align("rotation")
    angle = torch.tensor(math.pi / 2)

    class Known(torch.nn.Module):
        def forward(self, x):
            return {"rotation": pyro.distributions.Delta(angle.expand(len(x)))}

    trunk.network = Known()
    x = images()
    with pyro.plate("data", len(x)):
        torch.testing.assert_close(trunk(torch.rot90(x, 1, (-2, -1))), x)
    trunk.undo = False
    with pyro.plate("data", len(x)):
        assert trunk(x) is x


class _Known(torch.nn.Module):
    """A pose network that has the angle wrong by half a turn, and does not know which way up."""

    def __init__(self, angles):
        super().__init__()
        self.angles = angles
        self.logits = torch.nn.Parameter(torch.zeros(len(angles), 2))

    def forward(self, x):
        scale = torch.full_like(self.angles, 0.05)
        return {
            "turn": dist.Categorical(logits=self.logits),
            "rotation": WrappedNormal(self.angles, scale),
        }


def test_an_image_put_upside_down_finds_its_other_mode():
    """No gradient along the circle leads there; the sum over modes does."""
    glyph = torch.zeros(1, 8, 8)
    glyph[0, 1:3, 1:7], glyph[0, 3:7, 1:3] = 1.0, 1.0
    angles = torch.tensor([0.3, -2.0, 1.4])
    places = transform_grid(grid(8, 8), Pose(angle=angles))
    x = resample(glyph.expand(3, 1, 8, 8), places)
    head = heads.Bernoulli((1, 8, 8))
    network = MLP(1, heads.Raw(head.raw_shape), hidden=())
    with torch.no_grad():
        (last,) = (layer for layer in network.modules() if isinstance(layer, torch.nn.Linear))
        last.weight.zero_()
        last.bias.copy_((6 * glyph - 3).flatten())
    model = VAE(
        PosedDecoder(CanvasDecoder(network, head), rotation=math.inf, modes=2), latent_dim=1
    )
    known = _Known(angles + math.pi)
    z = MLP(64, heads.DiagonalNormal(1), hidden=(), in_shape=(1, 8, 8))
    guide = AmortizedGuide(torch.nn.Sequential(Align(known, (1, 8, 8)), z))
    objective = ELBO()(model, guide)
    optimizer = torch.optim.Adam([known.logits], 0.3)
    for _ in range(20):
        objective({"x": x}).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = encode(guide, {"x": x})
    assert found["turn"].tolist() == [1, 1, 1]
    torch.testing.assert_close(wrap(found["rotation"] - angles), torch.zeros(3), atol=1e-5, rtol=0)
    # The auxiliary site takes log 2 where it is sure, and the image does not depend on it.
    kl = objective({"x": x}).kl["turn"]
    torch.testing.assert_close(kl, torch.full((3,), math.log(2)), atol=0.02, rtol=0)
    held = {"z": torch.zeros(3, 1), "rotation": angles}
    one, other = (decode(model, held | {"turn": torch.full((3,), k)})["x"] for k in (0, 1))
    torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match="modes: expected 1 or more, of a rotation"):
        PosedDecoder(CanvasDecoder(network, head), translation=0.1, modes=2)


def test_heads_start_narrow_and_at_rest():
    raw = torch.zeros(3, 9)
    q = Sites({"rotation": Angle(), "translation": Shift(init=0.2), "scale": LogScale()})(raw)
    assert q["rotation"].batch_shape == q["scale"].batch_shape == (3,)
    assert q["translation"].event_shape == (2,)
    assert q["rotation"].stddev[0] == pytest.approx(0.1, rel=1e-2)
    assert q["translation"].stddev[0, 0] == pytest.approx(0.2, rel=1e-2)
    assert q["scale"].mean[0] == pytest.approx(1.0, abs=0.02)


def test_bad_poses_are_refused_in_words():
    square, wide = heads.Bernoulli((1, 8, 8)), heads.Bernoulli((1, 8, 9))
    decoder = CoordinateDecoder(2, square, hidden=[4])
    with pytest.raises(ValueError, match="expected one or more widths > 0"):
        PosedDecoder(decoder)
    with pytest.raises(ValueError, match="expected one or more widths > 0"):
        PosedDecoder(decoder, rotation=-1.0)
    with pytest.raises(ValueError, match=r"expected square images; got \(8, 9\)"):
        PosedDecoder(CoordinateDecoder(2, wide, hidden=[4]), rotation=1.0)
    with pytest.raises(ValueError, match=r"expected square images; got \(16,\)"):
        PosedDecoder(CoordinateDecoder(2, heads.Bernoulli((1, 16)), hidden=[4]), rotation=1.0)
    with pytest.raises(ValueError, match="expected a scale above"):
        Angle(0.0)
    with pytest.raises(ValueError, match="expected a head for each site"):
        Sites({})
    sites = Sites({"rotation": Angle(), "z": heads.DiagonalNormal(2)})
    trunk = Align(MLP(64, sites, in_shape=(1, 8, 8)), (1, 8, 8))
    with pytest.raises(ValueError, match=r"got \['z'\]"), pyro.plate("data", 12):
        trunk(images())
