"""The pose network turns, moves and grows with the image, before it has learned anything."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import ppvae
from ppvae.distributions import wrap
from ppvae.evaluate.scores import circular_correlation, r2
from ppvae.guides import Align, AmortizedGuide
from ppvae.models import VAE, PosedDecoder
from ppvae.nets import MLP, CanvasDecoder, EquivariantPose, Pose, grid, heads, transform_grid
from ppvae.nets.equivariant import moments
from ppvae.programs import encode

SIDE = 16


def figures(pose: Pose, side: int = SIDE) -> torch.Tensor:
    """A long blob with a spot on one side of one end, in this pose: (N, 1, side, side)."""
    at = transform_grid(grid(side, side).to(torch.get_default_dtype()), pose)
    right, up = at.unbind(-1)
    blob = (-((right / 0.12).square() + (up / 0.35).square())).exp()
    spot = (-((right - 0.2).square() + (up - 0.25).square()) / 0.015).exp()
    return (blob + spot).clamp(0, 1).unflatten(-1, (1, side, side))


def network(**asked: bool) -> EquivariantPose:
    made = EquivariantPose((1, SIDE, SIDE), angles=8, hidden=[16], **asked)
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0, 0.2) if parameter.dim() else None
    return made


def test_a_quarter_turn_turns_the_pose_and_nothing_else():
    made = network(scale=True)
    x = figures(Pose(torch.tensor([0.3, 2.0]), torch.tensor([[0.2, 0.1], [-0.1, 0.0]])))
    at, turned = made(x), made(torch.rot90(x, 1, (-2, -1)))
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(
        wrap(turned["rotation"].loc - at["rotation"].loc - math.pi / 2), torch.zeros(2), **close
    )
    right, up = at["translation"].mean.unbind(-1)
    torch.testing.assert_close(turned["translation"].mean, torch.stack([-up, right], -1), **close)
    torch.testing.assert_close(turned["scale"].mean, at["scale"].mean, **close)
    torch.testing.assert_close(turned["rotation"].scale, at["rotation"].scale, **close)


@pytest.mark.parametrize("modes", [2, 3])
def test_with_two_modes_a_quarter_turn_turns_both(modes):
    made = network(modes=modes)
    x = figures(Pose(torch.tensor([0.3, 2.0, -1.0])))
    ends = []
    for image in (x, torch.rot90(x, 1, (-2, -1))):
        found = made(image)
        assert found["turn"].probs.shape == (3, modes)
        angles = found["rotation"].loc[:, None] + torch.arange(modes) * 2 * math.pi / modes
        ends.append((found["turn"].probs * torch.polar(torch.ones(()), angles)).sum(-1))
    torch.testing.assert_close(ends[1], 1j * ends[0], rtol=1e-3, atol=1e-3)
    assert (ends[0].abs() > 1e-3).all()


def test_modes_are_of_an_angle_and_fewer_than_the_angles():
    for modes in (0, 4):
        with pytest.raises(ValueError, match=f"modes: expected 1 to 3.*got {modes}"):
            network(modes=modes)
    moved = EquivariantPose((1, SIDE, SIDE), rotation=False, angles=1)
    assert set(moved(torch.rand(2, 1, SIDE, SIDE))) == {"translation"}


def test_a_turn_between_its_angles_is_found_nearly():
    made = network()
    angles = torch.linspace(-3, 3, 40)
    found = made(figures(Pose(angles)))["rotation"].loc.detach()
    assert circular_correlation(found, angles) > 0.95


def test_a_shift_moves_the_pose_and_nothing_else():
    made = network(scale=True)
    x = torch.zeros(1, 1, SIDE, SIDE)
    x[..., 5:9, 4:6] = 1
    x[..., 5, 6] = 1
    moved = torch.roll(x, (-2, 3), (-2, -1))  # two pixels up, three to the right
    at, there = made(x), made(moved)
    torch.testing.assert_close(
        there["translation"].mean - at["translation"].mean,
        2 / SIDE * torch.tensor([[3.0, 2.0]]),
        rtol=1e-4,
        atol=1e-5,
    )
    for site in ("rotation", "scale"):
        torch.testing.assert_close(there[site].mean, at[site].mean, rtol=1e-4, atol=1e-5)


def test_size_is_found_in_proportion():
    made = EquivariantPose((1, 32, 32), scale=True)
    x = figures(Pose(scale=torch.tensor([0.8, 1.2])), side=32)
    small, large = made(x)["scale"].loc
    assert (large - small).exp().item() == pytest.approx(1.5, rel=0.05)


def test_large_images_are_compared_coarsely_and_turn_all_the_same():
    made = EquivariantPose((1, 32, 32), angles=8, side=8, hidden=[16])
    assert made.network[0].in_features == 64
    x = figures(Pose(torch.tensor([0.3, 2.0])), side=32)
    at, turned = made(x)["rotation"].loc, made(torch.rot90(x, 1, (-2, -1)))["rotation"].loc
    gap = wrap(turned - at - math.pi / 2)
    torch.testing.assert_close(gap, torch.zeros(2), rtol=1e-4, atol=1e-4)


def test_spectra_move_and_stretch_but_do_not_turn():
    made = EquivariantPose((1, 40), rotation=False, scale=True, hidden=[8])
    at = grid(40)[:, 0]
    peak = (-((at - torch.tensor([[0.0], [0.2]])) / 0.1).square()).exp()[:, None]
    found = made(peak)
    assert set(found) == {"translation", "scale"}
    assert found["translation"].event_shape == (1,)
    first, second = found["translation"].mean[:, 0]
    assert (second - first).item() == pytest.approx(0.2, abs=1e-3)


def test_moments_of_an_even_image_and_of_one_pixel():
    places = grid(4, 4)
    x = torch.full((2, 1, 4, 4), 0.3)
    x[1, 0, 0, 3] = 1
    centre, radius = moments(x, places)
    torch.testing.assert_close(centre, torch.tensor([[0.0, 0.0], [0.75, 0.75]]))
    torch.testing.assert_close(radius[0], places.square().sum(-1).mean().sqrt())
    assert radius[1] < 1e-6


def test_it_finds_every_angle_of_the_full_turn():
    angle = (2 * torch.rand(256) - 1) * math.pi
    shift = 0.1 * torch.randn(256, 2).clamp(-2, 2)
    x = figures(Pose(angle, shift))
    shape = tuple(x.shape[1:])
    head = heads.Bernoulli(shape)
    canvas = CanvasDecoder(MLP(1, heads.Raw(head.raw_shape), hidden=[16]), head)
    model = VAE(PosedDecoder(canvas, rotation=math.inf, translation=0.1), latent_dim=1)
    pose = EquivariantPose(shape, hidden=[32])
    encoder = MLP(SIDE * SIDE, heads.DiagonalNormal(1), hidden=[16], in_shape=shape)
    guide = AmortizedGuide(nn.Sequential(Align(pose, shape), encoder))
    ppvae.fit(
        model,
        guide,
        {"x": x},
        epochs=40,
        batch_size=64,
        learning_rate=1e-2,
        seed=0,
        progress=False,
    )
    found = encode(guide, {"x": x})
    assert circular_correlation(found["rotation"], angle) > 0.98
    # The origin of the canvas is the model's to choose: what is left after it is the shift.
    error = found["translation"] - shift
    cos, sin = found["rotation"].cos(), found["rotation"].sin()
    frame = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    offset = (frame @ error[..., None]).mean(0)
    assert r2(found["translation"] - (frame.mT @ offset)[..., 0], shift) > 0.95


def test_what_it_cannot_find_is_refused_in_words():
    with pytest.raises(ValueError, match="expected one or more of rotation"):
        EquivariantPose((1, 8, 8), rotation=False, translation=False)
    with pytest.raises(ValueError, match=r"expected square images; got \(8, 9\)"):
        EquivariantPose((1, 8, 9))
    with pytest.raises(ValueError, match="expected at least 3; got 2"):
        EquivariantPose((1, 8, 8), angles=2)
    with pytest.raises(ValueError, match=r"expected data with shape \(..., 1, 8, 8\)"):
        EquivariantPose((1, 8, 8))(torch.zeros(3, 1, 9, 9))
