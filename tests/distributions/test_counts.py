"""Counts as shares of a library, against scipy and against their own draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.fx.experimental.proxy_tensor import make_fx

from ppvae.distributions import Counts, log_negative_binomial

G = 4
NAN = math.nan


def shares() -> torch.Tensor:
    return torch.tensor([0.1, 0.2, 0.3, 0.4]).log()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_negative_binomial_agrees_with_scipy_for_any_dispersion(dtype):
    x = np.array([0.0, 1, 7, 300, 5000])[:, None, None]
    mean = np.array([1e-4, 0.5, 20, 4000])[:, None]
    theta = np.array([1e-3, 0.3, 31.9, 32.1, 1e3, 1e6])
    truth = stats.nbinom.logpmf(x, theta, theta / (theta + mean))
    tensors = (torch.tensor(v, dtype=dtype) for v in (x, np.log(mean), np.log(theta)))
    found = log_negative_binomial(*tensors).double().numpy()
    eps = torch.finfo(dtype).eps
    scale = np.abs(truth) + x * np.log1p(x) + theta.clip(max=32) + 1
    assert (np.abs(found - truth) / scale).max() < 30 * eps if dtype == torch.float32 else 1e-9
    # scipy itself loses digits at a large theta; a Poisson is the limit there.
    poisson = stats.poisson.logpmf(x[..., 0], mean[:, 0])
    assert np.abs(found[..., -1] - poisson).max() < 20


def test_zero_inflated_counts_agree_with_scipy():
    log_theta, gate = torch.tensor([0.0, 1, -1, 4]), torch.tensor([-2.0, 0, 3, -8])
    fn = Counts(shares().expand(3, G), log_theta, gate)
    x = torch.tensor([[0.0, 0, 0, 0], [0, 2, 5, 1], [10, 0, 0, 3]])
    library = x.sum(-1, keepdim=True).clamp_min(1).numpy()
    theta, pi = log_theta.exp().numpy(), gate.sigmoid().numpy()
    mean = library * shares().exp().numpy()
    kept = (1 - pi) * stats.nbinom.pmf(x.numpy(), theta, theta / (theta + mean))
    truth = np.log(kept + pi * (x.numpy() == 0)).sum(-1)
    np.testing.assert_allclose(fn.log_prob(x).numpy(), truth, rtol=1e-8)


@pytest.mark.parametrize("inflated", [False, True])
def test_gradients_are_those_of_differences_at_any_dispersion(inflated):
    x = torch.tensor([0.0, 1, 7, 300])[:, None, None].double()
    log_mean = torch.tensor([-4.0, 0.3, 3.0])[:, None].double().requires_grad_()
    log_theta = torch.tensor([-3.0, 0.5, 3.4, 3.5, 9.0]).double().requires_grad_()
    gate = torch.tensor([-6.0, 0.0, 2.0, -1.0, 0.5]).double().requires_grad_()
    given = (log_mean, log_theta, gate) if inflated else (log_mean, log_theta)
    assert torch.autograd.gradcheck(lambda *parts: log_negative_binomial(x, *parts), given)
    assert torch.autograd.gradgradcheck(lambda *parts: log_negative_binomial(x, *parts), given)


def test_the_gradient_by_a_large_dispersion_is_exact_in_single_precision():
    def slope(dtype):
        x, log_mean = (torch.tensor(v, dtype=dtype) for v in ([0.0, 1, 40], [0.0, 1.0, 3.0]))
        log_theta = torch.full((3,), 8.0, dtype=dtype, requires_grad=True)
        log_negative_binomial(x, log_mean, log_theta).sum().backward()
        return log_theta.grad.double()

    torch.testing.assert_close(slope(torch.float32), slope(torch.float64), rtol=0, atol=1e-4)


@pytest.mark.parametrize("inflated", [False, True])
def test_traced_programs_compute_every_element_alike(inflated):
    x, gate = torch.poisson(torch.full((6, 5), 0.7)), torch.randn(5)
    parts = (torch.randn(3, 6, 5), torch.randn(5), *([gate] if inflated else []))

    def value_and_slopes(*parts):
        leaves = [part.detach().requires_grad_() for part in parts]
        value = log_negative_binomial(x, *leaves)
        return value, *torch.autograd.grad(value.sin().sum(), leaves)

    traced = make_fx(value_and_slopes)(*parts)
    assert "nonzero" not in traced.code
    for fast, slow in zip(value_and_slopes(*parts), traced(*parts), strict=True):
        torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("inflated", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_mean_and_variance_are_those_of_draws(given, inflated):
    fn = Counts(
        shares(),
        torch.tensor([0.5, 1, 2, 3]),
        torch.tensor([-1.0, 0, 1, -3]) if inflated else None,
        library=torch.tensor(50.0) if given else None,
        prior=(math.log(50), 0.3),
    )
    drawn = fn.sample((100_000,))
    assert drawn.shape == (100_000, G)
    torch.testing.assert_close(drawn.mean(0), fn.mean, rtol=0.03, atol=0.05)
    torch.testing.assert_close(drawn.var(0), fn.variance, rtol=0.08, atol=0.1)


def test_missing_counts_are_scored_as_those_seen_alone():
    x = torch.tensor([[3.0, NAN, 5, 2], [NAN, NAN, NAN, NAN]])
    log_share = shares().expand(2, G).clone().requires_grad_()
    fn = Counts(log_share, torch.zeros(G), missing=True)
    found = fn.log_prob(x)
    seen = [0, 2, 3]
    part = shares()[seen].log_softmax(-1)
    alone = Counts(part, torch.zeros(3)).log_prob(x[0, seen])
    torch.testing.assert_close(found, torch.stack([alone, torch.zeros(())]))
    found.sum().backward()
    assert log_share.grad.isfinite().all()
    assert (log_share.grad[1] == 0).all()


def test_an_expanded_distribution_scores_alike():
    fn = Counts(shares(), torch.zeros(G), library=torch.tensor(9.0))
    x = torch.tensor([1.0, 2, 3, 3])
    assert fn.expand((5,)).sample().shape == (5, G)
    torch.testing.assert_close(fn.expand((2, 3)).log_prob(x), fn.log_prob(x).expand(2, 3))
