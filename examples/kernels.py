"""A GP prior over sample x angle x time: composed kernels, and times that are not on a grid.

Spectra of 40 samples that are rotated and age: the position of each line depends periodically on
the angle, and drifts at the sample's own rate. Angles and times are irregular; no two spectra have
the same of both. A window of time is left out of the training data; the GP predicts it, which a
VAE cannot do. Kernels are those of GPyTorch, a prior on the time scale is a term of the objective,
and there are two latents without a GP. The picture shows the sample that drifts fastest, at one
angle; between the dashed lines no spectrum was seen.
Run: python examples/kernels.py --epochs 100 --out ageing.png
"""

import argparse
import math

import torch
from gpytorch.kernels import MaternKernel
from gpytorch.priors import GammaPrior
from matplotlib.figure import Figure

import ppvae
from ppvae.data import Dataset
from ppvae.fitting import grouped_adam
from ppvae.gp import (
    Column,
    FourierFeatures,
    GPPrior,
    HilbertFeatures,
    HyperPriors,
    JoinedPrior,
    LeaveViewOut,
    ObjectTable,
    ProductFeatures,
    StandardPrior,
)
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--rows", type=int, default=2000, help="number of spectra")
parser.add_argument("--out", default=None, help="image file to write: one sample over time")
options = parser.parse_args()

SAMPLES, CHANNELS = 40, 64
torch.manual_seed(0)
sample = torch.arange(options.rows) % SAMPLES
angle = 2 * math.pi * torch.rand(options.rows)
time = 10 * torch.rand(options.rows)

start, rate = torch.rand(SAMPLES) - 0.5, 0.15 * torch.randn(SAMPLES)
channels = torch.linspace(-2.5, 2.5, CHANNELS)


def line(sample, angle, time):
    """Spectra without noise, with shape (N, 64)."""
    place = start[sample] + 0.4 * torch.cos(angle + 3 * start[sample]) + rate[sample] * (time - 5)
    return (-((channels - place[:, None]) / 0.3).square()).exp()


x = line(sample, angle, time)
x = x * (1 + 0.1 * torch.randn(options.rows, 1)) + 0.02 * torch.randn(options.rows, CHANNELS)

unseen = (time > 4) & (time < 6)
data = Dataset({"x": x, "object": sample, "view": torch.stack([angle, time], 1)})
train, test = data.take(~unseen), data.take(unseen)

ageing = MaternKernel(nu=2.5, lengthscale_prior=GammaPrior(4.0, 1.0))
ageing.lengthscale = 4.0
views = ProductFeatures(
    Column(FourierFeatures(num_frequencies=3), 0),
    Column(HilbertFeatures(ageing, (0.0, 10.0), num_features=8), 1),
)
prior = JoinedPrior(
    GPPrior(ObjectTable(SAMPLES, 4), views, latent_dim=6, folds=16), StandardPrior(2)
)
model = GPVAE(prior, MLP(8, heads.Normal((CHANNELS,), heads.Shared(0.1)), hidden=(64, 64)))
guide = GPGuide(MLP(CHANNELS, heads.DiagonalNormal(8), hidden=(64, 64)), prior)
run = ppvae.fit(
    model,
    guide,
    train,
    ELBO() + LeaveViewOut() + HyperPriors(),
    epochs=options.epochs,
    learning_rate=3e-3,
    optimizer=grouped_adam((prior.parameters(), 3.0)),
    seed=0,
)

truth = torch.as_tensor(test["x"])
predicted = run.decode({}, object=test["object"], view=test["view"])["x"]
mean = torch.as_tensor(train["x"]).mean(0)
same = torch.as_tensor(test["object"])[:, None] == torch.as_tensor(train["object"])
gap = torch.cdist(torch.as_tensor(test["view"]), torch.as_tensor(train["view"]))
nearest = torch.as_tensor(train["x"])[gap.where(same, torch.tensor(torch.inf)).argmin(1)]
for name, guess in (("GP", predicted), ("nearest", nearest), ("mean", mean)):
    print(f"{name:<8} MSE {(guess - truth).square().mean():.4f}")
print(f"time scale {ageing.lengthscale.item():.2f}")

# The sample that drifts fastest, at one angle: no spectrum between the dashed lines was seen.
if options.out:
    times, fastest = torch.linspace(0, 10, 101), rate.abs().argmax().expand(101)
    view = torch.stack([torch.full_like(times, 1.0), times], 1)
    maps = {
        "true": line(fastest, *view.unbind(1)),
        "predicted": run.decode({}, object=fastest, view=view)["x"],
    }
    figure = Figure(figsize=(7, 3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, spectra) in zip(panels, maps.items(), strict=True):
        shown = axes.imshow(
            spectra, extent=(-2.5, 2.5, 0, 10), origin="lower", aspect="auto", vmin=0, vmax=1
        )
        axes.hlines([4, 6], -2.5, 2.5, color="white", linestyle="--")
        axes.set(title=name, xlabel="channel", ylabel="time")
    figure.colorbar(shown, label="intensity")
    figure.savefig(options.out)
