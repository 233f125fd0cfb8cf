"""Rotations found in pictures of a turned solid, against the true ones.

python -m benchmarks.spheres.rotations [--solid tripod] [--decoder points] [--search 1000]

The median error after one change of frame, up to the solid's symmetries: of the guide, and of the
best of 2,000 rotations of the decoder's own pictures, which no encoder limits.
"""

import argparse
import json
import math
import time

import torch

import ppvae
from ppvae.data import symmetries, turned_solids
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


def ratios(run):
    """Of codes along turns of the model's own pictures about three axes."""
    angle = torch.linspace(0, 2 * math.pi, 121)[:, None]
    found = []
    for axis in torch.eye(3):
        turned = exp_rotation(angle * axis)
        pictures = run.decode({"z": torch.zeros(121, 2), "rotation": turned})["x"]
        found.append(path_ratio(pictures, run.encode({"x": pictures})["rotation"]))
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--solid", default="tripod")
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
    pair = ppvae.zoo.so3vae(data, decoder=given.decoder, search=given.search)
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
    x = torch.as_tensor(data.test["x"]).float() / 255
    true, same = torch.as_tensor(data.test["orientation"]), symmetries(given.solid)
    result = {
        **vars(given),
        "cpu_seconds": spent,
        "error": degrees(rotation_errors(run.encode(data.test)["rotation"], true, same)),
        "error_of_search": degrees(rotation_errors(nearest(run, x, 2000), true, same)),
        "path_ratios": ratios(run),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
