"""A Markov model over time, compared with the exact Kalman filter.

A deep Kalman filter has networks for the transition and for the emission; if both are linear, the
Kalman filter gives log p(x) exactly. The guide runs backwards over the series, then draws the
states forwards, each given the one before. Run: python examples/kalman.py --epochs 60
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
parser.add_argument("--rows", type=int, default=1000, help="train on so many series")
options = parser.parse_args()

STEPS, NOISE, ERROR = 6, 0.5, 0.3


class StateSpace(nn.Module):
    """N(z_t; transition(z_{t-1}), 0.5^2) N(x_t; z_t, 0.3^2), for t = 0 .. 5."""

    def __init__(self, transition):
        super().__init__()
        self.transition = transition
        self.register_buffer("zero", torch.zeros(1))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z, seen = self.zero, []
            for t in pyro.markov(range(STEPS)):
                z = pyro.sample(f"z{t}", dist.Normal(self.transition(z), NOISE).to_event(1))
                at = None if x is None else x[..., t, None]
                seen.append(pyro.sample(f"x{t}", dist.Normal(z, ERROR).to_event(1), obs=at))
            return torch.cat(seen, -1)


class Backwards(nn.Module):
    """q(z_t | z_{t-1}, x_t, ..., x_T)."""

    def __init__(self):
        super().__init__()
        self.summary = nn.GRU(1, 16, batch_first=True)
        self.step = MLP([1, 16], heads.DiagonalNormal(1), hidden=[16])
        self.register_buffer("zero", torch.zeros(1))

    def forward(self, x):
        rest = self.summary(x.flip(1).unsqueeze(-1))[0].flip(1)  # (N, T, 16): x_t and later
        z = self.zero.expand(len(x), 1)
        with data_plate(x):
            for t in pyro.markov(range(STEPS)):
                z = pyro.sample(f"z{t}", self.step(z, rest[:, t]))


def kalman(x, drift):
    """log p(x), with shape (N)."""
    mean, variance, total = torch.zeros(len(x)), torch.zeros(()), torch.zeros(len(x))
    for t in range(STEPS):
        mean, variance = drift * mean, drift**2 * variance + NOISE**2
        total = total + dist.Normal(mean, (variance + ERROR**2).sqrt()).log_prob(x[:, t])
        gain = variance / (variance + ERROR**2)
        mean, variance = mean + gain * (x[:, t] - mean), (1 - gain) * variance
    return total


torch.manual_seed(0)
true = nn.Linear(1, 1, bias=False)
nn.init.constant_(true.weight, 0.9)
with torch.no_grad():
    x, test = (StateSpace(true)(size=rows) for rows in (options.rows, 500))

# The transition is learned, too: the default, a network, or here the linear one.
learned = nn.Linear(1, 1, bias=False)
run = ppvae.fit(
    StateSpace(learned),
    Backwards(),
    {"x": x},
    epochs=options.epochs,
    batch_size=100,
    learning_rate=1e-2,
    schedule=ppvae.fitting.cosine,
    seed=0,
    progress=False,
)
estimate = log_likelihood(run, {"x": test})
print(f"drift, true 0.900, learned {learned.weight.item():.3f}")
exact = kalman(test, learned.weight.item()).mean()
print(f"log p(x), Kalman filter at the learned drift {exact:.3f}")
alone = dist.Normal(x.mean(0), x.std(0)).log_prob(test).sum(-1).mean()
print(f"log p(x), every step alone, no states        {alone:.3f}")
print(f"log p(x), importance sampling                {estimate.log_likelihood.mean():.3f}")
print(f"ELBO                                         {estimate.elbo.mean():.3f}")
