"""Objects that were not in training, from 1, 2 and 4 of their views.

    python benchmarks/gp/new_objects.py --seeds 0..4 --json results/new_objects.json

The zoo's ``gpvae`` is trained on 360 of the 400 threes (protocol of ppvae.data.rotated_digits);
of each of the other 40 it is shown k views, evenly spread from a random one of the 15 seen
angles, and asked for all the others, the angle unseen in training included. Methods:

    gp           the object's features from the encoded views in closed form, decode(f* . m)
    latents      the encoded views' latents interpolated between the two nearest angles, decoded
    nearest      a copy of the shown view with the nearest angle
    pixels       the two nearest shown views, mixed in proportion to their angles
"""

import argparse
import json
import math
from pathlib import Path

import torch
from common import (
    TURN,
    Clock,
    build,
    columns,
    decode,
    encode,
    image_errors,
    mean_and_error,
    seeds,
    train,
    write,
)

from ppvae.data import rotated_digits
from ppvae.gp import infer_objects, interpolate_latents, latents_of

ANGLES = 16
HELD_OUT = 7


def new_grid(first):
    """Images of the objects from ``first`` on at every angle: (P, Q, C, H, W)."""
    parts = rotated_digits(drop=0.0, validation=0.0, held_out=HELD_OUT)
    grid = None
    for part in (parts.train, parts.test):
        x, objects, views = columns(part)
        chosen = objects >= first
        angle = (views[chosen] / TURN * ANGLES).round().long()
        if grid is None:
            grid = torch.zeros(400 - first, ANGLES, *x.shape[1:])
        grid[objects[chosen] - first, angle] = x[chosen]
    return grid


def shown_angles(objects, k, generator):
    """k evenly spread angles of each object, the held-out one never among them: (P, k)."""
    steps = (torch.arange(k) * ANGLES) // k
    shown = torch.zeros(objects, k, dtype=torch.int64)
    for row in range(objects):
        while True:
            start = torch.randint(ANGLES, (1,), generator=generator)
            angles = (start + steps) % ANGLES
            if (angles != HELD_OUT).all():
                shown[row] = angles
                break
    return shown


def predictions(model, guide, grid, shown):
    """Method to predicted images of every object at every angle, with shape (P Q, C, H, W)."""
    count, k = shown.shape
    objects = torch.arange(count).repeat_interleave(k)
    views = (shown * TURN / ANGLES).flatten()
    images = grid[objects, shown.flatten()]
    all_objects = torch.arange(count).repeat_interleave(ANGLES)
    all_views = torch.arange(ANGLES).repeat(count) * TURN / ANGLES
    at = {"at_objects": all_objects, "at_views": all_views, "period": TURN}
    codes = encode(guide.encoder, images)
    features = infer_objects(model.prior, codes, objects, views)
    gp = latents_of(model.prior, features[all_objects], all_views).mean
    latents = interpolate_latents(codes, objects, views, **at)
    flat = images.flatten(1)
    mixed = interpolate_latents(flat, objects, views, **at)
    gap = (all_views[:, None] - (shown * TURN / ANGLES)[all_objects] + math.pi) % TURN - math.pi
    nearest = gap.abs().argmin(1)
    return {
        "gp": decode(model.decoder, gp)[0],
        "latents": decode(model.decoder, latents)[0],
        "nearest": grid[all_objects, shown[all_objects, nearest]],
        "pixels": mixed.reshape(-1, *grid.shape[2:]),
    }


def measure(options, seed):
    torch.manual_seed(seed)
    splits = rotated_digits(num_objects=options.objects, seed=seed)
    model, guide, objective = build(splits.train, **options.settings)
    fast = model.prior.parameters()
    with Clock() as clock:
        train(model, guide, splits, objective, epochs=options.epochs, seed=seed, fast=fast)
    grid = new_grid(360)
    truth = grid.flatten(0, 1)
    generator = torch.Generator().manual_seed(seed)
    found = {"seed": seed, "train_cpu_seconds": clock.cpu}
    for k in (1, 2, 4):
        shown = shown_angles(len(grid), k, generator)
        asked = torch.ones(len(grid), ANGLES, dtype=torch.bool).scatter_(1, shown, False)
        for method, images in predictions(model, guide, grid, shown).items():
            errors = image_errors(images, truth)[asked.flatten()]
            found[f"{method}, {k} views"] = float(errors.mean())
    print(json.dumps(found), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=seeds, default=[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--objects", type=int, default=360, help="at most 360; fewer for a trial")
    parser.add_argument("--settings", type=json.loads, default={}, help="options of gpvae, JSON")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = [measure(options, seed) for seed in options.seeds]
    print("| method | 1 view | 2 views | 4 views |\n|---|---|---|---|")
    for method in ("gp", "latents", "nearest", "pixels"):
        cells = [mean_and_error([run[f"{method}, {k} views"] for run in runs]) for k in (1, 2, 4)]
        print(f"| {method} | " + " | ".join(f"{m:.4f} ± {e:.4f}" for m, e in cells) + " |")
    if options.json:
        write(options.json, {"epochs": options.epochs, "runs": runs})


if __name__ == "__main__":
    main()
