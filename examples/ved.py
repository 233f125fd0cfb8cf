"""From an image to its spectrum, with error bars: an encoder-decoder between modalities.

The "spectrum" of a rotated and shifted digit is its ink per column, with noise. The encoder takes
the image, the decoder gives the spectrum. The picture shows six test spectra; the features are the
columns of the image.
Run: python examples/ved.py --epochs 40 --out spectra.png
"""

import argparse

import torch

import ppvae
from ppvae import plots
from ppvae.data import digit_spectra
from ppvae.guides import SourceGuide
from ppvae.models import VAE
from ppvae.nets import MLP, ConvEncoder, heads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--rows", type=int, default=None, help="number of training images")
parser.add_argument("--out", default=None, help="image file to write: predicted spectra")
options = parser.parse_args()

data = digit_spectra()
train = data.train if options.rows is None else data.train.take(torch.arange(options.rows))

# p(z) p(spectrum | z), and q(z | image): the observed site x is predicted.
model = VAE(MLP(8, heads.Normal((1, 28), heads.Shared(0.3))), latent_dim=8)
guide = SourceGuide(ConvEncoder((1, 28, 28), heads.DiagonalNormal(8), channels=[16, 32]))
run = ppvae.fit(model, guide, data._replace(train=train), epochs=options.epochs, seed=0)

test = data.test.batch(slice(0, 200))
prediction = run.predict({"source": test["source"]}, num_draws=50)
inside = (test["x"] > prediction.lower) & (test["x"] < prediction.upper)
error = (prediction.mean - test["x"]).square().mean().sqrt()
print(f"root mean squared error           {error:.3f}")
print(f"predicted standard deviation      {prediction.scale.mean():.3f} (the noise alone is 0.1)")
print(f"within the interval of 90 percent {inside.float().mean():.3f}")

if options.out:
    triple = (part.flatten(1) for part in (test["x"], prediction.mean, prediction.scale))
    plots.predictions(*triple, number=6).savefig(options.out)
