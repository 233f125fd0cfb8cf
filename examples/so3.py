"""What a solid looks like, however it is turned: a rotation in space as a latent site.

A tripod is pictured at random rotations that the model never sees. It learns the solid as a cloud
of points and the rotation of each picture, up to one frame, which is its own to choose. The first
steps compare pictures of the model at all rotations with the data: no encoder knows its way yet.

Run: python examples/so3.py --epochs 60 --out turned.png. For a quick look: --fast. A mesh is a
solid, too: --mesh FILE.gii (a surface in GIFTI; pip install nibabel) or FILE.npz, with the arrays
"vertices" (V, 3) and "faces" (F, 3); --mesh brain is the left half of the brain that nilearn comes
with (pip install nilearn).
"""

import argparse
import math
from importlib.resources import files

import numpy as np
import torch

import ppvae
from ppvae import plots
from ppvae.data import mesh_solid, turned_solids
from ppvae.evaluate import path_ratio, rotation_errors

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--rows", type=int, default=3000, help="pictures")
parser.add_argument("--mesh", default=None, help="file with vertices and faces, or brain")
parser.add_argument("--out", default=None, help="image file to write: pictures and decoded ones")
parser.add_argument("--fast", action="store_true", help="2 epochs of 300 pictures")
options = parser.parse_args()
epochs, rows = (2, 300) if options.fast else (options.epochs, options.rows)


def mesh(path):
    """Vertices and faces of a file."""
    if path == "brain":
        path = str(files("nilearn") / "datasets/data/fsaverage5/pial_left.gii.gz")
    if ".gii" in path:
        import nibabel

        return nibabel.load(path).agg_data(("pointset", "triangle"))
    with np.load(path) as arrays:
        return arrays["vertices"], arrays["faces"]


solids = ["tripod"]
if options.mesh:
    solids = [mesh_solid(*(torch.as_tensor(values) for values in mesh(options.mesh)))]
data = turned_solids(*solids, num=rows, size=20)

# p(z) p(R) p(x | z, R), R uniform; the decoder turns its cloud of points by R.
steps = math.ceil(data.train.num_rows / 64) * epochs
model, guide, objective = ppvae.zoo.so3vae(data, points=32, search=max(1, 3 * steps // 4))
run = ppvae.fit(model, guide, data, objective, epochs=epochs, batch_size=64, seed=0)

codes = run.encode(data.test)
rotations = codes["rotation"]
errors = rotation_errors(rotations, torch.as_tensor(data.test["orientation"]))
print(f"rotation error, median  {math.degrees(errors.median()):.1f} degrees")

# Decoded pictures along a full turn, and their encoded rotations.
angle = torch.linspace(0, 2 * math.pi, 91)
turn = ppvae.distributions.exp_rotation(angle[:, None] * torch.tensor([0.0, 0.0, 1.0]))
pictures = run.decode({"rotation": turn, "z": torch.zeros(91, 2)})["x"]
ratio = path_ratio(pictures, run.encode({"x": pictures})["rotation"])
print(f"largest step of the encoded rotation over a usual one, along a full turn  {ratio:.1f}")

if options.out:
    decoded = run.decode({name: values[:10] for name, values in codes.items()})["x"]
    rows = [data.test.batch(slice(0, 10))["x"], decoded, pictures[:90:9]]
    labels = ["test picture", "decoded at its\nencoded rotation", "decoded along\na full turn"]
    plots.images(torch.stack(rows), row_labels=labels).savefig(options.out)
