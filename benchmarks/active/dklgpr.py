"""atomai's dklGPR searching the same places, in an environment of its own.

    python benchmarks/active/compare.py --export common.npz --seeds 10
    python benchmarks/active/dklgpr.py common.npz --out dklgpr.json     # pip install atomai six
    python benchmarks/active/compare.py --also dklgpr.json --out lattice.json

The network is that of our deep kernel: principal components plus a network (32, 32) on 24 of them,
whose last layer begins near zero. Everything else is atomai's: an embedding of two dimensions,
KISS-GP on a grid, a model from scratch at each step, Thompson sampling. Measurements are
standardised at each step, as its tutorials do beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn


def import_dklgpr():
    """dklGPR; torchvision, which it does not use, is replaced where it does not load."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        names = {"": [], ".models": ["mobilenet_v2", "resnet50", "vgg16"], ".utils": ["make_grid"]}
        for suffix, members in names.items():
            module = types.ModuleType(f"torchvision{suffix}")
            for member in members:
                setattr(module, member, None)
            sys.modules[module.__name__] = module
    from atomai.models import dklGPR

    return dklGPR


class Residual(nn.Module):
    """The first components plus a network on all."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.net = nn.Sequential(
            nn.Linear(size, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, dim)
        )
        nn.init.normal_(self.net[-1].weight, std=1e-3)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x):
        return x[..., : self.dim] + self.net(x)


def search(dklgpr, x, y, start, seed, args):
    places = [int(place) for place in start]
    mean, scale = [None] * len(places), [None] * len(places)
    seconds = []
    while len(places) < len(start) + args.steps:
        began = time.process_time()
        center, unit = y[places].mean(), max(y[places].std(), 1e-9)
        model = dklgpr(x.shape[1], embedim=args.dim, precision="double", seed=seed)
        torch.manual_seed(1000 * seed + len(places))
        free = np.setdiff1d(np.arange(len(x)), places)
        # It prints its loss and warns of its own use of jitter.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = {} if args.own_network else {"feature_extractor": Residual}
            model.fit(
                x[places], (y[places] - center) / unit, training_cycles=args.cycles, **network
            )
            _, chosen = model.thompson(x[free])
            place = int(free[int(chosen[0])])
            m, v = model.predict(x[[place, place]])
        noise = float(model.likelihood.noise.detach().reshape(-1)[0])
        places.append(place)
        mean.append(float(center + unit * m[0]))
        scale.append(float(unit * np.sqrt(max(float(v[0]), 0.0) + noise)))
        seconds.append(time.process_time() - began)
    return {
        "method": "dklGPR, its network" if args.own_network else "dklGPR",
        "seed": seed,
        "start": len(start),
        "places": places,
        "mean": mean,
        "scale": scale,
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("common", type=Path)
    parser.add_argument("--out", type=Path, default=Path("dklgpr.json"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--cycles", type=int, default=200, help="steps of Adam per fit")
    parser.add_argument("--dim", type=int, default=2, help="size of the embedding")
    parser.add_argument("--own-network", action="store_true", help="atomai's default network")
    args = parser.parse_args()
    torch.set_num_threads(1)
    common = np.load(args.common)
    dklgpr = import_dklgpr()
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    for seed in range(args.seeds):
        if all(row["seed"] != seed for row in rows):
            x = common["x"].astype(np.float64)
            rows.append(search(dklgpr, x, common["y"], common["starts"][seed], seed, args))
            args.out.write_text(json.dumps(rows))
            print(seed, np.median(rows[-1]["seconds"]), max(common["y"][rows[-1]["places"]]))


if __name__ == "__main__":
    main()
