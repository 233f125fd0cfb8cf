"""Student t distributions with one number of degrees of freedom."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from ppvae.distributions import SharedStudentT


@pytest.mark.parametrize("freedom", [2.05, 5.0, 80.0])
def test_the_density_and_its_gradients_are_those_of_torch(freedom):
    def parameters():
        torch.manual_seed(0)
        loc, scale = torch.randn(3, 4).double(), torch.rand(3, 4).double() + 0.1
        values = (torch.tensor(freedom).double(), loc, scale)
        return [value.requires_grad_() for value in values]

    x = torch.randn(2, 3, 4).double()
    ours, theirs = parameters(), parameters()
    mine, known = SharedStudentT(*ours).log_prob(x), dist.StudentT(*theirs).log_prob(x)
    torch.testing.assert_close(mine, known)
    mine.sum().backward()
    known.sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("freedom", [2.05, 5.0, 80.0])
def test_draws_have_the_distribution(freedom):
    torch.manual_seed(0)
    fn = SharedStudentT(torch.tensor(freedom), torch.tensor([1.0]), torch.tensor([0.3]))
    draws = fn.expand((4000, 1)).sample()[:, 0]
    assert draws.isfinite().all()
    assert stats.kstest(draws, stats.t(freedom, 1.0, 0.3).cdf).pvalue > 0.01
    assert fn.sample((2, 3)).shape == (2, 3, 1)


def test_a_draw_has_the_gradient_of_the_scale():
    scale = torch.tensor([0.3, 0.5], requires_grad=True)
    fn = SharedStudentT(torch.tensor(4.0), torch.zeros(2), scale)
    draw = fn.rsample()
    (gradient,) = torch.autograd.grad(draw.sum(), scale)
    torch.testing.assert_close(gradient, (draw / scale).detach())


@pytest.mark.parametrize("freedom", [0.5, 1.0, 1.5, 2.0, 2.5, 80.0])
def test_moments_are_those_of_torch_where_they_exist_and_where_not(freedom):
    loc, scale = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.3], [5.0]])
    values = (torch.tensor(freedom), *torch.broadcast_tensors(loc, scale))
    ours, theirs = SharedStudentT(*values), dist.StudentT(*values)
    torch.testing.assert_close(ours.mean, theirs.mean, equal_nan=True)
    torch.testing.assert_close(ours.variance, theirs.variance, equal_nan=True)
