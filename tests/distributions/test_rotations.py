"""Rotations: the exponential map, the density it carries over, and the draws."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.distributions import (
    RotationNormal,
    RotationUniform,
    exp_rotation,
    log_rotation,
    rotation_angle,
)


def vectors(n: int = 50, largest: float = math.pi - 1e-3) -> torch.Tensor:
    v = torch.randn(n, 3)
    return v / v.norm(dim=-1, keepdim=True) * torch.linspace(1e-3, largest, n)[:, None]


def close(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 1e-3, "atol": 2e-3} if dtype == torch.float32 else {"rtol": 1e-8, "atol": 1e-8}


def test_the_exponential_is_that_of_matrices_and_the_logarithm_undoes_it(dtype):
    v = vectors()
    skew = torch.zeros(len(v), 3, 3)
    for (i, j), k in {(2, 1): 0, (0, 2): 1, (1, 0): 2}.items():
        skew[:, i, j], skew[:, j, i] = v[:, k], -v[:, k]
    torch.testing.assert_close(exp_rotation(v), torch.matrix_exp(skew), **close(dtype))
    torch.testing.assert_close(log_rotation(exp_rotation(v)), v, **close(dtype))
    zero = torch.zeros(2, 3)
    assert torch.equal(exp_rotation(zero), torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(log_rotation(exp_rotation(zero)), zero)


def test_a_half_turn_has_a_logarithm_of_length_pi():
    for axis in torch.eye(3):
        length = log_rotation(exp_rotation(math.pi * axis)).norm()
        assert length.item() == pytest.approx(math.pi, abs=1e-3)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.2])
def test_the_density_integrates_to_one(scale):
    q = RotationNormal(exp_rotation(torch.tensor([0.3, -1.0, 0.5])), torch.full((3,), scale))
    # By the angle: the invariant measure is (2 - 2 cos) d angle on a sphere of axes.
    count = 20_000
    angle = (torch.arange(count) + 0.5) * math.pi / count
    axis = torch.tensor([2.0, -1.0, 2.0]) / 3
    density = q.log_prob(q.loc @ exp_rotation(angle[:, None] * axis)).exp()
    total = (density * (2 - 2 * angle.cos())).sum() * math.pi / count * 4 * math.pi
    assert total.item() == pytest.approx(1, abs=1e-3)


def test_with_unequal_scales_it_integrates_to_one_over_uniform_rotations():
    q = RotationNormal(torch.eye(3), torch.tensor([0.4, 0.8, 1.1]))
    p = RotationUniform()
    ratio = (q.log_prob(p.sample((200_000,))) + p.log_volume).exp()
    assert ratio.mean().item() == pytest.approx(1, abs=5 * ratio.std().item() / 200_000**0.5)


def test_near_the_mean_it_is_the_normal():
    scale = torch.tensor([0.01, 0.02, 0.03])
    v = scale * torch.randn(20, 3)
    q = RotationNormal(torch.eye(3), scale)
    normal = torch.distributions.Normal(0, scale).log_prob(v).sum(-1)
    torch.testing.assert_close(q.log_prob(exp_rotation(v)), normal, rtol=1e-3, atol=2e-3)
    assert q.log_prob(torch.eye(3)).item() == pytest.approx(
        torch.distributions.Normal(0, scale).log_prob(torch.zeros(3)).sum().item(), abs=1e-3
    )


def test_draws_are_rotations_with_the_moments_of_theory():
    loc = exp_rotation(torch.tensor([1.0, 2.0, -0.5]))
    q = RotationNormal(loc, torch.full((3,), 0.5))
    drawn = q.sample((50_000,))
    eye = torch.eye(3).expand_as(drawn)
    torch.testing.assert_close(drawn @ drawn.mT, eye, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(drawn), torch.ones(50_000), rtol=0, atol=1e-5)
    # E R = loc (1 + 2 E cos) / 3, with E cos over |v| for v normal: (1 - s^2) exp(-s^2 / 2).
    shrink = (1 + 2 * (1 - 0.25) * math.exp(-0.125)) / 3
    torch.testing.assert_close(drawn.mean(0), shrink * loc, rtol=0, atol=0.02)


def test_its_divergence_from_uniform_is_that_of_importance_sampling():
    q, p = RotationNormal(torch.eye(3), torch.full((3,), 0.6)), RotationUniform()
    x, y = q.sample((50_000,)), p.sample((200_000,))
    by_draws = (q.log_prob(x) - p.log_prob(x)).mean()
    ratio = q.log_prob(y) - p.log_prob(y)
    by_weights = (ratio.exp() * ratio).mean()
    assert by_draws.item() == pytest.approx(by_weights.item(), abs=0.05)
    assert by_draws.item() > 0


def test_draws_and_densities_carry_gradients():
    double = {"dtype": torch.float64}
    v = torch.tensor([[0.3, -0.2, 0.9], [1.0, 1.5, -2.0]], **double, requires_grad=True)
    scale = torch.tensor([[0.3, 0.5, 0.8], [1.0, 0.7, 0.4]], **double, requires_grad=True)
    at = exp_rotation(torch.tensor([[0.1, 0.2, 0.3], [-1.0, 0.4, 0.2]], **double))
    assert torch.autograd.gradcheck(exp_rotation, v)
    assert torch.autograd.gradcheck(
        lambda w, s: RotationNormal(exp_rotation(w), s).log_prob(at), (v, scale)
    )

    def drawn(w: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return RotationNormal(exp_rotation(w), s).rsample()

    assert torch.autograd.gradcheck(drawn, (v, scale))


def test_gradients_are_finite_at_the_mean():
    w = torch.zeros(3, requires_grad=True)
    scale = torch.ones(3, requires_grad=True)
    RotationNormal(exp_rotation(w), scale).log_prob(torch.eye(3)).backward()
    assert torch.isfinite(w.grad).all()
    assert torch.isfinite(scale.grad).all()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_shapes_and_dtypes_follow_the_parameters(kind):
    q = RotationNormal(torch.eye(3, dtype=kind), torch.ones(4, 3, dtype=kind)).expand((2, 4))
    p = RotationUniform((4,), like=torch.zeros((), dtype=kind)).expand((2, 4))
    for fn in (q, p):
        assert fn.batch_shape == (2, 4)
        drawn = fn.sample((5,))
        assert drawn.shape == (5, 2, 4, 3, 3)
        assert drawn.dtype == fn.log_prob(drawn).dtype == fn.mean.dtype == kind
        assert fn.log_prob(drawn).shape == (5, 2, 4)
        assert fn.to_event(1).log_prob(drawn).shape == (5, 2)


def test_the_uniform_says_nothing():
    drawn = RotationUniform().sample((50_000,))
    torch.testing.assert_close(drawn.mean(0), torch.zeros(3, 3), rtol=0, atol=0.02)
    angle = log_rotation(drawn).norm(dim=-1)
    # The density of the angle is (1 - cos) / pi.
    assert angle.mean().item() == pytest.approx(math.pi / 2 + 2 / math.pi, abs=0.02)


def test_other_shapes_are_refused_in_words():
    with pytest.raises(ValueError, match=r"expected loc with shape \(..., 3, 3\)"):
        RotationNormal(torch.eye(3), torch.tensor(1.0))
    with pytest.raises(ValueError, match="scale"):
        RotationNormal(torch.eye(3), -torch.ones(3), validate_args=True)


def test_half_turns_and_opposite_pairs_are_finite_in_single_precision():
    axes = torch.nn.functional.normalize(torch.randn(200, 3), dim=1).float()
    for short in (0.0, 1e-6, 1e-3):
        value = exp_rotation(axes * (math.pi - short))
        loc = torch.eye(3).float().expand(200, 3, 3).clone().requires_grad_()
        scale = torch.full((200, 3), 0.2).float().requires_grad_()
        log_p = RotationNormal(loc, scale, validate_args=False).log_prob(value)
        assert log_p.isfinite().all()
        for slope in torch.autograd.grad(log_p.sum(), (loc, scale)):
            assert slope.isfinite().all()
        angle = rotation_angle(loc.detach(), value)
        torch.testing.assert_close(
            angle, torch.full((200,), math.pi - short).float(), rtol=0, atol=2e-3
        )
