"""Rotations found in pictures of a turned solid, against the true ones.

python -m benchmarks.spheres.rotations [--solid tripod] [--decoder points] [--search 1000]
python -m benchmarks.spheres.rotations --latent normal

The median error after one change of frame, up to the solid's symmetries: of the guide, and of the
best of 2,000 rotations of the decoder's own pictures, which no encoder limits. Path ratios of the
codes along full turns of the solid about three axes, which are near 1 where a code is continuous,
and of the codes of the model's own pictures. With ``--latent normal`` a plain VAE with the same
encoder's layers and ``--dims`` normal latents is fitted in its place, and has path ratios alone:
rotations fit into five dimensions without a tear, not into three or four.
"""

import argparse
import json
import math
import time

import torch

import ppvae
from ppvae.data import render, symmetries, turned_solids
from ppvae.data.solids import solid
from ppvae.distributions import exp_rotation
from ppvae.distributions.rotations import spread_rotations
from ppvae.evaluate import path_ratio, rotation_errors


def degrees(errors):
    return math.degrees(errors.median())


def nearest(run, x, count):
    """The rotations at which the decoder's pictures are nearest, at the centre of the contents."""
    grid = spread_rotations(count)
    pictures = run.decode({"z": torch.zeros(count, 2), "rotation": grid})["x"]
    return grid[torch.cdist(x.flatten(1), pictures.flatten(1)).argmin(1)]


def turns():
    """Rotations along a full turn about each of three axes, with shape (3, 121, 3, 3)."""
    angle = torch.linspace(0, 2 * math.pi, 121)[:, None]
    return torch.stack([exp_rotation(angle * axis) for axis in torch.eye(3)])


def ratios(run, site, pictures):
    """Of the codes of a site along paths of pictures."""
    return [path_ratio(x, run.encode({"x": x})[site]) for x in pictures]


def own(run, turned):
    """The model's own pictures at these rotations, at the centre of the contents."""
    z = torch.zeros(turned.shape[1], 2)
    return [run.decode({"z": z, "rotation": path})["x"].clamp(0, 1) for path in turned]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--solid", default="tripod")
    parser.add_argument("--latent", choices=("rotation", "normal"), default="rotation")
    parser.add_argument("--dims", type=int, default=3, help="number of normal latents")
    parser.add_argument("--decoder", default="points")
    parser.add_argument("--num", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--search", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    data = turned_solids(given.solid, num=given.num, seed=given.seed)
    if given.latent == "rotation":
        pair = ppvae.zoo.so3vae(data, decoder=given.decoder, search=given.search)
    else:
        pair = ppvae.zoo.vae(data, latent_dim=given.dims, hidden=(512, 256), likelihood="normal")
    start = time.process_time()
    run = ppvae.fit(
        pair.model,
        pair.guide,
        data,
        pair.objective,
        epochs=given.epochs,
        batch_size=given.batch_size,
        learning_rate=2e-3,
        seed=given.seed,
        progress=False,
    )
    spent = time.process_time() - start
    paths, shown = turns(), solid(given.solid)
    rendered = [render(shown, path, size=28).float() / 255 for path in paths]
    result = {**vars(given), "cpu_seconds": spent}
    if given.latent == "rotation":
        x = torch.as_tensor(data.test["x"]).float() / 255
        true, same = torch.as_tensor(data.test["orientation"]), symmetries(given.solid)
        errors = rotation_errors(run.encode(data.test)["rotation"], true, same)
        result |= {
            "error": degrees(errors),
            "beyond_45": float((errors > math.pi / 4).float().mean()),
            "error_of_search": degrees(rotation_errors(nearest(run, x, 2000), true, same)),
            "path_ratios": ratios(run, "rotation", rendered),
            "path_ratios_of_own_pictures": ratios(run, "rotation", own(run, paths)),
        }
    else:
        result["path_ratios"] = ratios(run, "z", rendered)
    elbo = ppvae.evaluate.log_likelihood(run, data.test, num_particles=100).elbo.mean()
    result["elbo"] = float(elbo)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
