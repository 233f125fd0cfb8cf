"""Searches side by side: deep kernel, the same GP on fixed embeddings, and random places.

    python benchmarks/active/compare.py --seeds 3 --budget 60 --out results.json
    python benchmarks/active/compare.py --data BEPS_PTO_50x50.h5 --out beps.json

Each search starts from the same places for a seed. Simple regret is the gap between the best
place of all and the best one measured, over the gap at the median place; ``top`` is how many of
the best 1 % of the places were measured. A search that is done already is read from the file.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import ppvae
from ppvae.active import explore
from ppvae.data import image_spectra, spectral_image
from ppvae.data.scalars import log_loop_area, loop_area
from ppvae.nets import MLP, Mean, heads
from ppvae.zoo.surrogates import deep_kernel_surrogate, inputs_of

METHODS = ("random", "components", "residual", "position", "vae")


def problem(path: Path | None, with_position: bool):
    data = image_spectra() if path is None else spectral_image(path)
    axis = np.array([float(name.split()[0]) for name in data.names["spectrum"]])
    scalar = loop_area if path is None else log_loop_area
    y = scalar(axis, data["spectrum"].numpy())
    seen = np.isfinite(y)
    x, position = data["x"][seen], data["position"][seen]
    return x, position, y[seen], position if with_position else None


def encoder(x, dim=6, seed=0):
    """The encoder of a VAE of all patches, for a GP on its means."""
    flat = x.reshape(len(x), -1)
    flat = (flat - flat.mean()) / flat.std()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        size = flat.shape[1]
        net = MLP(size, heads.DiagonalNormal(dim), hidden=(128, 64))
        decoder = MLP(dim, heads.Normal((size,)), hidden=(64, 128))
    model = ppvae.models.VAE(decoder, latent_dim=dim)
    guide = ppvae.guides.AmortizedGuide(net)
    ppvae.fit(model, guide, {"x": flat}, epochs=40, batch_size=128, seed=seed, progress=False)
    return torch.nn.Sequential(Scaled(x.mean(), x.std()), net, Mean()).requires_grad_(False)


class Scaled(torch.nn.Module):
    def __init__(self, center, unit):
        super().__init__()
        self.register_buffer("center", center)
        self.register_buffer("unit", unit)

    def forward(self, x):
        return (x - self.center) / self.unit


def search(method, x, position, y, used, seed, args):
    if method == "position":
        used = position
    embedding = method if method in ("residual", "components", "position") else "components"
    extra = {}
    if method == "vae":
        embedding, extra = encoder(x, seed=seed), {"dim": 6}
    surrogate = deep_kernel_surrogate(
        x,
        position=used,
        embedding=embedding,
        ensemble=args.ensemble,
        steps=args.steps,
        first_steps=args.first_steps,
        seed=seed,
        **extra,
    )
    times = []

    def timed(_):
        times.append(time.process_time())

    found = explore(
        surrogate,
        inputs_of(x, used),
        lambda place: y[place],
        "random" if method == "random" else args.acquisition,
        args.budget,
        start=args.start,
        seed=seed,
        progress=timed,
    )
    best = set(np.argsort(y)[::-1][: max(1, round(0.01 * len(y)))].tolist())
    span = y.max() - np.median(y)
    regret = [float((y.max() - v) / span) for v in np.maximum.accumulate(y[found.places])]
    top = np.cumsum([place in best for place in found.places]).tolist()
    said = found.calibration
    return {
        "method": method,
        "seed": seed,
        "regret": regret,
        "top": [int(n) for n in top],
        "of": len(best),
        "log_density": said.log_density,
        "coverage": said.coverage,
        "seconds": float(np.median(np.diff(times))),
    }


def summary(rows):
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        text = [f"{method:11} {len(own)} seeds"]
        for name in ("regret", "top", "log_density", "coverage", "seconds"):
            ends = [row[name][-1] if isinstance(row[name], list) else row[name] for row in own]
            error = np.std(ends, ddof=1) / len(ends) ** 0.5 if len(ends) > 1 else np.nan
            text.append(f"{name} {np.mean(ends):.3f} +- {error:.3f}")
        print("  ".join(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--start", type=int, default=15)
    parser.add_argument("--acquisition", default="log-ei")
    parser.add_argument("--ensemble", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--first-steps", type=int, default=200)
    parser.add_argument("--with-position", action="store_true")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    x, position, y, used = problem(args.data, args.with_position)
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    for seed in range(args.seeds):
        for method in args.methods:
            if any(row["seed"] == seed and row["method"] == method for row in rows):
                continue
            rows.append(search(method, x, position, y, used, seed, args))
            args.out.write_text(json.dumps(rows))
            print(method, seed, rows[-1]["regret"][-1], rows[-1]["top"][-1], flush=True)
    summary(rows)


if __name__ == "__main__":
    main()
