"""A decoder with physics: spectra of two peaks of known shape on a smooth background.

The latents of interest have units and priors: the positions of two Lorentzian lines, their widths
and heights. The background, which physics does not determine, is a small network of z, kept smooth
by a soft constraint in the objective. The picture shows estimates of each first line against the
truth. Run: python examples/peaks.py --epochs 150 --out peaks.png
"""

import argparse

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import ppvae
from ppvae import plots
from ppvae.evaluate.scores import r2
from ppvae.guides import FactorizedGuide
from ppvae.nets import MLP, Sites, heads
from ppvae.objectives import ELBO, Penalty
from ppvae.programs import data_plate

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=150)
parser.add_argument("--rows", type=int, default=2000, help="number of training spectra")
parser.add_argument("--out", default=None, help="image file to write: estimates of one line")
options = parser.parse_args()

energy = torch.linspace(0.0, 10.0, 100)  # eV
NOISE = 0.05


def lorentzian(energy, position, width, height):
    """(..., N, 2) each but the energies, to the sum of two lines, with shape (..., N, 100)."""
    off = (energy - position[..., None]) / width[..., None]
    return (height[..., None] / (1 + off.square())).sum(-2)


class TwoPeaks(nn.Module):
    """p(position) p(width) p(height) p(z) N(x; lines + background(z), 0.05^2)."""

    def __init__(self, background):
        super().__init__()
        self.background = background
        self.register_buffer("position", torch.tensor([3.0, 7.0]))  # eV, expected of the material
        self.register_buffer("energy", energy)  # A buffer follows the model to a GPU.
        self.register_buffer("zero", torch.zeros(2))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            position = pyro.sample("position", dist.Normal(self.position, 0.7).to_event(1))
            width = pyro.sample("width", dist.LogNormal(self.zero - 1.0, 0.3).to_event(1))
            height = pyro.sample("height", dist.LogNormal(self.zero, 0.5).to_event(1))
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            lines = lorentzian(self.energy, position, width, height)
            loc = lines + self.background(z).mean
            return pyro.sample("x", dist.Normal(loc, NOISE).to_event(1), obs=x)


class LogNormalHead(heads.Head):
    """Two positive numbers, from 4 raw ones; around ``loc`` at raw zero."""

    def __init__(self, loc):
        super().__init__()
        self.event_shape, self.raw_shape, self.loc = (2,), (4,), loc

    def forward(self, raw):
        loc, spread = raw.chunk(2, -1)
        return dist.LogNormal(self.loc + loc, heads.positive(spread - 2)).to_event(1)


class PositionHead(LogNormalHead):
    def forward(self, raw):
        loc, spread = raw.chunk(2, -1)
        return dist.Normal(loc + raw.new_tensor([3.0, 7.0]), heads.positive(spread - 2)).to_event(
            1
        )


def rough(context):
    """Squared second differences of the background: (..., N)."""
    background = context.model.background(context.values["z"]).mean
    return background.diff(n=2, dim=-1).square().sum(-1)


# Simulated measurements: lines as above, on a slope that the model does not contain.
torch.manual_seed(0)
true = {
    "position": torch.tensor([3.0, 7.0]) + 0.5 * torch.randn(options.rows, 2),
    "width": (-1.0 + 0.2 * torch.randn(options.rows, 2)).exp(),
    "height": (0.3 * torch.randn(options.rows, 2)).exp(),
}
slope = 0.05 * energy * torch.rand(options.rows, 1)
x = lorentzian(energy, **true) + slope + NOISE * torch.randn(options.rows, 100)

model = TwoPeaks(MLP(2, heads.Raw((100,)), hidden=(16,)))
sites = {
    "position": PositionHead(0.0),
    "width": LogNormalHead(-1.0),
    "height": LogNormalHead(0.0),
    "z": heads.DiagonalNormal(2),
}
guide = FactorizedGuide(MLP(100, Sites(sites), hidden=(128, 128)))
objective = ELBO() + Penalty("rough", rough, weight=100.0)
run = ppvae.fit(
    model, guide, {"x": x}, objective, epochs=options.epochs, learning_rate=3e-3, seed=0
)

estimates = run.encode({"x": x})
for name in ("position", "width", "height"):
    print(f"{name:<10} R2 {r2(estimates[name], true[name]):.3f}")

if options.out:
    first = [torch.stack([of[name][:, 0] for name in true], 1) for of in (true, estimates)]
    names = ("position (eV)", "width (eV)", "height")
    plots.agreement(*first, names=names).savefig(options.out)
