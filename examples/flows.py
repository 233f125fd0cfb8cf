"""Normalising flows of zuko as a guide's network and as a prior.

x = |z| with noise: p(z | x) has two modes, one on either side of zero. A normal covers one of
them, a neural spline flow both. Then a flow as p(z), learned with the decoder.
A flow of zuko is a module that returns a distribution; pyro.contrib.zuko makes it one of Pyro's.
Run: pip install 'ppvae[flows]'; python examples/flows.py --epochs 40
"""

import argparse
import math

import pyro
import pyro.distributions as dist
import torch
import zuko
from pyro.contrib.zuko import ZukoToPyro
from torch import nn

import ppvae
from ppvae.evaluate.likelihood import log_likelihood
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.programs import data_plate

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--rows", type=int, default=2000, help="train on so many rows")
options = parser.parse_args()

NOISE = 0.2


class Folded(nn.Module):
    """N(z; 0, 1) N(x; |z|, 0.2^2)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("zero", torch.zeros(1))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z.abs(), NOISE).to_event(1), obs=x)


class FlowGuide(nn.Module):
    """q(z | x), a neural spline flow whose context is x."""

    def __init__(self, data_dim, latent_dim):
        super().__init__()
        self.flow = zuko.flows.NSF(
            latent_dim, context=data_dim, transforms=2, hidden_features=[32]
        )

    def forward(self, x):
        with data_plate(x):
            pyro.sample("z", ZukoToPyro(self.flow(x)))


class FlowPrior(nn.Module):
    """p(z), a neural spline flow: hand it to any model as prior=."""

    def __init__(self, latent_dim):
        super().__init__()
        self.flow = zuko.flows.NSF(latent_dim, transforms=2, hidden_features=[32])

    def forward(self):
        return ZukoToPyro(self.flow())


torch.manual_seed(0)
settings = {"epochs": options.epochs, "learning_rate": 5e-3, "seed": 0, "progress": False}
model = Folded()
x, test = model(size=options.rows), model(size=500)
grid = torch.linspace(-6, 6, 4001)
joint = dist.Normal(0.0, 1.0).log_prob(grid) + dist.Normal(grid.abs(), NOISE).log_prob(test)
evidence = joint.logsumexp(-1) + math.log(float(grid[1] - grid[0]))
print(f"log p(x), by quadrature   {evidence.mean():.3f} nats per datum")
normal = AmortizedGuide(MLP(1, heads.DiagonalNormal(1), hidden=[32]))
for name, guide in (("normal", normal), ("flow", FlowGuide(1, 1))):
    run = ppvae.fit(model, guide, {"x": x}, **settings)
    print(f"ELBO, posterior a {name:<8}{log_likelihood(run, {'x': test}).elbo.mean():.3f}")

# Two moons through a decoder: the latents are no normal, and p(z) learns what they are.
angle = math.pi * torch.rand(options.rows)
side = torch.arange(options.rows) % 2
moons = torch.stack([angle.cos() + side, (1 - 2 * side) * angle.sin() + side / 2], -1)
moons = moons + 0.05 * torch.randn_like(moons)
for name, prior in (("normal", None), ("flow", FlowPrior(2))):
    model = VAE(
        MLP(2, heads.Normal((2,), heads.Shared(0.1)), hidden=[]),
        **({"latent_dim": 2} if prior is None else {"prior": prior}),
    )
    guide = AmortizedGuide(MLP(2, heads.DiagonalNormal(2), hidden=[32]))
    run = ppvae.fit(model, guide, {"x": moons}, **settings)
    print(f"ELBO, prior a {name:<12}{log_likelihood(run, {'x': moons}).elbo.mean():.3f}")
