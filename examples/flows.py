"""Normalising flows of zuko as a guide's network and as a prior.

z has two dimensions and x one, z_2 + z_1^2 with noise, so that p(z | x) is a curved ridge. A
normal posterior covers a part of it, a neural spline flow all of it. The second part learns a flow
as p(z) together with the decoder, on data with a known density.
A flow of zuko is a module that returns a distribution, which pyro.contrib.zuko wraps for Pyro.
Run: pip install 'ppvae[flows]'; python examples/flows.py --epochs 60 --out moons.png
"""

import argparse
import math

import pyro
import pyro.distributions as dist
import torch
import zuko
from matplotlib.figure import Figure
from pyro.contrib.zuko import ZukoToPyro
from torch import nn

import ppvae
from ppvae.evaluate.likelihood import log_likelihood
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.programs import data_plate

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--rows", type=int, default=1000, help="train on so many rows")
parser.add_argument("--out", default=None, help="image file to write: draws of both priors")
options = parser.parse_args()

NOISE = 0.3


class Bent(nn.Module):
    """N(z; 0, I) N(x; z_2 + z_1^2, 0.3^2)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("zero", torch.zeros(2))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            mean = z[..., 1:] + z[..., :1] ** 2
            return pyro.sample("x", dist.Normal(mean, NOISE).to_event(1), obs=x)


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
settings = {
    "epochs": options.epochs,
    "batch_size": 100,
    "learning_rate": 1e-2,
    "schedule": ppvae.fitting.cosine,
    "seed": 0,
    "progress": False,
}
model = Bent()
x, test = model(size=options.rows), model(size=500)
# z_2 integrates out in closed form, z_1 on a grid.
grid = torch.linspace(-6, 6, 4001)
given_z1 = dist.Normal(grid**2, math.hypot(1.0, NOISE)).log_prob(test)
joint = dist.Normal(0.0, 1.0).log_prob(grid) + given_z1
evidence = joint.logsumexp(-1) + math.log(float(grid[1] - grid[0]))
print(f"log p(x), by quadrature   {evidence.mean():.3f} nats per datum")
print(f"log p(x), a normal for x  {dist.Normal(x.mean(), x.std()).log_prob(test).mean():.3f}")
normal = AmortizedGuide(MLP(1, heads.FullNormal(2), hidden=[32]))
for name, guide in (("normal", normal), ("flow", FlowGuide(1, 2))):
    run = ppvae.fit(model, guide, {"x": x}, **settings)
    print(f"ELBO, posterior a {name:<8}{log_likelihood(run, {'x': test}).elbo.mean():.3f}")


def moons(rows):
    """Two half circles with noise."""
    angle = math.pi * torch.rand(rows)
    side = torch.arange(rows) % 2
    points = torch.stack([angle.cos() + side, (1 - 2 * side) * angle.sin() + side / 2], -1)
    return points + WIDTH * torch.randn_like(points)


def moons_density(points):
    """log p of the two half circles, by quadrature, with shape (N)."""
    angle = math.pi * (torch.arange(500) + 0.5) / 500
    arcs = [
        torch.stack([angle.cos() + side, (1 - 2 * side) * angle.sin() + side / 2], -1)
        for side in (0, 1)
    ]
    near = dist.Normal(torch.cat(arcs), WIDTH).to_event(1).log_prob(points.unsqueeze(-2))
    return near.logsumexp(-1) - math.log(1000)


# Two moons through a linear decoder: the latents are no normal, and p(z) learns what they are.
# The flow passes any normal; it is still short of the exact density after so few steps. It starts
# with little noise in the decoder: what the noise explains, the prior does not learn.
WIDTH = 0.1
train, test = moons(options.rows), moons(500)
print(f"log p(moons), exact       {moons_density(test).mean():.3f}")
reference = dist.MultivariateNormal(train.mean(0), train.mT.cov())
print(f"log p(moons), a normal    {reference.log_prob(test).mean():.3f}")
draws = {"data": test}
for name, prior, noise, rate in (("normal", None, 0.5, 5e-3), ("flow", FlowPrior(2), 0.1, 3e-3)):
    model = VAE(
        MLP(2, heads.Normal((2,), heads.Shared(noise)), hidden=[]),
        **({"latent_dim": 2} if prior is None else {"prior": prior}),
    )
    guide = AmortizedGuide(MLP(2, heads.FullNormal(2), hidden=[32]))
    run = ppvae.fit(model, guide, {"x": train}, **{**settings, "learning_rate": rate})
    estimate = log_likelihood(run, {"x": test})
    print(f"log p(moons), prior a {name:<8}{estimate.log_likelihood.mean():.3f}", end="")
    print(f" (ELBO {estimate.elbo.mean():.3f})")
    draws[f"draws, prior a {name}"] = model(size=500)

if options.out:
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axes, (name, points) in zip(panels, draws.items(), strict=True):
        axes.scatter(*points.detach().cpu().mT, s=3)
        axes.set(title=name, xlabel="x1", aspect="equal")
    panels[0].set(ylabel="x2")
    figure.savefig(options.out)
