"""Global latents in mini-batches, with a guide of one's own and with Pyro's automatic guides.

The weights of a regression are drawn once for all data, outside the data plate. The model is
conjugate, so that the posterior is known. Each datum's ELBO includes 1 / N of a global KL.
Run: python examples/shared.py --epochs 100
"""

import argparse

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Predictive
from pyro.infer.autoguide import AutoLowRankMultivariateNormal, AutoNormal
from torch import nn

import ppvae
from ppvae.evaluate.likelihood import log_likelihood
from ppvae.nets.heads import positive
from ppvae.programs import data_plate

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--rows", type=int, default=500, help="train on so many rows")
options = parser.parse_args()

NOISE, C = 0.5, 3


class Regression(nn.Module):
    """N(w; 0, I) and N(x_n; c_n w, 0.5^2)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("zero", torch.zeros(C))

    def forward(self, c, x=None, *, size=None):
        w = pyro.sample("w", dist.Normal(self.zero, 1.0).to_event(1))
        with data_plate(c, x, size=size):
            return pyro.sample("x", dist.Normal((c * w).sum(-1), NOISE), obs=x)


class ByHand(nn.Module):
    """A normal with a diagonal covariance: q(w)."""

    def __init__(self):
        super().__init__()
        self.loc, self.raw = nn.Parameter(torch.zeros(C)), nn.Parameter(torch.zeros(C))

    def forward(self, c):
        pyro.sample("w", dist.Normal(self.loc, positive(self.raw - 3)).to_event(1))


torch.manual_seed(0)
c = torch.randn(options.rows, C)
x = c @ torch.randn(C) + NOISE * torch.randn(options.rows)
precision = torch.eye(C) + c.mT @ c / NOISE**2
exact = precision.inverse() @ c.mT @ x / NOISE**2
covariance = c @ c.mT + NOISE**2 * torch.eye(options.rows)
evidence = dist.MultivariateNormal(torch.zeros(options.rows), covariance).log_prob(x)
print(f"exact posterior mean {exact.tolist()}")
print(f"log p(x) of all data {float(evidence):.2f}")
alone = dist.Normal(x.mean(), x.std()).log_prob(x).sum()
print(f"log p(x) without c   {float(alone):.2f}")

model = Regression()
for guide in (
    ByHand(),
    AutoNormal(model, init_scale=0.05),
    AutoLowRankMultivariateNormal(model, init_scale=0.05),
):
    run = ppvae.fit(
        model,
        guide,
        {"c": c, "x": x},
        epochs=options.epochs,
        batch_size=50,
        learning_rate=2e-2,
        schedule=ppvae.fitting.cosine,
        seed=0,
        progress=False,
    )
    mean = run.encode({"c": c, "x": x})["w"]
    elbo = float(log_likelihood(run, {"c": c, "x": x}).elbo.sum())
    error = float((mean - exact).abs().max())
    print(f"{type(guide).__name__}: ELBO {elbo:.2f}, mean off by {error:.3f}")

# The tools of Pyro take the pair as it is, and data on its device.
device = next(run.guide.parameters()).device
c, x, exact = (value.to(device) for value in (c, x, exact))
draws = Predictive(run.guide, num_samples=100)(c=c)
new = Predictive(model, posterior_samples={"w": draws["w"]})(c=torch.eye(C, device=device))["x"]
print(f"predicted at unit covariates {new.mean(0).tolist()}")
conditioned = pyro.poutine.trace(pyro.condition(model, {"w": exact})).get_trace(c=c, x=x)
print(f"log p(x, w) at the exact mean {float(conditioned.log_prob_sum()):.2f}")
