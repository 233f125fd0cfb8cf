"""Atoms of a micrograph: their species and the angle of the lattice, from patches alone.

An image of a honeycomb lattice is simulated (ppvae.data.lattice): two sublattices, dopants,
vacancies, three domains at different angles, strain, drift and the noise of counts, all known.
Atoms are found as maxima of the smoothed image, and a patch is cut around each. A VAE with the
rotation as a latent site separates the angle from the content z. Both are mapped back onto the
image, beside the truth. The null model has as many principal components of the same patches, which
do not know that a patch can be turned. Run: python examples/atoms.py

An image of your own: a float array (H, W), with the positions of your atoms from any package
(atomap, scikit-image); everything from "A patch around each atom" on stays as it is.
"""

import argparse
import math

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import nn

import ppvae
from ppvae import plots
from ppvae.data.lattice import SPECIES
from ppvae.evaluate import clustering_accuracy, encode_windows, knn_probe
from ppvae.guides import Align, AmortizedGuide
from ppvae.models import VAE, PosedDecoder
from ppvae.nets import MLP, CanvasDecoder, EquivariantPose, Standardized, heads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--size", type=int, default=512, help="side of the image in pixels")
parser.add_argument("--patch", type=int, default=24, help="side of a patch in pixels")
parser.add_argument("--out", default="atoms.png", help="picture of the maps")
options = parser.parse_args()

image, truth, vacancies = ppvae.data.lattice(size=options.size, patch=options.patch)

# Atoms: maxima of the smoothed image, above the noise and not at its edge.
smooth = gaussian_filter(image.numpy(), 1.5)
peaks = (smooth == maximum_filter(smooth, 5)) & (smooth > 0.15)
found = torch.as_tensor(np.argwhere(peaks)).float()
edge = options.patch / 2
found = found[((found >= edge) & (found <= len(image) - 1 - edge)).all(1)]

# What is known of each: that of the nearest true atom, if it is within 3 pixels.
distance, nearest = cKDTree(truth["position"]).query(found)
found, nearest = found[distance < 3], torch.as_tensor(nearest[distance < 3])
print(f"{truth.num_rows} atoms, {len(distance)} maxima, {len(found)} of them within 3 pixels")
species, angle = truth["y"][nearest], truth["angle"][nearest]

# A patch around each atom. A VAE whose decoder samples an angle and turns a canvas by it, and a
# guide that finds the angle first and encodes the patch turned back.
x = ppvae.data.patches(image, found, options.patch)
shape, latent_dim = tuple(x.shape[1:]), 2
torch.manual_seed(0)
center, unit = x.mean(), x.std()
likelihood = heads.Normal(shape, heads.Shared(0.5), center=center, unit=unit)
canvas = CanvasDecoder(MLP(latent_dim, heads.Raw(likelihood.raw_shape), hidden=(128,)), likelihood)
model = VAE(PosedDecoder(canvas, rotation=math.inf, modes=2), latent_dim=latent_dim)
trunk = Align(EquivariantPose(shape, translation=False, modes=2), shape)
encoder = MLP(math.prod(shape), heads.DiagonalNormal(latent_dim), hidden=(128,), in_shape=shape)
guide = AmortizedGuide(Standardized(nn.Sequential(trunk, encoder), center, unit))
run = ppvae.fit(
    model, guide, {"x": x}, epochs=options.epochs, batch_size=100, learning_rate=2e-3, seed=0
)

codes = run.encode({"x": x})
z, rotation = codes["z"], codes["rotation"]
groups = torch.as_tensor(KMeans(3, n_init=10, random_state=0).fit_predict(z))
# The lattice's angle is known up to a third of a turn. Each group has its own zero of the angle,
# which no model can know: that of the truth is used.
third = 2 * math.pi / 3
turned = torch.zeros(len(found))
for group in range(3):
    rows = groups == group
    offset = torch.exp(3j * (rotation - angle)[rows]).mean().angle() / 3
    turned[rows] = rotation[rows] - offset
off = torch.exp(3j * (turned - angle)).angle().abs() / 3
print(f"angle: off by {math.degrees(off.median()):.1f} degrees (median)")

null = torch.as_tensor(PCA(latent_dim).fit_transform(x.flatten(1)))
null_groups = torch.as_tensor(KMeans(3, n_init=10, random_state=0).fit_predict(null))
largest = float((species == species.mode().values).double().mean())
print(f"species, {largest:.3f} if all are called the most frequent")
for name, codes_of, clusters in (
    ("rotation apart", z, groups),
    ("principal components", null, null_groups),
):
    near = knn_probe(codes_of, species)
    alone = clustering_accuracy(clusters, species)
    print(f"  {name:<21} by neighbours in z {near:.3f}, by three groups of z {alone:.3f}")

# Groups have the colour of the species that most of them are.
colours = torch.stack([species[groups == g].mode().values for g in range(3)])
figure = plots.over_image(
    image,
    found,
    {
        "species, true": species,
        "groups of z": colours[groups],
        "null model: PCA 1": null[:, 0],
        "angle, true": angle,
        "angle, model": turned,
    },
    periods={"angle, true": third, "angle, model": third},
    classes=SPECIES,
    crop=(0, options.size // 2, options.size // 5, options.size // 5 + options.size // 2),
)
figure.savefig(options.out)

# The same network at every fourth pixel: no atoms have to be found.
maps = encode_windows(run, image, step=4)
print(f"windows encoded: {tuple(maps['z'].shape)}")
print(f"the maps: {options.out}")
