"""Kinds of variants that do not ship, each against an exact or an independent answer."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as T
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn

from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.programs import check_pair, data_plate

STEPS, DRIFT, NOISE, ERROR = 5, 0.9, 0.5, 0.3


class StateSpace(nn.Module):
    """z_t ~ N(a z_{t-1}, s^2), x_t ~ N(z_t, r^2)."""

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = 0.0
            seen = []
            for t in pyro.markov(range(STEPS)):
                z = pyro.sample(f"z{t}", dist.Normal(DRIFT * z + torch.zeros(()), NOISE))
                at = None if x is None else x[..., t]
                seen.append(pyro.sample(f"x{t}", dist.Normal(z, ERROR), obs=at))
            return torch.stack(seen, -1)


def kalman(x: torch.Tensor) -> torch.Tensor:
    """log p(x), with shape (N), by the Kalman filter."""
    mean, variance, total = torch.zeros(len(x)), torch.zeros(()), torch.zeros(len(x))
    for t in range(STEPS):
        mean, variance = DRIFT * mean, DRIFT**2 * variance + NOISE**2
        total = total + dist.Normal(mean, (variance + ERROR**2).sqrt()).log_prob(x[:, t])
        gain = variance / (variance + ERROR**2)
        mean, variance = mean + gain * (x[:, t] - mean), (1 - gain) * variance
    return total


class Smoother(nn.Module):
    """The exact posterior of all states, drawn in either direction of time."""

    def __init__(self, *, backwards: bool) -> None:
        super().__init__()
        steps = DRIFT * torch.diag(torch.ones(STEPS - 1), -1)
        whiten = (torch.eye(STEPS) - steps) / NOISE
        precision = whiten.mT @ whiten + torch.eye(STEPS) / ERROR**2
        self.order = list(range(STEPS))[:: -1 if backwards else 1]
        covariance = precision.inverse()
        self.gain = nn.Parameter(covariance / ERROR**2)
        permuted = covariance[self.order][:, self.order]
        self.register_buffer("factor", torch.linalg.cholesky(permuted))

    def forward(self, x):
        mean = (x @ self.gain.mT)[:, self.order]
        noise: list[torch.Tensor] = []
        with data_plate(x):
            for i, t in enumerate(self.order):
                loc = mean[:, i] + sum(self.factor[i, j] * e for j, e in enumerate(noise))
                z = pyro.sample(f"z{t}", dist.Normal(loc, self.factor[i, i]))
                noise.append((z - loc) / self.factor[i, i])


@pytest.mark.parametrize("backwards", [False, True])
def test_a_state_space_model_has_the_evidence_of_the_kalman_filter(backwards):
    torch.manual_seed(0)
    x = StateSpace()(size=6)
    guide = Smoother(backwards=backwards)
    structure = check_pair(StateSpace(), guide, {"x": x})
    assert structure.sampled == ({f"z{t}" for t in range(1, STEPS)} if backwards else set())
    # At the exact posterior log p(x, z) - log q(z) is the evidence at every draw.
    terms = ELBO(analytic=False)(StateSpace(), guide)({"x": x})
    torch.testing.assert_close(terms.elbo, kalman(x), rtol=1e-4, atol=1e-4)
    default = ELBO(num_particles=2000)(StateSpace(), guide)({"x": x})
    torch.testing.assert_close(default.elbo, kalman(x), rtol=0, atol=0.25)
    weights = ELBO(num_particles=3)(StateSpace(), guide).evaluate({"x": x})[1].log_weights()
    torch.testing.assert_close(weights, kalman(x).expand(3, 6), rtol=1e-4, atol=1e-4)


class Mean(nn.Module):
    """mu ~ N(0, 9), x_n ~ N(mu, 1)."""

    def forward(self, x=None, *, size=None):
        mu = pyro.sample("mu", dist.Normal(torch.zeros(()), 3.0))
        with data_plate(x, size=size):
            return pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


class MeanGuide(nn.Module):
    """The conjugate posterior given all N data."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        variance = 1 / (1 / 9 + len(x))
        self.loc = nn.Parameter(variance * x.sum())
        self.scale = variance**0.5

    def forward(self, x):
        pyro.sample("mu", dist.Normal(self.loc, self.scale))


def test_a_global_latent_in_mini_batches_has_the_conjugate_evidence():
    torch.manual_seed(0)
    x = 2 + torch.randn(40)
    evidence = dist.MultivariateNormal(torch.zeros(40), torch.eye(40) + 9).log_prob(x)
    objective = ELBO(num_particles=500)(Mean(), MeanGuide(x), num_data=40)
    parts = [objective({"x": batch}) for batch in x.split(8)]
    total = torch.cat([part.elbo for part in parts]).sum()
    torch.testing.assert_close(total, evidence, rtol=0, atol=0.5)
    (gradient,) = torch.autograd.grad(sum(p.loss for p in parts) / 5, [objective.guide.loc])
    assert gradient.abs() < 0.05


class FlowPrior(nn.Module):
    """An affine autoregressive flow of N(0, I) as p(z)."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = T.affine_autoregressive(2, hidden_dims=[8])
        self.register_buffer("zero", torch.zeros(2))

    def forward(self):
        base = dist.Normal(self.zero, 1.0).to_event(1)
        return dist.TransformedDistribution(base, [self.flow])


class FlowGuide(nn.Module):
    """A planar flow of an amortised normal as q(z | x)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MLP(4, heads.DiagonalNormal(2), hidden=[8])
        self.flow = T.planar(2)

    def forward(self, x):
        with data_plate(x):
            pyro.sample("z", dist.TransformedDistribution(self.encoder(x), [self.flow]))


def vae(prior: nn.Module | None = None) -> nn.Module:
    decoder = MLP(2, heads.Normal((4,)), hidden=[8])
    return VAE(decoder, prior=prior) if prior is not None else VAE(decoder, latent_dim=2)


def of_pyro(model, guide, x) -> float:
    torch.manual_seed(1)
    return float(Trace_ELBO().differentiable_loss(model, guide, x).detach()) / len(x)


def of_ours(model, guide, x) -> float:
    objective = ELBO(analytic=False)(model, guide)
    objective.check({"x": x})
    torch.manual_seed(1)
    return float(objective({"x": x}).loss.detach())


@pytest.mark.parametrize("kind", ["flow prior", "flow posterior"])
def test_normalising_flows_have_the_elbo_of_pyro(kind):
    torch.manual_seed(0)
    x = torch.randn(6, 4)
    amortised = AmortizedGuide(MLP(4, heads.DiagonalNormal(2), hidden=[8]))
    model, guide = (vae(FlowPrior()), amortised) if "prior" in kind else (vae(), FlowGuide())
    assert of_ours(model, guide, x) == pytest.approx(of_pyro(model, guide, x), rel=1e-5)


def test_an_autoguide_of_pyro_trains_on_our_model():
    torch.manual_seed(0)
    x = torch.randn(6, 4)
    model = vae()
    guide = AutoNormal(model)
    guide(x)  # It makes its parameters at the first call, in the global store.
    pyro.clear_param_store()
    assert check_pair(model, guide, {"x": x}).auxiliary == ("z_unconstrained",)
    objective = ELBO()(model, guide)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    before = float(objective({"x": x}).loss.detach())
    for _ in range(50):
        optimizer.zero_grad()
        objective({"x": x}).loss.backward()
        optimizer.step()
    assert float(objective({"x": x}).loss.detach()) < before - 0.1
    assert not pyro.get_param_store().keys()
