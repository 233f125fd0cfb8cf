"""A model whose every answer is exact, with its exact guide and a wrong one; runs of any pair."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.data import Dataset
from ppvae.programs import data_plate
from ppvae.runs.run import Run
from tests.pairs import build

D, Z = 5, 2


class LinearGaussian(nn.Module):
    """Probabilistic PCA: p(x, z) = N(z; 0, I) N(x; W z + b, sigma^2 I)."""

    def __init__(self, *, sigma: float = 0.7) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(D, Z))
        self.bias = nn.Parameter(torch.randn(D))
        self.sigma = sigma

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.bias.new_zeros(Z), 1.0).to_event(1))
            loc = z @ self.weight.T + self.bias
            return pyro.sample("x", dist.Normal(loc, self.sigma).to_event(1), obs=x)

    @property
    def covariance(self) -> Tensor:
        return self.weight @ self.weight.T + self.sigma**2 * torch.eye(D)

    def log_evidence(self, x: Tensor) -> Tensor:
        return dist.MultivariateNormal(self.bias, self.covariance).log_prob(x).detach()

    def draw(self, rows: int) -> Tensor:
        with torch.no_grad():
            return self(size=rows)


class GaussianGuide(nn.Module):
    """The exact posterior of :class:`LinearGaussian`, its mean moved and its scale multiplied."""

    def __init__(self, model: LinearGaussian, *, shift: float = 0.0, spread: float = 1.0) -> None:
        super().__init__()
        weight, variance = model.weight.detach(), model.sigma**2
        covariance = torch.linalg.inv(torch.eye(Z) + weight.T @ weight / variance)
        self.bias = model.bias.detach()
        self.gain = nn.Parameter(covariance @ weight.T / variance)
        self.shift = nn.Parameter(torch.full((Z,), shift))
        self.tril = nn.Parameter(spread * torch.linalg.cholesky(covariance))

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            loc = (x - self.bias) @ self.gain.T + self.shift
            pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=self.tril))


class Point(nn.Module):
    """A point for each datum; with auxiliary noise, a density, as in Pyro's automatic guides."""

    def __init__(self, *, noise: bool = False) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(D, Z))
        self.noise = noise

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            z = x @ self.gain
            if self.noise:
                q = dist.Normal(z, 0.5).to_event(1)
                z = pyro.sample("u", q, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(z, event_dim=1))


def linear_run(**wrong: float) -> Run:
    """The linear-Gaussian model with its exact guide, or one that is wrong by so much."""
    model = LinearGaussian()
    return Run(model, GaussianGuide(model, **wrong))


def pair_run(name: str) -> tuple[Run, Dataset]:
    """A pair of ``tests/pairs.py`` as an untrained run, and its batch as data."""
    pair = build(name)
    columns = {column: value for column, value in pair.batch.items() if column != "index"}
    return Run(pair.model, pair.guide, pair.objective), Dataset(columns, missing_ok=list(columns))
