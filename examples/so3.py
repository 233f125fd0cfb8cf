"""What a solid looks like, however it is turned: a rotation in space as a latent site.

A tripod is pictured at random rotations that the model never sees. It learns the solid as a cloud
of points and the rotation of each picture, up to one frame, which is its own to choose. The first
steps compare pictures of the model at all rotations with the data: no encoder knows its way yet.

Run: python examples/so3.py --epochs 60 --out turned.png. For a quick look: --fast. A mesh of your
own is a solid, too: --mesh FILE.npz with the arrays "vertices" (V, 3) and "faces" (F, 3).
"""

import argparse
import math

import numpy as np
import torch

import ppvae
from ppvae import plots
from ppvae.data import mesh_solid, turned_solids
from ppvae.evaluate import path_ratio, rotation_errors

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--rows", type=int, default=3000, help="pictures")
parser.add_argument("--mesh", default=None, help="file with vertices and faces")
parser.add_argument("--out", default=None, help="image file to write: pictures and decoded ones")
parser.add_argument("--fast", action="store_true", help="2 epochs of 300 pictures")
options = parser.parse_args()
epochs, rows = (2, 300) if options.fast else (options.epochs, options.rows)

solids = ["tripod"]
if options.mesh:
    with np.load(options.mesh) as arrays:
        solids = [
            mesh_solid(torch.as_tensor(arrays["vertices"]), torch.as_tensor(arrays["faces"]))
        ]
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
