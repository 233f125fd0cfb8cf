"""Missing values, masked element by element.

Factor analysis of data with a third of the elements missing. .mask() leaves out the density of a
missing element; the guide takes zeros in its place, and the mask. The model is linear and normal,
so that log p of the observed elements is known. Run: python examples/masked.py --epochs 60
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
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--rows", type=int, default=1000, help="train on so many rows")
options = parser.parse_args()

Z, D, NOISE = 2, 6, 0.5


class Factors(nn.Module):
    """N(z; 0, I) N(x; B z, 0.5^2), of the elements that were seen."""

    def __init__(self):
        super().__init__()
        self.register_buffer("b", torch.randn(D, Z))
        self.register_buffer("zero", torch.zeros(Z))

    def forward(self, seen, x=None, *, size=None):
        with data_plate(seen, x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            likelihood = dist.Normal(z @ self.b.mT, NOISE).mask(seen > 0).to_event(1)
            return pyro.sample("x", likelihood, obs=x)

    def evidence(self, x, seen):
        """log p of the seen elements, with shape (N)."""
        x, seen = x.to(self.b), seen.to(self.b)  # To the device that fit has chosen.
        full = self.b @ self.b.mT + NOISE**2 * torch.eye(D).to(self.b)
        values = []
        for row, here in zip(x, seen > 0, strict=True):
            part = full[here][:, here]
            normal = dist.MultivariateNormal(part.new_zeros(len(part)), part)
            values.append(normal.log_prob(row[here]))
        return torch.stack(values)


class SeenGuide(nn.Module):
    """q(z | x, seen)."""

    def __init__(self):
        super().__init__()
        self.encoder = MLP([D, D], heads.FullNormal(Z), hidden=[64])

    def forward(self, x, seen):
        with data_plate(x):
            pyro.sample("z", self.encoder(x * seen, seen))


torch.manual_seed(0)
model = Factors()
columns = []
for rows in (options.rows, 300):
    seen = (torch.rand(rows, D) > 1 / 3).float()
    seen[:, 0] = 1.0
    columns.append({"x": model(seen=torch.ones(rows, D)) * seen, "seen": seen})
train, test = columns
run = ppvae.fit(
    model,
    SeenGuide(),
    train,
    epochs=options.epochs,
    batch_size=100,
    learning_rate=1e-2,
    schedule=ppvae.fitting.cosine,
    seed=0,
    progress=False,
)
print(f"log p of what was seen, exact {model.evidence(**test).mean():.3f} nats per datum")
spread = (train["x"] ** 2).sum(0) / train["seen"].sum(0)
alone = (dist.Normal(0.0, spread.sqrt()).log_prob(test["x"]) * test["seen"]).sum(-1)
print(f"log p of it, no latents       {alone.mean():.3f}")
print(f"ELBO                          {log_likelihood(run, test).elbo.mean():.3f}")
