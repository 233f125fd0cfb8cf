"""Angles: the wrapped normal against its sums, quadrature and Monte Carlo."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

from ppvae.distributions import CircularUniform, WrappedNormal, wrap

SCALES = [0.05, 0.3, 1.0, 1.99, 2.01, 5.0]
TURN = 2 * math.pi


def circle(n: int = 4000) -> torch.Tensor:
    return torch.arange(n) * TURN / n - math.pi


def integral(values: torch.Tensor) -> float:
    """Over the circle; the trapezoid rule is exact to rounding for smooth periodic functions."""
    return float(values.mean() * TURN)


@pytest.mark.parametrize("scale", SCALES)
def test_it_is_the_sum_over_turns_and_integrates_to_one(scale):
    q = WrappedNormal(torch.tensor(2.5), torch.tensor(scale))
    turns = TURN * torch.arange(-30, 31)
    plain = dist.Normal(2.5, scale).log_prob(circle()[:, None] + turns).logsumexp(-1)
    near = plain > -500
    tolerance = 1e-4 if plain.dtype == torch.float32 else 1e-10
    torch.testing.assert_close(
        q.log_prob(circle())[near], plain[near], rtol=tolerance, atol=tolerance
    )
    assert integral(q.log_prob(circle()).exp()) == pytest.approx(1, abs=1e-4)


def test_whole_turns_make_no_difference():
    q, p = WrappedNormal(torch.tensor(0.3), 0.7), CircularUniform()
    for fn in (q, p, WrappedNormal(torch.tensor(0.3 + 2 * TURN), 0.7)):
        torch.testing.assert_close(fn.log_prob(circle(50) - 3 * TURN), fn.log_prob(circle(50)))
    torch.testing.assert_close(
        kl_divergence(q, WrappedNormal(torch.tensor(3.1), 0.5)),
        kl_divergence(q, WrappedNormal(torch.tensor(3.1 - TURN), 0.5)),
    )


def test_across_the_cut_is_as_near_as_elsewhere():
    q = WrappedNormal(torch.tensor(math.pi - 0.01), 0.1)
    a, b = q.log_prob(torch.tensor([math.pi - 0.06, -math.pi + 0.04]))
    assert a == pytest.approx(float(b), abs=1e-4)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "prior",
    [
        CircularUniform(),
        WrappedNormal(torch.tensor(-2.0), torch.tensor(0.8)),
        WrappedNormal(torch.tensor(1.0), torch.tensor(3.0)),
        dist.VonMises(torch.tensor(0.5), torch.tensor(2.0)),
    ],
    ids=["uniform", "wrapped", "wide", "von mises"],
)
def test_the_kl_is_that_of_quadrature(scale, prior):
    q = WrappedNormal(torch.tensor(2.5), torch.tensor(scale))
    log_q, log_p = q.log_prob(circle()), prior.log_prob(circle())
    expected = integral(log_q.exp() * (log_q - log_p))
    assert float(kl_divergence(q, prior)) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert float(kl_divergence(q, prior)) > -1e-6


def test_draws_have_the_moments_and_the_gradients_of_theory():
    loc, scale = torch.tensor(3.0, requires_grad=True), torch.tensor(0.6, requires_grad=True)
    q = WrappedNormal(loc, scale)
    drawn = q.rsample((200_000,))
    assert drawn.detach().min() >= -math.pi - 1e-6
    assert drawn.detach().max() <= math.pi
    mean = drawn.cos().mean()
    assert mean.item() == pytest.approx(math.exp(-0.18) * math.cos(3.0), abs=5e-3)
    assert drawn.sin().mean().item() == pytest.approx(math.exp(-0.18) * math.sin(3.0), abs=5e-3)
    # E cos = exp(-scale^2 / 2) cos(loc)
    by_loc, by_scale = torch.autograd.grad(mean, [loc, scale])
    assert float(by_loc) == pytest.approx(-math.exp(-0.18) * math.sin(3.0), abs=5e-3)
    assert float(by_scale) == pytest.approx(-0.6 * math.exp(-0.18) * math.cos(3.0), abs=1e-2)


def test_densities_and_kls_pass_gradcheck():
    loc = torch.tensor([2.5, -1.0, 0.3], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.2, 1.3, 3.0], dtype=torch.float64, requires_grad=True)
    at = torch.tensor([3.0, 0.5, -2.0], dtype=torch.float64, requires_grad=True)
    prior = WrappedNormal(torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    assert torch.autograd.gradcheck(
        lambda m, s, x: WrappedNormal(m, s).log_prob(x), (loc, scale, at)
    )
    assert torch.autograd.gradcheck(
        lambda m, s: kl_divergence(WrappedNormal(m, s), prior), (loc, scale)
    )
    assert torch.autograd.gradcheck(
        lambda m, s: kl_divergence(WrappedNormal(m, s), CircularUniform((3,))), (loc, scale)
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_shapes_and_dtypes_follow_the_parameters(kind):
    q = WrappedNormal(torch.zeros(4, dtype=kind), torch.ones((), dtype=kind)).expand((3, 4))
    p = CircularUniform((4,), like=torch.zeros((), dtype=kind)).expand((3, 4))
    for fn in (q, p):
        assert fn.batch_shape == (3, 4)
        assert fn.event_shape == ()
        drawn = fn.sample((2,))
        assert drawn.shape == (2, 3, 4)
        assert drawn.dtype == fn.log_prob(drawn).dtype == fn.mean.dtype == kind
        assert fn.to_event(1).log_prob(drawn).shape == (2, 3)
    assert kl_divergence(q, p).shape == (3, 4)
    assert kl_divergence(q.to_event(1), p.to_event(1)).shape == (3,)
    assert kl_divergence(q, p).dtype == kind


def test_the_uniform_says_nothing():
    p = CircularUniform()
    drawn = p.sample((100_000,))
    assert drawn.cos().mean().abs() < 0.02
    assert drawn.abs().max() <= math.pi
    assert float(p.entropy()) == pytest.approx(math.log(TURN))
    assert integral(p.log_prob(circle()).exp()) == pytest.approx(1, abs=1e-5)


def test_a_scale_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="scale"):
        WrappedNormal(torch.zeros(2), torch.tensor([0.1, -0.1]), validate_args=True)
    with pytest.raises(ValueError, match="within the support"):
        WrappedNormal(0.0, 1.0, validate_args=True).log_prob(torch.tensor(math.nan))


def test_wrapping_keeps_the_angle():
    angle = torch.linspace(-20, 20, 101)
    wrapped = wrap(angle)
    assert wrapped.abs().max() <= math.pi
    torch.testing.assert_close(wrapped.cos(), angle.cos(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(wrapped.sin(), angle.sin(), rtol=1e-4, atol=1e-5)
