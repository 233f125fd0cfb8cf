"""Directions: normalisation, moments, divergences and gradients against quadrature and SciPy."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, special
from torch.distributions import kl_divergence

from ppvae.distributions import PowerSpherical, SphericalUniform, VonMisesFisher

FAMILIES = [PowerSpherical, VonMisesFisher]
families = pytest.mark.parametrize("family", FAMILIES)
dims = pytest.mark.parametrize("dim", [2, 3, 4, 10])
concentrations = pytest.mark.parametrize("kappa", [0.1, 3.0, 60.0])


def made(family, dim: int, kappa: float):
    loc = torch.linspace(-1, 2, dim)
    return family(loc / loc.norm(), torch.tensor(kappa))


def by_angle(q, of) -> float:
    """The integral over the sphere of ``of(log p, cos)``, by the angle to the mean direction."""
    dim = q.event_shape[0]
    loc = q.loc.double() / q.loc.double().norm()
    q = type(q)(loc, q.concentration.double())  # adaptive quadrature wants a smooth integrand
    # A unit vector across the mean direction.
    across = torch.zeros_like(loc)
    across[0] = 1
    across = across - q.loc * (across @ q.loc)
    across = across / across.norm()
    area = 2 * math.pi ** ((dim - 1) / 2) / math.gamma((dim - 1) / 2)

    def integrand(theta: float) -> float:
        x = math.cos(theta) * q.loc + math.sin(theta) * across
        log_p = q.log_prob(x)
        return float(of(log_p, torch.tensor(math.cos(theta), dtype=torch.float64))) * math.sin(
            theta
        ) ** (dim - 2)

    return area * integrate.quad(integrand, 0, math.pi, limit=200, points=[0.1, 0.5, 1.5])[0]


@families
@dims
@concentrations
def test_it_integrates_to_one_and_its_divergence_from_uniform_is_the_integral(family, dim, kappa):
    q, p = made(family, dim, kappa), SphericalUniform(dim)
    assert by_angle(q, lambda log_p, t: log_p.exp()) == pytest.approx(1, abs=1e-5)
    divergence = by_angle(q, lambda log_p, t: log_p.exp() * (log_p + p.log_volume))
    assert float(kl_divergence(q, p)) == pytest.approx(divergence, abs=1e-4)
    assert float(q.entropy()) == pytest.approx(p.log_volume - divergence, abs=1e-4)


@families
@dims
@concentrations
def test_draws_have_the_mean_and_spread_of_the_density(family, dim, kappa):
    q = made(family, dim, kappa)
    drawn = q.sample((20_000,))
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(20_000), rtol=1e-5, atol=1e-5)
    mean = by_angle(q, lambda log_p, t: t * log_p.exp())
    square = by_angle(q, lambda log_p, t: t * t * log_p.exp())
    t = drawn @ q.loc
    assert t.mean().item() == pytest.approx(mean, abs=5 * t.std().item() / 20_000**0.5)
    squares = t.square()
    assert squares.mean().item() == pytest.approx(square, abs=5 * squares.std().item() / 141)
    # Across the mean direction nothing is preferred.
    rest = drawn - t[:, None] * q.loc
    assert rest.mean(0).norm() < 5 / 20_000**0.5


@families
@dims
@concentrations
def test_draws_carry_the_gradient_of_their_expectation(family, dim, kappa):
    loc = torch.linspace(-1, 2, dim)
    loc, at = loc / loc.norm(), torch.tensor(kappa, requires_grad=True)

    def expected(value: float) -> float:
        return by_angle(family(loc, torch.tensor(value)), lambda log_p, t: t * log_p.exp())

    step = 1e-2 * kappa
    slope = (expected(kappa + step) - expected(kappa - step)) / (2 * step)
    t = family(loc, at.expand(20_000)).rsample() @ loc
    (found,) = torch.autograd.grad(t.mean(), at)
    assert found.item() == pytest.approx(slope, rel=0.05, abs=5e-3 * abs(slope) + 1e-4)


@families
def test_turning_the_mean_direction_turns_the_draws(family):
    angle = torch.tensor(0.7, requires_grad=True)
    loc = torch.stack([angle.cos(), angle.sin(), torch.zeros(())])
    x = family(loc.expand(20_000, 3), torch.full((20_000,), 5.0)).rsample().mean(0)
    slopes = [torch.autograd.grad(x[i], angle, retain_graph=True)[0].item() for i in (0, 1)]
    length = x.detach().norm().item()
    assert slopes == pytest.approx([-length * math.sin(0.7), length * math.cos(0.7)], abs=0.03)


def test_the_normaliser_is_that_of_bessel_functions():
    for dim in (2, 3, 5, 20, 100):
        for kappa in (0.01, 1.0, 30.0, 2000.0):
            q = VonMisesFisher(torch.eye(dim)[0], torch.tensor(kappa))
            order = dim / 2 - 1
            scaled = float(special.ive(order, kappa))
            if scaled < 1e-250:
                continue
            log_c = order * math.log(kappa) - dim / 2 * math.log(2 * math.pi) - math.log(scaled)
            assert q.log_prob(q.loc).item() == pytest.approx(log_c, rel=1e-5, abs=1e-5)
            ratio = float(special.ive(order + 1, kappa)) / scaled
            assert q.resultant.item() == pytest.approx(ratio, rel=1e-4, abs=1e-6)


def test_on_the_circle_it_is_von_mises():
    q = VonMisesFisher(torch.tensor([math.cos(0.4), math.sin(0.4)]), torch.tensor(2.5))
    angle = torch.linspace(-3, 3, 13)
    x = torch.stack([angle.cos(), angle.sin()], -1)
    expected = dist.VonMises(torch.tensor(0.4), torch.tensor(2.5)).log_prob(angle)
    torch.testing.assert_close(q.log_prob(x), expected, rtol=1e-5, atol=1e-5)


def test_the_divergence_of_two_von_mises_fishers_is_that_of_their_draws():
    q, p = made(VonMisesFisher, 4, 8.0), VonMisesFisher(torch.eye(4)[2], torch.tensor(2.0))
    x = q.sample((100_000,))
    gaps = q.log_prob(x) - p.log_prob(x)
    error = 5 * gaps.std().item() / 100_000**0.5
    assert float(kl_divergence(q, p)) == pytest.approx(gaps.mean().item(), abs=error)
    assert float(kl_divergence(q, q)) == pytest.approx(0, abs=1e-5)


@families
def test_densities_and_divergences_pass_gradcheck(family):
    double = {"dtype": torch.float64}
    loc = torch.nn.functional.normalize(torch.randn(2, 3, **double), dim=-1).requires_grad_()
    kappa = torch.tensor([0.5, 20.0], **double, requires_grad=True)
    x = torch.nn.functional.normalize(torch.randn(2, 3, **double), dim=-1)
    assert torch.autograd.gradcheck(lambda m, k: family(m, k).log_prob(x), (loc, kappa))
    uniform = SphericalUniform(3, (2,), like=x)
    assert torch.autograd.gradcheck(lambda k: kl_divergence(family(loc, k), uniform), kappa)


@families
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_shapes_and_dtypes_follow_the_parameters(family, kind):
    loc = torch.eye(3, dtype=kind)
    q = family(loc, torch.tensor(4.0, dtype=kind)).expand((2, 3))
    p = SphericalUniform(3, (3,), like=loc).expand((2, 3))
    for fn in (q, p):
        assert fn.batch_shape == (2, 3)
        assert fn.event_shape == (3,)
        drawn = fn.sample((5,))
        assert drawn.shape == (5, 2, 3, 3)
        assert drawn.dtype == fn.log_prob(drawn).dtype == fn.mean.dtype == kind
        assert fn.log_prob(drawn).shape == (5, 2, 3)
        assert fn.to_event(1).log_prob(drawn).shape == (5, 2)
        assert fn.mean.shape == (2, 3, 3)
    assert kl_divergence(q, p).shape == (2, 3)


@families
def test_a_mean_direction_along_the_first_axis_has_finite_gradients(family):
    loc = torch.eye(3)[0].requires_grad_()
    x = family(loc, torch.tensor(5.0)).rsample((10,))
    x.square().sum().backward()
    assert torch.isfinite(loc.grad).all()


def test_the_uniform_says_nothing():
    p = SphericalUniform(5)
    drawn = p.sample((20_000,))
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(20_000), rtol=1e-5, atol=1e-5)
    assert drawn.mean(0).norm() < 0.03
    assert float(p.entropy()) == pytest.approx(math.log(8 * math.pi**2 / 3))


def test_what_is_no_direction_is_refused_in_words():
    with pytest.raises(ValueError, match="D at least 2"):
        PowerSpherical(torch.ones(1), torch.tensor(1.0))
    with pytest.raises(ValueError, match="dim: expected at least 2"):
        SphericalUniform(1)
    with pytest.raises(ValueError, match="concentration"):
        VonMisesFisher(torch.eye(3)[0], torch.tensor(-1.0), validate_args=True)


@families
def test_a_draw_leaves_the_gradient_of_the_divergence(family):
    """In training the guide draws first, and the KL follows on the same distribution."""
    kappa = torch.tensor(3.0, requires_grad=True)
    loc = torch.tensor([0.0, 0.6, 0.8])
    prior = SphericalUniform(3, like=loc)
    alone = torch.autograd.grad(kl_divergence(family(loc, kappa), prior), kappa)[0]
    q = family(loc, kappa)
    q.sample()
    q.rsample()
    after = torch.autograd.grad(kl_divergence(q, prior), kappa)[0]
    assert float(alone) > 0.1
    torch.testing.assert_close(after, alone)


def distance_from_its_distribution(q, t) -> float:
    """Kolmogorov's and Smirnov's root(N) sup |F_N - F| of draws of cosines, F on a fine grid."""
    kappa, across = float(q.concentration), q.event_shape[0] - 2
    # Half of the points where the draws are, half over the rest.
    theta = torch.cat([torch.linspace(0, torch.pi, 20_001), t.clamp(-1, 1).acos().float()])
    theta = theta.double().unique()
    if isinstance(q, PowerSpherical):
        log_p = 2 * kappa * (theta / 2).cos().clamp_min(1e-300).log()
    else:
        log_p = kappa * (theta.cos() - 1)
    if across:
        log_p = log_p + across * theta.sin().clamp_min(1e-300).log()
    p = (log_p - log_p.max()).exp()
    below = torch.cumulative_trapezoid(p, theta)
    below = torch.cat([torch.zeros(1).to(below), below]) / below[-1]
    rank = torch.searchsorted(t.clamp(-1, 1).acos().double().sort().values, theta, right=True)
    return float((rank / len(t) - below).abs().max()) * len(t) ** 0.5


@families
@pytest.mark.parametrize("dim", [2, 3, 5, 20, 100])
@pytest.mark.parametrize("kappa", [0.0, 0.01, 1.0, 100.0, 10_000.0])
def test_draws_are_of_the_density(family, dim, kappa):
    q = made(family, dim, kappa)
    drawn = q.sample((2_000,))
    # Exceeded once in 10^7.
    assert distance_from_its_distribution(q, drawn @ q.loc) < 2.9


@families
@pytest.mark.parametrize("dim", [2, 3, 100])
@pytest.mark.parametrize("kappa", [0.0, 1e-6, 1e6])
def test_the_extremes_are_finite_in_single_precision(family, dim, kappa):
    loc = torch.nn.functional.normalize(torch.linspace(-1, 2, dim), dim=0).float()
    at = torch.tensor(kappa, dtype=torch.float32, requires_grad=True)
    q = family(loc, at)
    drawn = q.rsample((50,))
    divergence = kl_divergence(q, SphericalUniform(dim, like=loc))
    for value in (drawn, q.log_prob(drawn.detach()), divergence):
        assert value.isfinite().all()
    (slope,) = torch.autograd.grad(divergence + drawn.sum(), at)
    assert slope.isfinite()
    if kappa < 1e-3:
        assert divergence.item() == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(50).float(), rtol=0, atol=1e-5)


@families
def test_mean_directions_near_the_poles_are_kept_in_single_precision(family):
    tilt = torch.tensor([[1e-4, 1e-6], [1e-2, 0.0], [0.0, 0.0]])
    for sign in (1.0, -1.0):
        loc = torch.cat([torch.full((3, 1), sign), tilt], 1)
        loc = torch.nn.functional.normalize(loc, dim=1).float().requires_grad_()
        drawn = family(loc, torch.full((3,), 1e5).float()).rsample((100,))
        assert ((drawn * loc).sum(-1) > 0.999).all()
        (slope,) = torch.autograd.grad(drawn.sum(), loc)
        assert slope.isfinite().all()


@pytest.mark.parametrize("dim", [2, 3, 20, 100])
@pytest.mark.parametrize("kappa", [0.01, 1.0, 100.0, 1e4])
def test_single_precision_has_the_integrals_of_double_precision(dim, kappa):
    # In float32 the rules have a third of the nodes.
    loc = torch.eye(dim)[0]
    found = []
    t = VonMisesFisher(loc, torch.tensor(kappa)).sample((100,))[:, 0]
    for dtype in (torch.float32, torch.float64):
        at = torch.full((100,), kappa, dtype=dtype, requires_grad=True)
        q = VonMisesFisher(loc.to(dtype), at)
        (slope,) = torch.autograd.grad(q.entropy().sum(), at, retain_graph=True)
        implicit = q._slope(t.to(dtype), at.detach(), q.resultant.detach())
        found.append([v.detach().double() for v in (q.entropy(), slope * kappa, implicit)])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-2, atol=1e-4)
