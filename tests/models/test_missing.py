"""Missing values: the bound of a linear Gaussian model is the exact density of what was seen."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.errors import ContractError
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.programs import check_pair

N, D, Z, NOISE = 6, 5, 2, 0.7


class Linear(nn.Module):
    """x = W z + b, plus noise."""

    def __init__(self, weight, bias):
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.head = heads.Masked(heads.Normal((D,), heads.Fixed(NOISE)))

    def forward(self, z):
        return self.head(z @ self.weight.T + self.bias)


class Exact(nn.Module):
    """The posterior given what was seen of each datum."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, x):
        seen = (~x.isnan()).to(x)
        weight = seen.unsqueeze(-1) * self.decoder.weight
        precision = torch.eye(Z) + weight.mT @ weight / NOISE**2
        error = torch.where(x.isnan(), 0.0, x - self.decoder.bias)
        loc = torch.linalg.solve(precision, weight.mT @ error.unsqueeze(-1) / NOISE**2)
        return dist.MultivariateNormal(loc.squeeze(-1), precision_matrix=precision)


def test_the_bound_at_the_exact_posterior_is_the_density_of_what_was_seen():
    weight, bias = torch.randn(D, Z), torch.randn(D)
    decoder = Linear(weight, bias)
    x = dist.Normal(torch.zeros(N, Z), 1.0).sample() @ weight.T + bias + NOISE * torch.randn(N, D)
    x[torch.rand(N, D) < 0.4] = math.nan
    x[0] = math.nan  # Nothing seen: no likelihood, and no KL.
    x[1] = x[1].nan_to_num(0.5)
    model, guide = VAE(decoder, latent_dim=Z), AmortizedGuide(Exact(decoder))
    covariance = weight @ weight.T + NOISE**2 * torch.eye(D)
    for analytic in (False, True):
        particles = 1 if not analytic else 20_000
        spec = ELBO(analytic=analytic, num_particles=particles)
        terms = spec(model, guide)({"x": x})
        for row, found, kl in zip(x, terms.elbo, terms.kl["z"], strict=True):
            seen = ~row.isnan()
            if not seen.any():
                assert abs(found) < 1e-12
                assert abs(kl) < 1e-12
                continue
            marginal = dist.MultivariateNormal(bias[seen], covariance[seen][:, seen])
            exact = marginal.log_prob(row[seen])
            torch.testing.assert_close(found, exact, rtol=0, atol=0.1 if analytic else 1e-9)


def test_a_pair_without_masks_refuses_missing_values_in_words():
    model = VAE(MLP(Z, heads.Normal((D,)), hidden=[4]), latent_dim=Z)
    guide = AmortizedGuide(MLP(D, heads.DiagonalNormal(Z), hidden=[4]))
    x = torch.randn(N, D)
    x[1, 2] = math.nan
    with pytest.raises(ContractError, match=r"some \(NaN\) in \['x'\].*Wrap the encoder"):
        check_pair(model, guide, {"x": x})
