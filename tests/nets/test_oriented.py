"""Decoders that turn: Wigner matrices, point clouds, and rotations without singularities."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import special

from ppvae.distributions import RotationUniform, exp_rotation
from ppvae.distributions.rotations import rotation_angle, spread_rotations
from ppvae.nets import MLP, FlatRotation, IrrepDecoder, PointDecoder, harmonics, heads, wigner

SHAPE = (1, 9, 9)


@pytest.mark.parametrize("degree", [0, 1, 2, 5])
def test_harmonics_are_those_of_scipy(degree):
    x = torch.nn.functional.normalize(torch.randn(20, 3), dim=1)
    theta, phi = x[:, 2].acos().numpy(), torch.atan2(x[:, 1], x[:, 0]).numpy()
    found = harmonics(x, degree)
    for m in range(degree + 1):
        y = special.sph_harm_y(degree, m, theta, phi) * (-1) ** m
        scale = math.sqrt(2) if m else 1.0
        expected = torch.as_tensor(scale * y.real).to(x)
        torch.testing.assert_close(found[:, degree + m], expected, rtol=1e-4, atol=1e-5)
        if m:
            odd = torch.as_tensor(scale * y.imag).to(x)
            torch.testing.assert_close(found[:, degree - m], odd, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_wigner_matrices_turn_harmonics_and_represent_the_group(degree):
    first, second = RotationUniform(like=torch.zeros(())).sample((2,))
    x = torch.nn.functional.normalize(torch.randn(20, 3), dim=1)
    d = wigner(first, degree)
    close = {"rtol": 1e-3, "atol": 1e-4}
    turned = harmonics(x @ first.mT, degree)
    torch.testing.assert_close(turned, harmonics(x, degree) @ d.mT, **close)
    torch.testing.assert_close(wigner(first @ second, degree), d @ wigner(second, degree), **close)
    torch.testing.assert_close(d @ d.mT, torch.eye(2 * degree + 1), **close)


def test_wigner_matrices_are_smooth_where_angles_are_singular():
    v = torch.tensor([[0.0, 0, 0], [math.pi, 0, 0], [0, math.pi, 0]], requires_grad=True)
    (grad,) = torch.autograd.grad(wigner(exp_rotation(v), 3).square()[..., 0].sum(), v)
    assert torch.isfinite(grad).all()


def test_wigner_matrices_agree_with_e3nn_up_to_the_order_of_the_basis():
    o3 = pytest.importorskip("e3nn.o3")
    rotation = RotationUniform().sample().double()
    for degree in (1, 2, 3):
        other = o3.Irrep(degree, 1).D_from_matrix(rotation)
        assert float(wigner(rotation, degree).trace()) == pytest.approx(float(other.trace()))


def test_a_cloud_turned_in_the_picture_is_the_picture_turned():
    decoder = PointDecoder(2, heads.Raw((1, 16, 16)), points=10)
    decoder.start.data[:, :3] *= 0.5
    z = torch.randn(1, 2)
    quarter = exp_rotation(torch.tensor([0.0, 0.0, math.pi / 2]))
    decoder.light.data[:2] = 0  # The light is the scene's, and does not turn.
    start = RotationUniform(like=z).sample()
    pictures = decoder(z.expand(2, 2), torch.stack([start, quarter @ start])).mean
    expected = torch.rot90(pictures[0, 0])
    torch.testing.assert_close(pictures[1, 0], expected, rtol=1e-3, atol=1e-4)


def test_near_points_hide_far_ones():
    decoder = PointDecoder(1, heads.Raw((1, 9, 9)), points=2, hidden=())
    decoder.cloud = MLP(1, heads.Raw((2, 9)), hidden=())
    for parameter in decoder.cloud.parameters():
        parameter.data.zero_()
    decoder.start.data.zero_()
    decoder.start.data[:, 2] = torch.tensor([1.0, -1.0])
    decoder.start.data[:, 8] = torch.tensor([5.0, -5.0])
    flipped = exp_rotation(torch.tensor([math.pi, 0.0, 0.0]))
    seen = decoder(torch.zeros(2, 1), torch.stack([torch.eye(3), flipped])).mean[:, 0, 4, 4]
    assert seen[0] > 3
    assert seen[1] < -3


@pytest.mark.parametrize("kind", ["points", "irreps", "plain"])
def test_every_decoder_broadcasts_over_enumerated_rotations(kind):
    head = heads.Bernoulli(SHAPE)
    decoder = {
        "points": lambda: PointDecoder(2, head, points=5),
        "irreps": lambda: IrrepDecoder(2, lambda size: MLP(size, head, hidden=[8])),
        "plain": lambda: FlatRotation(MLP([2, 9], head, hidden=[8])),
    }[kind]()
    z, rotation = torch.randn(4, 2), RotationUniform((3, 4)).sample()
    made = decoder(z, rotation)
    assert made.batch_shape == (3, 4)
    assert made.event_shape == SHAPE
    assert decoder.head is head
    alone = decoder(z, rotation[1])
    torch.testing.assert_close(made.mean[1], alone.mean)


def test_other_images_and_sizes_are_refused_in_words():
    with pytest.raises(ValueError, match=r"PointDecoder: expected images \(C, H, W\)"):
        PointDecoder(2, heads.Bernoulli((5,)))
    with pytest.raises(ValueError, match="IrrepDecoder: expected degree"):
        IrrepDecoder(2, lambda size: MLP(size, heads.Bernoulli(SHAPE)), degree=0)
    with pytest.raises(ValueError, match="modes: expected at least 1; got 0"):
        heads.RotationModes(0)


def test_rotations_have_no_singular_raw_numbers(dtype):
    head = heads.RotationModes(2)
    raw = torch.zeros(4, 2, 10)
    raw[0, :, 1] = -1  # The first vector vanishes,
    raw[1, :, 1:7] = torch.tensor([-1.0, 0, 0, 0, -1, 0])  # both do,
    raw[2, :, 1:7] = torch.tensor([0.0, 0, 0, 3, -1, 0])  # or one lies along the other.
    raw[3] = 1e-9 * torch.randn(2, 10)
    raw.requires_grad_()
    modes = head(raw)
    eye = torch.eye(3).expand(4, 2, 3, 3)
    torch.testing.assert_close(modes.loc @ modes.loc.mT, eye, rtol=0, atol=1e-5)
    assert (torch.linalg.det(modes.loc) > 0).all()
    modes.loc.sum().backward()
    assert torch.isfinite(raw.grad).all()
    for direction in (heads.PowerSphericalDirection(3), heads.VonMisesFisherDirection(3)):
        assert torch.isfinite(direction(torch.zeros(4)).rsample()).all()
        assert direction(torch.zeros(4)).mean.norm() == 1


@pytest.mark.parametrize("count", [1, 4, 24, 200])
def test_modes_start_far_apart(count):
    spread = spread_rotations(count)
    torch.testing.assert_close(spread[0], torch.eye(3), rtol=0, atol=1e-6)
    apart = rotation_angle(spread[:, None], spread) + 10 * torch.eye(count)
    # A cell of the group's volume, 8 pi^2, as a ball is about this far across.
    assert apart.min() > 0.6 * (8 * math.pi**2 / count * 3 / 4 / math.pi) ** (1 / 3)
