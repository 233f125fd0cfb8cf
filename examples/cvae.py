"""One style in all digits: a VAE conditioned on the class.

z represents the style, which the class does not determine; with another class at the same z, the
digit changes and the style stays. The picture shows eight test images, and the style of each in
all ten classes.
Run: python examples/cvae.py --epochs 30 --out swapped.png
"""

import argparse

import torch

import ppvae
from ppvae import plots
from ppvae.data import digits
from ppvae.guides import ConditionalGuide
from ppvae.models import ConditionalVAE
from ppvae.nets import MLP, Conditions, OneHot, heads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--rows", type=int, default=None, help="number of training images")
parser.add_argument("--out", default=None, help="image file to write")
options = parser.parse_args()

data = digits()
train = data.train if options.rows is None else data.train.take(torch.arange(options.rows))
shape = tuple(train["x"].shape[1:])

# The conditions define how the columns y and c enter the networks: here y, one-hot. For a
# continuous factor use Conditions(factor_dim=1), for both Conditions(OneHot(10), factor_dim=1).
conditions = Conditions(OneHot(10))
model = ConditionalVAE(
    MLP([8, *conditions.sizes], heads.Bernoulli(shape)), conditions, latent_dim=8
)
guide = ConditionalGuide(
    MLP([784, *conditions.sizes], heads.DiagonalNormal(8), in_shape=shape), conditions
)
run = ppvae.fit(model, guide, data._replace(train=train), epochs=options.epochs, seed=0)
print(f"validation ELBO {run.history.column('val_elbo')[-1]:.1f} nats a digit")

# Eight test digits, their styles, and each style in all ten classes.
chosen = data.test.batch(slice(0, 8))
style = run.encode(chosen)["z"]
z, y = style.repeat_interleave(10, 0), torch.arange(10).repeat(8)
swapped = run.decode({"z": z}, y=y)["x"]
print(f"{len(swapped)} images, one row per style: {tuple(swapped.reshape(8, 10, *shape).shape)}")

if options.out:
    rows = torch.cat([chosen["x"][:, None], swapped.reshape(8, 10, *shape)], 1)
    labels = ["image", *map(str, range(10))]
    plots.images(rows, column_labels=labels).savefig(options.out)
