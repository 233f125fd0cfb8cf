"""How many classes are there? Joint VAEs from several seeds, and their agreement.

A class that every member learns is stable (1; by chance 0); classes that differ between members
indicate that there are too many. An image on which members disagree has a high dispersion. The
objective is that of jvae.py: an ELBO alone leaves the classes of most members without a meaning.
Run: python examples/ensemble.py --members 4 --epochs 20 --classes 5 10 15
"""

import argparse
import math
from functools import partial

import torch

from ppvae import plots
from ppvae.data import digits
from ppvae.ensembles import fit_ensemble
from ppvae.evaluate.scores import clustering_accuracy
from ppvae.guides import FactorizedGuide
from ppvae.models import JointVAE
from ppvae.nets import MLP, ConvEncoder, Sites, Warp, heads
from ppvae.objectives import ELBO, Balance, Capacity, Consistency, Linear

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--members", type=int, default=4)
parser.add_argument("--classes", type=int, nargs="+", default=[10], help="numbers to compare")
parser.add_argument("--rows", type=int, default=None, help="number of training images")
parser.add_argument(
    "--out", default=None, help="image file to write: mean and dispersion of classes"
)
options = parser.parse_args()

data = digits()
train = data.train if options.rows is None else data.train.take(torch.arange(options.rows))
shape = tuple(train["x"].shape[1:])
test = data.test.batch(slice(None))


def build(classes):
    sites = Sites({"z": heads.DiagonalNormal(2), "y": heads.Classes(classes)})
    decoder = MLP([2, classes], heads.Bernoulli(shape), hidden=(128, 128), join=1)
    guide = FactorizedGuide(ConvEncoder(shape, sites))
    warp = Warp(shape, rotation=0.25, translation=0.1, scale=0.15, bend=0.08)
    steps = options.epochs * math.ceil(train.num_rows / 128)
    rise = Linear(0.0, math.log(classes), steps=max(1, steps // 3))
    objective = ELBO(
        capacity={
            "z": Capacity(Linear(0.0, 4.0, steps=steps), gamma=10.0),
            "y": Capacity(rise, gamma=100.0),
        }
    )
    objective = objective + Balance("y", weight=100.0) + Consistency(warp, "y", weight=200.0)
    return JointVAE(decoder, latent_dim=2, classes=classes), guide, objective


for classes in options.classes:
    ensemble = fit_ensemble(
        partial(build, classes),
        data._replace(train=train),
        seeds=range(options.members),
        epochs=options.epochs,
        learning_rate=2e-3,
    )
    agreement = ensemble.agree({"x": test["x"]})
    print(f"{classes} classes")
    print("  ELBO of each member  ", *(f"{elbo:.1f}" for elbo in ensemble.elbos))
    print("  stability of classes ", *(f"{s:.2f}" for s in agreement.stability))
    print(f"  mean stability        {agreement.stability.mean():.3f}")
    print(f"  mean dispersion       {agreement.dispersion.mean():.3f}")
    accuracy = clustering_accuracy(agreement.mean.argmax(-1), test["y"])
    print(f"  clustering accuracy   {accuracy:.3f}")

# For the last number of classes: the decoded mean of each class, and where members differ.
latents = {"z": torch.zeros(classes, 2), "y": torch.arange(classes)}
mean, spread = ensemble.images(agreement.order, latents)
if options.out:
    names = [f"{k}: {s:.2f}" for k, s in enumerate(agreement.stability)]
    figure = plots.images(
        torch.stack([mean, (2 * spread).clamp(max=1)]),
        row_labels=["mean", "spread of\nmembers, x 2"],
        column_labels=names,
    )
    figure.savefig(options.out)
