"""Classes without labels: a joint VAE of continuous style and a discrete class.

The class is summed over exactly, never sampled or relaxed. Each latent has a capacity that grows
in training: the loss keeps KL(q(z|x) || p(z)) at C_z(t) and KL(q(y|x) || p(y)) at C_y(t). The data
alone do not determine which images form a class; two further terms of the loss do.
Run: python examples/jvae.py --epochs 30 --out classes.png
"""

import argparse
import math

import torch

import ppvae
from ppvae import plots
from ppvae.data import digits
from ppvae.evaluate.scores import clustering_accuracy
from ppvae.guides import FactorizedGuide
from ppvae.models import JointVAE
from ppvae.nets import MLP, ConvEncoder, Sites, Warp, heads
from ppvae.objectives import ELBO, Balance, Capacity, Consistency, Linear
from ppvae.programs import posterior

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--rows", type=int, default=None, help="number of training images")
parser.add_argument("--out", default=None, help="image file to write: classes and styles")
options = parser.parse_args()

data = digits()
train = data.train if options.rows is None else data.train.take(torch.arange(options.rows))
shape = tuple(train["x"].shape[1:])

decoder = MLP([6, 10], heads.Bernoulli(shape), hidden=(128, 128), join=1)
model = JointVAE(decoder, latent_dim=6, classes=10)
sites = Sites({"z": heads.DiagonalNormal(6), "y": heads.Classes(10)})
guide = FactorizedGuide(ConvEncoder(shape, sites))

steps = max(1, options.epochs * math.ceil(train.num_rows / 128))
objective = ELBO(
    capacity={
        "z": Capacity(Linear(0.0, 12.0, steps=steps), gamma=10.0),
        "y": Capacity(Linear(0.0, math.log(10), steps=max(1, steps // 3)), gamma=100.0),
    }
)
# A capacity alone is also met by putting all images into one class; the balance is not.
objective = objective + Balance("y", weight=100.0)
# A digit that is turned or bent a little is the same digit.
warp = Warp(shape, rotation=0.25, translation=0.1, scale=0.15, bend=0.08)
objective = objective + Consistency(warp, "y", weight=200.0)
run = ppvae.fit(
    model,
    guide,
    data._replace(train=train),
    objective,
    epochs=options.epochs,
    learning_rate=2e-3,
    seed=0,
)

test = data.test.batch(slice(None))
predicted = posterior(guide, {"x": test["x"]})["y"].probs.argmax(-1)
print(f"validation ELBO      {run.history.column('val_elbo')[-1]:.1f} nats a digit")
accuracy = clustering_accuracy(predicted, test["y"])
print(f"clustering accuracy  {accuracy:.3f} (chance is about 0.2)")

# Five styles drawn from the prior, each in all ten classes.
if options.out:
    style = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    z, y = style.repeat_interleave(10, 0), torch.arange(10).repeat(5)
    figure = plots.images(
        run.decode({"z": z, "y": y})["x"],
        row_labels=[f"style {k}" for k in range(1, 6)],
        column_labels=[f"class {k}" for k in range(10)],
    )
    figure.savefig(options.out)
