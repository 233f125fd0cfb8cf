"""Small models and guides for the tests of fitting and of runs."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.data import Dataset, Splits
from ppvae.objectives import ELBO
from ppvae.programs import FitHooks, data_plate

D, Z = 4, 2


class PPCA(nn.Module):
    """N(z; 0, I) N(x; W z + b, sigma^2 I), sigma learned."""

    def __init__(self, dim: int = D) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, Z))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.bias.new_zeros(Z), 1.0).to_event(1))
            loc = z @ self.weight.T + self.bias
            return pyro.sample("x", dist.Normal(loc, self.log_sigma.exp()).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        cov = self.weight @ self.weight.T + (2 * self.log_sigma).exp() * torch.eye(len(self.bias))
        return dist.MultivariateNormal(self.bias, cov).log_prob(x)


class LinearGuide(nn.Module):
    """N(z; A x + a, L L^T): the exact posterior of pPCA is among these."""

    def __init__(self, dim: int = D) -> None:
        super().__init__()
        self.net = nn.Linear(dim, Z)
        self.raw = nn.Parameter(torch.zeros(Z, Z))

    def forward(self, x: Tensor) -> None:
        tril = self.raw.tril(-1) + torch.diag_embed(self.raw.diagonal().exp())
        with data_plate(x):
            pyro.sample("z", dist.MultivariateNormal(self.net(x), scale_tril=tril))


class SharedGuide(nn.Module):
    """A guide that uses the model's own weights, and a network beside them."""

    def __init__(self, model: PPCA) -> None:
        super().__init__()
        self.model = model
        self.scale = nn.Parameter(torch.ones(Z))

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            loc = (x - self.model.bias) @ self.model.weight
            pyro.sample("z", dist.Normal(loc, self.scale.exp()).to_event(1))


class Indexed(FitHooks):
    """A guide that wants rows' numbers in training, and keeps a table of what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(D, Z)
        self.register_buffer("mean", torch.zeros(Z))
        self.register_buffer("table", torch.zeros(0), persistent=False)
        self.table: Tensor
        self.mean: Tensor
        self.calls: list[str] = []

    def prepare(self, data: Dataset) -> None:
        self.calls.append("prepare")
        self.table = torch.zeros(data.num_rows)

    def settle(self, guide: nn.Module, data: Dataset) -> None:
        self.calls.append("settle")
        assert not guide.training
        self.table = self.table + 100
        self.mean.add_(1)

    def forward(self, x: Tensor, *, index: Tensor | None = None) -> None:
        if self.training:
            assert index is not None
            self.table.index_add_(0, index, torch.ones(len(index)))
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.net(x), 1.0).to_event(1))


def table(rows: int, *, seed: int = 0, dim: int = D) -> Tensor:
    """Correlated data with shape (rows, dim)."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(99))
    return torch.randn(rows, dim, generator=generator) @ mix + 1.0


def splits(rows: int = 50, validation: int = 20) -> Splits:
    return Splits(Dataset({"x": table(rows)}), Dataset({"x": table(validation, seed=1)}))


def pair(seed: int = 0) -> tuple[PPCA, LinearGuide]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PPCA(), LinearGuide()


def build(*, dim: int = D, shared: bool = False) -> tuple[nn.Module, nn.Module, ELBO]:
    """A builder for :class:`ppvae.runs.run.Recipe`."""
    if dim < 1:
        raise ValueError("dim: expected >= 1.")
    model = PPCA(dim)
    return model, SharedGuide(model) if shared else LinearGuide(dim), ELBO(weights={"z": 2.0})
