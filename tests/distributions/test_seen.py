"""Independent elements of which some were not seen."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch

from ppvae.distributions import Seen

NAN = math.nan


def test_elements_that_are_nan_are_not_scored_and_give_no_gradient():
    loc = torch.zeros(2, 3).requires_grad_()
    fn = Seen(dist.Normal(loc, torch.ones(2, 3)), 1)
    x = torch.tensor([[0.5, NAN, -1], [NAN, NAN, NAN]])
    found = fn.log_prob(x)
    expected = dist.Normal(0.0, 1.0).log_prob(torch.tensor([0.5, -1.0])).sum()
    torch.testing.assert_close(found, torch.stack([expected, torch.zeros(())]))
    found.sum().backward()
    torch.testing.assert_close(loc.grad, torch.tensor([[0.5, 0, -1], [0, 0, 0]]))


def test_leading_dimensions_broadcast_against_the_value():
    fn = Seen(dist.Normal(torch.randn(4, 1, 3), 1.0), 1).expand((4, 2))
    x = torch.tensor([[0.5, NAN, -1], [1, 2, NAN]])
    assert isinstance(fn, Seen)
    assert fn.event_shape == (3,)
    assert fn.log_prob(x).shape == (4, 2)
    assert fn.log_prob(x).isfinite().all()
