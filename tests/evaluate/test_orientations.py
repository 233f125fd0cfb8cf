"""Rotations against the truth, torn paths, and credible cones."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.data import symmetries
from ppvae.distributions import PowerSpherical, RotationNormal, RotationUniform, exp_rotation
from ppvae.distributions.rotations import (
    as_rotations,
    matrix_of,
    mean_rotation,
    quaternion_of,
    rotation_angle,
)
from ppvae.evaluate import align_rotations, credible_angle, path_ratio, rotation_errors


def test_the_model_may_choose_its_frame_and_nothing_else():
    true = RotationUniform().sample((200,))
    frame = RotationUniform().sample()
    noise = exp_rotation(0.02 * torch.randn(200, 3))
    noise[:40] = RotationUniform().sample((40,))  # Some are found quite wrong.
    found, errors = align_rotations(true @ frame @ noise, true)
    assert rotation_angle(found, frame) < 0.02
    assert errors.median() < 0.06
    assert errors[:40].median() > 1
    # In quaternions, of any length.
    again = rotation_errors(true @ frame @ noise, 3 * quaternion_of(true))
    torch.testing.assert_close(again, errors, rtol=1e-3, atol=1e-3)
    # A reflection of the viewer is no change of frame.
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    assert rotation_errors(mirror @ true @ mirror, true).median() > 0.5


def test_errors_are_up_to_the_symmetry_where_it_is_given():
    group = symmetries("propeller").to(torch.get_default_dtype())
    true = RotationUniform().sample((150,))
    frame = RotationUniform().sample()
    estimate = true @ group[torch.randint(3, (150,))] @ frame
    assert rotation_errors(estimate, true).median() > 0.5
    assert rotation_errors(estimate, true, group).max() < 1e-2


@pytest.mark.parametrize("angle", [0.0, 1e-3, 1.0, math.pi - 1e-3, math.pi])
def test_angles_keep_their_digits_near_zero_and_half_a_turn(angle):
    first = RotationUniform().sample()
    axis = torch.nn.functional.normalize(torch.randn(3), dim=0)
    found = rotation_angle(first, first @ exp_rotation(angle * axis)).item()
    assert found == pytest.approx(angle, abs=2e-3)


def test_quaternions_and_means():
    rotations = RotationUniform().sample((20,))
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(matrix_of(quaternion_of(rotations)), rotations, **close)
    spread = RotationNormal(rotations[0], torch.full((3,), 0.3)).sample((2000,))
    assert rotation_angle(mean_rotation(spread), rotations[0]) < 0.05
    weights = torch.zeros(20)
    weights[7] = 2.0
    torch.testing.assert_close(mean_rotation(rotations, weights), rotations[7], **close)


def test_what_is_no_rotation_is_refused_in_words():
    with pytest.raises(ValueError, match=r"got 1 that are neither"):
        as_rotations(torch.diag(torch.tensor([1.0, 1.0, -1.0])))
    with pytest.raises(ValueError, match=r"quaternions other than zero"):
        as_rotations(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"got shape \(2, 2\)"):
        as_rotations(torch.eye(2))
    with pytest.raises(ValueError, match="as many estimates as true ones"):
        rotation_errors(torch.eye(3)[None], torch.eye(3).expand(2, 3, 3))


def test_a_torn_path_has_a_large_ratio():
    angle = torch.linspace(0, 2 * math.pi, 101)
    images = torch.stack([angle.cos(), angle.sin()], 1)
    assert path_ratio(images, exp_rotation(angle[:, None] * torch.eye(3)[2])) < 1.5
    # The angle as a number is torn where it starts again.
    torn = torch.remainder(angle + 1, 2 * math.pi)[:, None]
    assert path_ratio(images, torn) > 50
    with pytest.raises(ValueError, match="images that change"):
        path_ratio(torch.zeros(5, 2), torn[:5])
    with pytest.raises(ValueError, match="three or more images"):
        path_ratio(images[:2], torn[:2])


def test_credible_cones_hold_their_share():
    axis = torch.eye(4)[0]
    kappa = torch.tensor([5.0, 500.0])
    q = PowerSpherical(axis.expand(2, 4), kappa)
    cone = credible_angle(q, mass=0.8, num_draws=4000)
    inside = (q.sample((4000,)) @ axis).clamp(-1, 1).acos() <= cone
    torch.testing.assert_close(
        inside.double().mean(0), torch.full((2,), 0.8, dtype=torch.float64), rtol=0, atol=0.03
    )
    turned = RotationNormal(torch.eye(3), torch.full((3,), 0.1))
    # The length of a normal in three dimensions is below 2.5 deviations for nine tenths of them.
    assert credible_angle(turned, num_draws=4000).item() == pytest.approx(0.25, abs=0.02)
    with pytest.raises(ValueError, match="mass: expected a number between 0 and 1; got 1"):
        credible_angle(q, mass=1)
