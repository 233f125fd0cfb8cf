"""The shape of a three at any pose: rotation and translation as latent sites.

Threes are rotated by any angle and shifted by some pixels, by known amounts that the model is not
given. It separates angle, shift and shape. The picture shows ten of them and their shapes at one
pose, whose angle is the model's own zero.
Run: python examples/rvae.py --epochs 100 --out shapes.png
"""

import argparse
import math

import torch
from torch import nn

import ppvae
from ppvae import plots
from ppvae.data import posed_digits
from ppvae.evaluate.scores import circular_correlation, linear_r2, shift_r2
from ppvae.guides import Align, AmortizedGuide
from ppvae.models import VAE, PosedDecoder
from ppvae.nets import MLP, CanvasDecoder, EquivariantPose, heads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--rows", type=int, default=None, help="number of training images")
parser.add_argument("--out", default=None, help="image file to write: shapes at one pose")
options = parser.parse_args()

data = posed_digits(3, rotation=math.pi, shift=0.1)
train = data.train if options.rows is None else data.train.take(torch.arange(options.rows))
shape = tuple(train["x"].shape[1:])

# p(z) p(rotation) p(translation) p(x | z, pose): a plain VAE whose decoder samples a pose, draws
# the three upright on a canvas, and looks the canvas up where the pose says.
likelihood = heads.Bernoulli(shape)
canvas = CanvasDecoder(MLP(8, heads.Raw(likelihood.raw_shape)), likelihood)
model = VAE(PosedDecoder(canvas, rotation=math.inf, translation=0.1), latent_dim=8)

# q(pose | x) q(z | x put back upright), with a pose network that turns with the image.
trunk = Align(EquivariantPose(shape), shape)
encoder = MLP(math.prod(shape), heads.DiagonalNormal(8), in_shape=shape)
guide = AmortizedGuide(nn.Sequential(trunk, encoder))

run = ppvae.fit(
    model,
    guide,
    data._replace(train=train),
    epochs=options.epochs,
    batch_size=100,
    learning_rate=2e-3,
    seed=0,
)

test = data.test
codes = run.encode(test)
angle, shift = test["angle"], test["shift"]
print(f"angle, circular correlation   {circular_correlation(codes['rotation'], angle):.3f}")
print(f"shift, R2                     {shift_r2(codes['translation'], shift, angle):.3f}")
print(f"angle from the content z, R2  {linear_r2(codes['z'], angle):.3f}")

# The same threes, all at the pose that is zero for the model.
at_zero = {**codes, "rotation": torch.zeros(len(angle)), "translation": torch.zeros_like(shift)}
decoded = run.decode(at_zero)["x"]
print(f"decoded at one pose: {tuple(decoded.shape)}")
if options.out:
    pairs = torch.stack([test.batch(slice(0, 10))["x"], decoded[:10]])
    plots.images(pairs, row_labels=["image", "at one pose"]).savefig(options.out)
