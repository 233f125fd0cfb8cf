"""What a three looks like, wherever it stands: rotation and translation as latent sites.

Threes are turned by up to 60 degrees and moved by some pixels, by known amounts that the model
never sees. It finds angle, shift and shape apart. Run: python examples/rvae.py --epochs 60
"""

import argparse
import math

import torch
from torch import nn

import ppvae
from ppvae.data import posed_digits
from ppvae.guides import Align, AmortizedGuide
from ppvae.models import VAE, PosedDecoder
from ppvae.nets import MLP, Angle, CanvasDecoder, ConvEncoder, Shift, Sites, heads
from ppvae.scores import circular_correlation, linear_r2, r2

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--rows", type=int, default=None, help="train on so many images")
options = parser.parse_args()

data = posed_digits(3, rotation=math.pi / 3, shift=0.1)
train = data.train if options.rows is None else data.train.take(torch.arange(options.rows))
shape = tuple(train["x"].shape[1:])

# p(z) p(rotation) p(translation) p(x | z, pose): a plain VAE whose decoder samples a pose, draws
# the three upright on a canvas, and looks the canvas up where the pose says.
likelihood = heads.Bernoulli(shape)
canvas = CanvasDecoder(MLP(2, heads.Raw(likelihood.raw_shape)), likelihood)
model = VAE(PosedDecoder(canvas, rotation=0.6, translation=0.1), latent_dim=2)

# q(pose | x) q(z | x put back upright).
pose = ConvEncoder(shape, Sites({"rotation": Angle(), "translation": Shift()}), channels=[16, 32])
content = ConvEncoder(shape, heads.DiagonalNormal(2), channels=[16, 32])
trunk = Align(pose, shape)
guide = AmortizedGuide(nn.Sequential(trunk, content))

run = ppvae.fit(
    model, guide, data._replace(train=train), epochs=options.epochs, batch_size=64, seed=0
)

test = data.test.batch(slice(None))
with torch.no_grad():
    found = pose(test["x"])
    z = torch.stack([guide(test["x"]) for _ in range(8)]).mean(0)
angle, shift = found["rotation"].mean, found["translation"].mean
print(f"angle, circular correlation   {circular_correlation(angle, test['angle']):.3f}")
print(f"shift, R2                     {r2(shift, test['shift']):.3f}")
print(f"angle from the content z, R2  {linear_r2(z, test['angle']):.3f}")
