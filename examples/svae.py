"""Digits on a sphere: latents without a centre, beside the same networks with normal ones.

Run: python examples/svae.py --epochs 30. For a quick look: --fast.
"""

import argparse

import torch

import ppvae
from ppvae import plots
from ppvae.evaluate import knn_probe

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--rows", type=int, default=None, help="train on so many images")
parser.add_argument("--fast", action="store_true", help="2 epochs of 1,000 images")
parser.add_argument("--out", default="sphere.png", help="picture of the sphere, by class")
options = parser.parse_args()
epochs = 2 if options.fast else options.epochs
rows = 1000 if options.fast else options.rows

data = ppvae.data.digits()
train = data.train if rows is None else data.train.take(torch.arange(rows))

# The same networks twice: a unit vector of three numbers, and a normal latent of two, which span
# as many dimensions.
pairs = {
    "sphere": ppvae.zoo.svae(train, latent_dim=3),
    "plane": ppvae.zoo.vae(train, latent_dim=2),
}
for name, (model, guide, objective) in pairs.items():
    run = ppvae.fit(model, guide, data._replace(train=train), objective, epochs=epochs, seed=0)
    z = run.encode(data.test)["z"]
    accuracy = knn_probe(z, torch.as_tensor(data.test["y"]))
    print(f"{name}: ELBO {run.history.column('val_elbo')[-1]:.1f}, kNN accuracy {accuracy:.2f}")
    if name == "sphere":
        figure = plots.directions(z, classes=data.test["y"])
        figure.savefig(options.out)
