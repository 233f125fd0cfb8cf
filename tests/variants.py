"""Kinds of variants that do not ship, for the laws: levels, flows, time, gaps, global latents."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoMultivariateNormal
from torch import Tensor, nn

from ppvae.nets import MLP, heads
from ppvae.programs import check_pair, data_plate

STEPS = 3


class Hierarchy(nn.Module):
    """p(z2) p(z1 | z2) p(x | z1)."""

    def __init__(self, decoder: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.below = MLP(latent_dim, heads.DiagonalNormal(latent_dim), hidden=[8])
        self.decoder = decoder
        self.register_buffer("zero", torch.zeros(latent_dim))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z2 = pyro.sample("z2", dist.Normal(self.zero, 1.0).to_event(1))
            z1 = pyro.sample("z1", self.below(z2))
            return pyro.sample("x", self.decoder(z1), obs=x)


class Levels(nn.Module):
    """q(first | x) q(second | first, x)."""

    def __init__(self, first: nn.Module, second: nn.Module, names: tuple[str, str]) -> None:
        super().__init__()
        self.first, self.second, self.names = first, second, names

    def forward(self, x):
        with data_plate(x):
            z = pyro.sample(self.names[0], self.first(x))
            pyro.sample(self.names[1], self.second(x, z))


class FlowGuide(nn.Module):
    """A flow of zuko whose context is x, as q(z | x)."""

    def __init__(self, data_dim: int, latent_dim: int) -> None:
        super().__init__()
        import zuko

        self.flow = zuko.flows.NSF(latent_dim, context=data_dim, transforms=1, hidden_features=[8])

    def forward(self, x):
        from pyro.contrib.zuko import ZukoToPyro

        with data_plate(x):
            pyro.sample("z", ZukoToPyro(self.flow(x.flatten(1))))


class ZukoPrior(nn.Module):
    """A flow of zuko as p(z)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        import zuko

        self.flow = zuko.flows.MAF(latent_dim, transforms=1, hidden_features=[8])

    def forward(self):
        from pyro.contrib.zuko import ZukoToPyro

        return ZukoToPyro(self.flow())


class Markov(nn.Module):
    """N(z_t; f(z_{t-1}), 1) p(x_t | z_t), each x_t a site of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.step = MLP(1, heads.DiagonalNormal(1), hidden=[8])
        self.register_buffer("zero", torch.zeros(1))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = self.zero
            seen = []
            for t in pyro.markov(range(STEPS)):
                q = self.step(z) if t else dist.Normal(self.zero, 1.0).to_event(1)
                z = pyro.sample(f"z{t}", q)
                at = None if x is None else x[..., t, None]
                seen.append(pyro.sample(f"x{t}", dist.Normal(z, 0.3).to_event(1), obs=at))
            return torch.cat(seen, -1)


class MarkovGuide(nn.Module):
    """q(z_t | z_{t-1}, x)."""

    def __init__(self) -> None:
        super().__init__()
        self.step = MLP([1, STEPS], heads.DiagonalNormal(1), hidden=[8])

    def forward(self, x):
        with data_plate(x):
            z = x.new_zeros(len(x), 1)
            for t in pyro.markov(range(STEPS)):
                z = pyro.sample(f"z{t}", self.step(z, x))


class Gaps(nn.Module):
    """Elements that were not seen are masked."""

    def __init__(self, latent_dim: int, data_dim: int) -> None:
        super().__init__()
        self.decoder = MLP(latent_dim, heads.Raw((data_dim,)), hidden=[8])
        self.register_buffer("zero", torch.zeros(latent_dim))

    def forward(self, seen, x=None, *, size=None):
        with data_plate(seen, x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            fn = dist.Normal(self.decoder(z).mean, 0.5).mask(seen > 0).to_event(1)
            return pyro.sample("x", fn, obs=x)


class GapsGuide(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x, seen):
        with data_plate(x):
            pyro.sample("z", self.encoder(x * seen, seen))


class Shared(nn.Module):
    """One w for all data: N(x_n; c_n w, 1/4)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(dim))

    def forward(self, c, x=None, *, size=None):
        w = pyro.sample("w", dist.Normal(self.zero, 1.0).to_event(1))
        with data_plate(c, x, size=size):
            return pyro.sample("x", dist.Normal((c * w).sum(-1), 0.5), obs=x)


def automatic(batch: dict[str, Tensor]) -> tuple[nn.Module, nn.Module]:
    """A model with a global latent, and one of Pyro's guides for it that has run."""
    model = Shared(batch["c"].shape[1])
    guide = AutoMultivariateNormal(model, init_scale=0.3)
    check_pair(model, guide, batch)
    return model, guide
