r"""Searches side by side: deep kernel, the same GP on fixed embeddings, and random places.

    python benchmarks/active/compare.py --out lattice.json
    python benchmarks/active/compare.py --data BEPS_PTO_50x50.h5 --with-position --steps 60 \
        --out beps.json

Each search starts from the same places for a seed, .5 % of all. ``--export`` writes what a search
by another program needs (``dklgpr.py``), whose file ``--also`` adds to the table.

With N places, of which K are the best 1 %, and n measurements, those at the start included:

- regret: the gap between the best place of all and the best one measured, over the gap at the
  median place;
- first: the measurements until the first of the K best; a search without one counts all it made;
- acceleration: (N + 1) / (K + 1), the mean of first of random places, over the mean of first;
- after the start: the same without the start that all share, over the seeds whose start has none
  of the best: (N - s + 1) / (K + 1) over the mean of first - s, with s places at the start;
- enhancement: the share of the K best that was measured, over n / N, the share that random places
  find on average (Liang et al., 2021, https://doi.org/10.1038/s41524-021-00656-9).

A search that is done already is read from the file.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import ppvae
from ppvae import plots
from ppvae.active import Search, Surrogate, calibration, explore
from ppvae.data import image_spectra, spectral_image
from ppvae.data.scalars import log_loop_area, loop_area
from ppvae.nets import MLP, Mean, ResidualEmbedding, heads
from ppvae.zoo.surrogates import deep_kernel_surrogate, inputs_of

METHODS = ("residual", "random", "components", "position", "vae")


def problem(path: Path | None):
    data = image_spectra() if path is None else spectral_image(path)
    axis = np.array([float(name.split()[0]) for name in data.names["spectrum"]])
    scalar = loop_area if path is None else log_loop_area
    y = scalar(axis, data["spectrum"].numpy())
    seen = np.isfinite(y)
    return data["x"][seen], data["position"][seen], y[seen]


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


class Constant(Surrogate):
    """The mean and deviation of the measurements so far, for random places."""

    def fit(self, x, y, noise=None):
        self.center, self.unit = y.double().mean(0), y.double().std(0)

    def joint(self, x):
        mean = self.center.expand(*x.shape[:-1], -1)
        return mean, torch.zeros(*x.shape[:-2], 1, x.shape[-2], x.shape[-2]).double()

    def noise_variance(self):
        return self.unit.square()


def surrogate_of(method, x, used, seed, args):
    if method == "random":
        return Constant()
    embedding = method if method in ("residual", "components", "position") else "components"
    extra = {"dim": 6} if method == "vae" else {}
    return deep_kernel_surrogate(
        x,
        position=used,
        embedding=encoder(x, seed=seed) if method == "vae" else embedding,
        ensemble=args.ensemble,
        seed=seed,
        **extra,
    )


def search(method, x, position, y, seed, args):
    used = position if method == "position" or args.with_position else None
    times = []
    done = explore(
        surrogate_of(method, x, used, seed, args),
        inputs_of(x, used),
        lambda place: y[place],
        "random" if method == "random" else args.acquisition,
        args.start + args.steps,
        start=args.start,
        seed=seed,
        progress=lambda _: times.append(time.process_time()),
    )
    return {
        "method": method,
        "seed": seed,
        "start": args.start,
        "places": done.places,
        "mean": [step.mean for step in done.steps],
        "scale": [step.scale for step in done.steps],
        "seconds": np.diff(times).tolist(),
    }


def measures(row, y):
    """Curves and numbers of one search."""
    places, start = row["places"], row["start"]
    best = set(np.argsort(y)[::-1][: max(1, round(0.01 * len(y)))].tolist())
    span = y.max() - np.median(y)
    hits = np.array([place in best for place in places])
    found = np.cumsum(hits)
    regret = (y.max() - np.maximum.accumulate(y[places])) / span
    predicted = [
        torch.tensor([np.nan if v is None else v for v in row[name]], dtype=torch.float64)
        for name in ("mean", "scale")
    ]
    judged = calibration(torch.from_numpy(y[places]), *predicted)
    return {
        "regret": regret,
        "found": found,
        "regret at 50": regret[min(start + 50, len(places)) - 1],
        "regret at end": regret[-1],
        "best 1 %": found[-1],
        "best 25": len(set(np.argsort(y)[::-1][:25].tolist()) & set(places)),
        "of the largest": (y[places].max() - np.median(y)) / span,
        "first": 1 + int(hits.argmax()) if hits.any() else len(places),
        "enhancement": found[-1] / len(best) / (len(places) / len(y)),
        "nlpd": -judged.log_density,
        "coverage": judged.coverage,
        "seconds": float(np.median(row["seconds"])),
    }


def mean_error(values):
    values = np.asarray(values, dtype=float)
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{values.mean():.3g} ({error:.2g})"


def summary(rows, y):
    """A table in Markdown: mean and standard error over the seeds of each method."""
    names = ("regret at 50", "regret at end", "best 1 %", "best 25", "first", "enhancement")
    names += ("nlpd", "coverage", "seconds")
    results = {}
    for row in rows:
        results.setdefault(row["method"], {})[row["seed"]] = measures(row, y)
    print("| method | seeds | " + " | ".join(names) + " | acceleration | after the start |")
    print("|" + "---|" * (len(names) + 4))
    best = max(1, round(0.01 * len(y)))
    for method, own in results.items():
        cells = [mean_error([found[name] for found in own.values()]) for name in names]
        first = np.array([found["first"] for found in own.values()])
        start = next(row["start"] for row in rows if row["method"] == method)
        later = first[first > start] - start
        cells.append(f"{(len(y) + 1) / (best + 1) / first.mean():.2f}")
        cells.append(f"{(len(y) - start + 1) / (best + 1) / later.mean():.2f} ({len(later)})")
        print(f"| {method} | {len(own)} | " + " | ".join(cells) + " |")
    deep = results.get("residual", {})
    for method, own in results.items():
        shared = sorted(set(own) & set(deep))
        if method == "residual" or not shared:
            continue
        gaps = {
            name: mean_error([own[seed][name] - deep[seed][name] for seed in shared])
            for name in ("regret at 50", "regret at end", "best 1 %", "nlpd")
        }
        print(f"{method} less deep kernel, same seeds:", gaps)
    return results


def figure(results, path):
    """Curves over the measurements with bands of two standard errors."""
    for name, label in (("regret", "simple regret"), ("found", "best 1 % found")):
        curves = {m: np.stack([f[name] for f in own.values()]) for m, own in results.items()}
        curves = {"deep kernel" if m == "residual" else m: c for m, c in curves.items()}
        drawn = plots.learning_curves(curves, ylabel=label)
        drawn.savefig(path.with_name(f"{path.stem}-{name}{path.suffix}"), dpi=110)


def export(path, x, y, args):
    """What another program needs: the principal components that the network sees, and starts."""
    net = ResidualEmbedding(x.reshape(len(x), -1), 6, components=24)
    parts = (x.reshape(len(x), -1) - net.center) @ net.axes
    starts = []
    for seed in range(args.seeds):
        search = Search(Constant(), inputs_of(x), "random", start=args.start, seed=seed)
        starts.append(search.ask())
    np.savez(path, x=parts.numpy(), y=y, starts=np.array(starts))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100, help="measurements after the start")
    parser.add_argument("--start", type=int, help="measurements at random (default .5 %%)")
    parser.add_argument("--acquisition", default="log-ei")
    parser.add_argument("--ensemble", type=int, default=3)
    parser.add_argument("--with-position", action="store_true")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="results of others")
    parser.add_argument("--export", type=Path, help="write components, y and starts (.npz), stop")
    parser.add_argument("--figure", type=Path, help="write learning curves, such as curves.png")
    args = parser.parse_args()
    torch.set_num_threads(1)
    x, position, y = problem(args.data)
    args.start = args.start or round(0.005 * len(y))
    if args.export:
        export(args.export, x, y, args)
        return
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    for seed in range(args.seeds):
        for method in args.methods:
            if any(row["seed"] == seed and row["method"] == method for row in rows):
                continue
            rows.append(search(method, x, position, y, seed, args))
            args.out.write_text(json.dumps(rows))
            numbers = measures(rows[-1], y)
            print(method, seed, {k: v for k, v in numbers.items() if np.ndim(v) == 0}, flush=True)
    for path in args.also:
        rows += json.loads(path.read_text())
    results = summary(rows, y)
    if args.figure:
        figure(results, args.figure)


if __name__ == "__main__":
    main()
