"""Distributions of which some data are known."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch.distributions import kl_divergence

from ppvae.distributions.partly_known import PartlyKnown

N, K, C = 5, 3, 2
NAN = math.nan


def test_known_classes_are_points_and_the_others_are_left_alone():
    free = dist.Categorical(logits=torch.randn(N, K))
    y = torch.tensor([2, -1, 0, -1, 1])
    q = PartlyKnown.classes(free, y)
    known = y >= 0
    assert torch.equal(q.sample()[known], y[known])
    log_q = q.log_prob(q.enumerate_support())
    torch.testing.assert_close(log_q.exp().sum(0), torch.ones(N))
    torch.testing.assert_close(log_q.exp().T, q.probs)
    torch.testing.assert_close(q.probs[~known], free.probs[~known])
    assert q.probs[0].tolist() == [0, 0, 1]


def test_known_factors_are_points_and_the_others_are_left_alone():
    free = dist.Normal(torch.randn(N, C), 0.3).to_event(1)
    c = torch.tensor([[1.0, 2], [NAN, NAN], [NAN, 0], [3, 4], [NAN, 1]])
    q = PartlyKnown.factors(free, c)
    assert q.known.tolist() == [True, False, False, True, False]
    drawn = q.rsample((4,))
    assert drawn.shape == (4, N, C)
    assert torch.equal(drawn[:, q.known], c[q.known].expand(4, -1, -1))
    assert torch.equal(q.mean[~q.known], free.mean[~q.known])
    assert (q.variance[q.known] == 0).all()
    log_prob = q.log_prob(drawn)
    assert (log_prob[:, q.known] == 0).all()
    torch.testing.assert_close(log_prob[:, ~q.known], free.log_prob(drawn)[:, ~q.known])


def test_the_kl_of_a_point_is_minus_the_priors_log_density():
    free = dist.Normal(torch.randn(N, C), 0.3).to_event(1)
    prior = dist.Normal(torch.zeros(C), 1.0).to_event(1).expand([N])
    c = torch.randn(N, C)
    c[1] = NAN
    q = PartlyKnown.factors(free, c)
    kl = kl_divergence(q, prior)
    torch.testing.assert_close(kl[q.known], -prior.log_prob(q.value)[q.known])
    torch.testing.assert_close(kl[1], kl_divergence(free, prior)[1])


def test_gradients_pass_where_nothing_is_known_and_are_finite_where_it_is():
    loc = torch.zeros(N, C, requires_grad=True)
    c = torch.full((N, C), NAN)
    c[0] = 1.0
    q = PartlyKnown.factors(dist.Normal(loc, 1.0).to_event(1), c)
    q.rsample().square().sum().backward()
    assert torch.isfinite(loc.grad).all()
    assert (loc.grad[0] == 0).all()
    assert (loc.grad[1:] != 0).all()


def test_it_expands_over_particles():
    free = dist.Categorical(logits=torch.randn(N, K))
    q = PartlyKnown.classes(free, torch.tensor([2, -1, 0, -1, 1])).expand((4, N))
    assert q.sample().shape == (4, N)
    assert (q.sample()[:, 0] == 2).all()


def test_without_labels_it_is_the_free_distribution():
    free = dist.Categorical(logits=torch.randn(N, K))
    assert PartlyKnown.classes(free, None) is free
    assert PartlyKnown.factors(free, None) is free
