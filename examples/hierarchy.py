"""Two levels of latents, and a guide that draws them in either direction.

The model draws z2, then z1 given z2, then x given z1. A top-down guide draws in the model's order,
a bottom-up guide draws z1 from x and then z2 from z1, as an encoder does layer by layer. The model
is linear and normal, so that log p(x) is known. Both guides can represent the exact posterior, and
their ELBOs approach log p(x): p(z1 | z2, x), top-down, depends on x; p(z2 | z1), bottom-up, not.
Run: python examples/hierarchy.py --epochs 100
"""

import argparse

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import ppvae
from ppvae.evaluate.likelihood import log_likelihood
from ppvae.nets import MLP, heads
from ppvae.programs import data_plate

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--rows", type=int, default=1000, help="train on so many rows")
options = parser.parse_args()

torch.manual_seed(0)
Z, D, SPREAD, NOISE = 2, 6, 0.5, 0.5


class Hierarchy(nn.Module):
    """N(z2; 0, I) N(z1; A z2, 0.5^2) N(x; B z1, 0.5^2)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("a", torch.randn(Z, Z))
        self.register_buffer("b", torch.randn(D, Z))
        self.register_buffer("zero", torch.zeros(Z))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z2 = pyro.sample("z2", dist.Normal(self.zero, 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(z2 @ self.a.mT, SPREAD).to_event(1))
            return pyro.sample("x", dist.Normal(z1 @ self.b.mT, NOISE).to_event(1), obs=x)

    def evidence(self, x):
        """log p(x), with shape (N)."""
        inner = self.a @ self.a.mT + SPREAD**2 * torch.eye(Z)
        covariance = self.b @ inner @ self.b.mT + NOISE**2 * torch.eye(D)
        return dist.MultivariateNormal(torch.zeros(D), covariance).log_prob(x)


class TopDown(nn.Module):
    """q(z2 | x) q(z1 | z2, x)."""

    def __init__(self):
        super().__init__()
        self.top = MLP(D, heads.FullNormal(Z), hidden=[])
        self.below = MLP([D, Z], heads.FullNormal(Z), hidden=[])

    def forward(self, x):
        with data_plate(x):
            z2 = pyro.sample("z2", self.top(x))
            pyro.sample("z1", self.below(x, z2))


class BottomUp(nn.Module):
    """q(z1 | x) q(z2 | z1)."""

    def __init__(self):
        super().__init__()
        self.first = MLP(D, heads.FullNormal(Z), hidden=[])
        self.then = MLP(Z, heads.FullNormal(Z), hidden=[])

    def forward(self, x):
        with data_plate(x):
            z1 = pyro.sample("z1", self.first(x))
            pyro.sample("z2", self.then(z1))


model = Hierarchy()
x = model(size=options.rows)
test = model(size=500)
print(f"log p(x), exact      {model.evidence(test).mean():.3f} nats per datum")
alone = dist.Normal(x.mean(0), x.std(0)).to_event(1)
print(f"log p(x), no latents {alone.log_prob(test).mean():.3f}")
for guide in (TopDown(), BottomUp()):
    run = ppvae.fit(
        model,
        guide,
        {"x": x},
        epochs=options.epochs,
        batch_size=100,
        learning_rate=2e-2,
        schedule=ppvae.fitting.cosine,
        seed=0,
        progress=False,
    )
    estimate = log_likelihood(run, {"x": test})
    print(f"ELBO, {type(guide).__name__:<14} {estimate.elbo.mean():.3f}")
