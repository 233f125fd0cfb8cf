"""Atoms of a micrograph: their species and the angle of the lattice, from patches alone.

An image of a honeycomb lattice is simulated (ppvae.data.lattice): two sublattices, dopants,
vacancies, three domains at different angles, strain, drift and the noise of counts, all known.
Atoms are found as maxima of the smoothed image, and a patch is cut around each. A VAE with the
rotation as a latent site separates the angle from the content z. Both are mapped back onto the
image, beside the truth. The null model has as many principal components of the same patches, which
do not know that a patch can be turned. Run: python examples/atoms.py

A micrograph of your own: `--image FILE` (.dm3, .dm4 and .emd with the package rosettasciio, .tif,
.png), and `--spacing`, the pixels between nearest atoms. The maps are drawn without a truth
beside them. Positions that another package found, such as atomap, serve as well: from "A patch
around each atom" on everything stays as it is. A real one, MoS2 with implanted selenium, lies in
the wheel of temul-toolkit (`pip download --no-deps temul-toolkit`, a zip file of 13 MB):
`python examples/atoms.py --image example_Se_implanted_MoS2.dm3 --spacing 14.4 --epochs 10`.
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
parser.add_argument("--size", type=int, default=512, help="side of the simulated image in pixels")
parser.add_argument(
    "--image", default=None, help="file of a micrograph, in place of the simulated"
)
parser.add_argument("--spacing", type=float, default=8, help="pixels between nearest atoms")
parser.add_argument("--smooth", type=float, default=1.5, help="width of the smoothing in pixels")
parser.add_argument("--out", default="atoms.png", help="picture of the maps")
options = parser.parse_args()

third = 2 * math.pi / 3
patch = 2 * round(1.5 * options.spacing)  # an atom and its nearest neighbours
truth = None
if options.image is None:
    image, truth, _ = ppvae.data.lattice(size=options.size, patch=patch)
else:
    # Without what varies over several atoms, such as dirt, and scaled to about 0 to 1.
    image = ppvae.data.images(options.image, channels=1)["x"][0, 0].float()
    image = image - torch.as_tensor(gaussian_filter(image.numpy(), 4 * options.spacing))
    low, high = np.quantile(image, [0.01, 0.999])
    image = ((image - low) / (high - low)).clamp(0, 1)

# Atoms: maxima of the smoothed image, above the noise and not at its edge.
smooth = gaussian_filter(image.numpy(), options.smooth)
near = 2 * int(options.spacing / 4) + 1
level = 0.15 if options.image is None else float(np.median(smooth))
found = torch.as_tensor(np.argwhere((smooth == maximum_filter(smooth, near)) & (smooth > level)))
edge = patch / 2
last = torch.tensor(image.shape) - 1 - edge
found = found[((found >= edge) & (found <= last)).all(1)].float()
print(f"{len(found)} maxima")

# What is known of each: that of the nearest true atom, if it is within 3 pixels.
if truth is not None:
    distance, nearest = cKDTree(truth["position"]).query(found)
    found, nearest = found[distance < 3], torch.as_tensor(nearest[distance < 3])
    print(f"{truth.num_rows} atoms, {len(found)} maxima within 3 pixels of one")
    species, angle = truth["y"][nearest], truth["angle"][nearest]

# A patch around each atom. A VAE whose decoder samples an angle and turns a canvas by it, and a
# guide that finds the angle first and encodes the patch turned back.
x = ppvae.data.patches(image, found, patch)
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
groups = torch.as_tensor(KMeans(3, n_init=10, random_state=0).fit_predict(z)).long()
turned = torch.zeros(len(found))
null = torch.as_tensor(PCA(latent_dim).fit_transform(x.flatten(1)))

if truth is None:
    # Groups in the order of the brightness at the atom, which the model was not told.
    bright = torch.as_tensor(smooth[tuple(found.long().T)])
    order = torch.stack([bright[groups == g].mean() for g in range(3)]).argsort()
    groups, names = order.argsort()[groups], ("dark", "middle", "bright")
    # Angles off the mean of the group, as each group has its own zero.
    for g, name in enumerate(names):
        rows = groups == g
        zero = torch.exp(3j * rotation[rows]).mean()
        turned[rows] = torch.rad2deg(torch.exp(3j * rotation[rows]).div(zero).angle() / 3)
        print(f"  {name:<6} {int(rows.sum()):>5} atoms, brightness {bright[rows].mean():.2f}")
    columns = {
        "groups of z": groups,
        "z 1": z[:, 0],
        "z 2": z[:, 1],
        "angle off the mean (°)": turned,
        "null model: PCA 1": null[:, 0],
    }
    periods = {}
else:
    # The lattice's angle is known up to a third of a turn. Each group has its own zero of the
    # angle, which no model can know: that of the truth is used.
    for g in range(3):
        rows = groups == g
        offset = torch.exp(3j * (rotation - angle)[rows]).mean().angle() / 3
        turned[rows] = rotation[rows] - offset
    off = torch.exp(3j * (turned - angle)).angle().abs() / 3
    print(f"angle: off by {math.degrees(off.median()):.1f} degrees (median)")

    null_groups = torch.as_tensor(KMeans(3, n_init=10, random_state=0).fit_predict(null))
    largest = float((species == species.mode().values).double().mean())
    print(f"species, {largest:.3f} if all are called the most frequent")
    for name, codes_of, clusters in (
        ("rotation apart", z, groups),
        ("principal components", null, null_groups),
    ):
        of_near = knn_probe(codes_of, species)
        alone = clustering_accuracy(clusters, species)
        print(f"  {name:<21} by neighbours in z {of_near:.3f}, by three groups of z {alone:.3f}")

    # Groups have the colour of the species that most of them are.
    colours = torch.stack([species[groups == g].mode().values for g in range(3)])
    columns = {
        "species, true": species,
        "groups of z": colours[groups],
        "null model: PCA 1": null[:, 0],
        "angle, true": angle,
        "angle, model": turned,
    }
    periods, names = {"angle, true": third, "angle, model": third}, SPECIES

left, side = image.size(1) // 5, round(32 * options.spacing)
crop = (0, side, left, left + side)
figure = plots.over_image(image, found, columns, periods=periods, classes=names, crop=crop)
figure.savefig(options.out)

# The same network at every fourth pixel: no atoms have to be found.
maps = encode_windows(run, image, step=4)
print(f"windows encoded: {tuple(maps['z'].shape)}")
print(f"the maps: {options.out}")
