"""A hundred labels, and thousands of images without one: a semi-supervised VAE.

Labelled and unlabelled data are one dataset; a missing label is -1. Where the class is known, the
guide's posterior of y is that class; elsewhere all ten classes are summed exactly.
Run: python examples/ssvae.py --labels 100 --epochs 30
"""

import argparse
import math

import torch

import ppvae
from ppvae.data import digits
from ppvae.guides import SemiSupervisedGuide
from ppvae.models import SemiSupervisedVAE
from ppvae.nets import MLP, ConvEncoder, Warp, heads
from ppvae.objectives import ELBO, Balance, Consistency, Linear, Supervision

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--labels", type=int, default=100)
parser.add_argument("--rows", type=int, default=None, help="number of training images")
options = parser.parse_args()

data = digits()
train = data.train if options.rows is None else data.train.take(torch.arange(options.rows))
shape = tuple(train["x"].shape[1:])
row = torch.arange(train.num_rows)
order = torch.randperm(train.num_rows, generator=torch.Generator().manual_seed(0))
labelled = torch.isin(row, order[: options.labels])
train = train.with_columns(y=torch.where(labelled, train["y"], -1))
# Labelled rows are repeated to a quarter of all rows, so that most batches contain some.
again = row[labelled].repeat(max(1, train.num_rows // (4 * options.labels)))
train = train.take(torch.cat([row, again]))

# Layers before the class is joined are computed once for all ten classes (join=1).
decoder = MLP([16, 10], heads.Bernoulli(shape), hidden=(128, 128), join=1)
model = SemiSupervisedVAE(decoder, latent_dim=16, num_classes=10)
classifier = ConvEncoder(shape, heads.Classes(10))
encoder = MLP([784, 10], heads.DiagonalNormal(16), hidden=(128, 128), in_shape=shape, join=1)
guide = SemiSupervisedGuide(encoder, classifier=classifier, num_classes=10)

# The ELBO does not train q(y | x) where y is known; the classification loss does.
# With a large weight on the KL of z at first, the class is used.
steps = max(1, options.epochs * math.ceil(train.num_rows / 128))
objective = ELBO(weights={"z": Linear(8.0, 1.0, steps=steps)})
objective = objective + Balance("y", weight=10.0) + Supervision("y", weight=50.0)
# A digit that is rotated or bent a little is the same digit; this holds without labels, too.
warp = Warp(shape, rotation=0.25, translation=0.1, scale=0.15, bend=0.08)
objective = objective + Consistency(warp, "y", weight=50.0)
run = ppvae.fit(model, guide, train, objective, epochs=options.epochs, seed=0)

test = data.test.batch(slice(None))
predicted = run.encode({"x": test["x"]})["y"]
print(f"test accuracy with {options.labels} labels: {(predicted == test['y']).float().mean():.3f}")
