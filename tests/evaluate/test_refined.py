"""The likelihood under refined posteriors, where the evidence is known exactly."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.evaluate import log_likelihood, refined_log_likelihood
from ppvae.guides import AmortizedGuide
from ppvae.nets import MLP, heads
from ppvae.programs import data_plate
from ppvae.runs import Run
from tests import pairs

A, NOISE = torch.tensor([[1.0, 0.5, 2.0], [0.5, -1.0, 0.0]]), 0.3


class Linear(nn.Module):
    """x = z A + noise."""

    def forward(self, x: Tensor) -> Tensor:
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z @ A, NOISE).to_event(1), obs=x)


def test_the_bound_of_a_bad_guide_becomes_the_evidence():
    torch.manual_seed(0)
    x = torch.randn(12, 2) @ A + NOISE * torch.randn(12, 3)
    run = Run(Linear(), AmortizedGuide(MLP(3, heads.DiagonalNormal(2, init=0.1), hidden=(4,))))
    state = torch.get_rng_state()
    found = refined_log_likelihood(run, {"x": x}, max_rows=5, learning_rate=0.1)
    assert torch.equal(state, torch.get_rng_state())
    exact = dist.MultivariateNormal(torch.zeros(3), A.T @ A + NOISE**2 * torch.eye(3))
    truth = exact.log_prob(x[found.rows]).double()
    torch.testing.assert_close(found.bound, truth, rtol=0, atol=0.15)
    torch.testing.assert_close(found.log_likelihood, truth, rtol=0, atol=0.05)
    assert (found.apart < 0.1).all()
    assert (found.amortized < truth - 1).all()
    before = log_likelihood(run, {"x": x[found.rows]}, num_particles=200)
    assert float((before.log_likelihood - truth).abs().mean()) > 0.2


def test_other_latents_are_refused():
    pair = pairs.PAIRS["jvae"]()
    run = Run(pair.model, pair.guide, pair.objective)
    with pytest.raises(ArgumentError, match="one latent vector.*Use log_likelihood"):
        refined_log_likelihood(run, pair.batch)
