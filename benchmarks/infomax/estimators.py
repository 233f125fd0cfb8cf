"""Estimators of mutual information on correlated normals, whose information is known.

Pairs (a, b) of dimension 1, 5 and 20 with 0.5 to 10 nats; each estimator trains a critic of its
own, of one form and size, on fresh samples. For each: the mean and the standard deviation of the
batches' estimates over the last half of training, with and without its drift, and the estimate of
10,000 fresh pairs after it. To show: MINE within 5 % up to 5 nats, and its estimate's deviation at
most a third of that of plain Donsker-Varadhan.
Run: python benchmarks/infomax/estimators.py --json estimators.json --plot estimators.png
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

from ppvae.objectives import (
    MINE,
    NWJ,
    SMILE,
    DonskerVaradhan,
    InfoNCE,
    critic_between,
    measure,
    train_critic,
)

ESTIMATORS = {
    "MINE": MINE,
    "DV": DonskerVaradhan,
    "InfoNCE": InfoNCE,
    "NWJ": NWJ,
    "SMILE": SMILE,
}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "--estimators",
    nargs="*",
    default=list(ESTIMATORS),
    choices=ESTIMATORS,
    help="none: show what --json holds",
)
parser.add_argument("--dims", type=int, nargs="+", default=[1, 5, 20])
parser.add_argument("--nats", type=float, nargs="+", default=[0.5, 1.0, 2.0, 3.5, 5.0, 10.0])
parser.add_argument("--steps", type=int, default=1500)
parser.add_argument("--batch-size", type=int, default=256)
parser.add_argument("--learning-rate", type=float, default=2e-3)
parser.add_argument("--hidden", type=int, default=128)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--json", type=Path, help="add the results to this file")
parser.add_argument("--plot", type=Path, help="draw the estimates of all results, here")
options = parser.parse_args()


def correlated(nats, dim, rows):
    rho = math.sqrt(1 - math.exp(-2 * nats / dim))
    a = torch.randn(rows, dim)
    return a, rho * a + math.sqrt(1 - rho**2) * torch.randn(rows, dim)


def oscillation(estimates):
    """Their deviation from a parabola: without the drift of a critic that still learns."""
    at = np.arange(len(estimates))
    return float((estimates.numpy() - np.polyval(np.polyfit(at, estimates.numpy(), 2), at)).std())


def train(name, dim, nats):
    torch.manual_seed(options.seed)
    critic = critic_between((dim,), (dim,), hidden=[options.hidden] * 2)
    estimator = ESTIMATORS[name]()
    started = time.perf_counter()
    estimates = train_critic(
        critic,
        estimator,
        lambda: correlated(nats, dim, options.batch_size),
        steps=options.steps,
        learning_rate=options.learning_rate,
    )
    half = estimates[options.steps // 2 :]
    # In blocks as large as the batches: InfoNCE's limit is the logarithm of their size.
    found = measure(critic, estimator, *correlated(nats, dim, 10_000), block=options.batch_size)
    return {
        "estimator": name,
        "dim": dim,
        "nats": nats,
        "fresh": found,
        "mean": float(half.mean()),
        "deviation": float(half.std()),
        "oscillation": oscillation(half),
        "seconds": time.perf_counter() - started,
        "estimates": [round(v, 3) for v in estimates[::5].tolist()],
    }


def plot(results, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    dims = sorted({r["dim"] for r in results})
    colours = {name: f"C{i}" for i, name in enumerate(ESTIMATORS)}
    axes = figure.subplots(2, len(dims), squeeze=False)
    for column, dim in enumerate(dims):
        top, bottom = axes[:, column]
        here = [r for r in results if r["dim"] == dim]
        truth = max(r["nats"] for r in here)
        top.plot([0, truth], [0, truth], color="0.6", linewidth=1, label="truth")
        for name in ESTIMATORS:
            points = sorted((r["nats"], r["fresh"]) for r in here if r["estimator"] == name)
            if points:
                style = {"color": colours[name], "marker": "o", "markersize": 3}
                top.plot(*zip(*points, strict=True), label=name, **style)
        for name in ("DV", "MINE"):
            for r in here:
                if r["estimator"] == name and r["nats"] == 5.0:
                    steps = torch.arange(len(r["estimates"])) * 5
                    style = {"color": colours[name], "linewidth": 0.8}
                    bottom.plot(steps, r["estimates"], label=name, **style)
        bottom.axhline(5.0, color="0.6", linewidth=1)
        bottom.set(xlabel="step of the critic", ylim=(0, 8))
        top.set(title=f"dimension {dim}", xlabel="true nats", ylim=(0, 1.15 * truth))
    axes[0, 0].set_ylabel("estimate, nats")
    axes[1, 0].set_ylabel("a batch's estimate, nats")
    axes[0, 0].legend(fontsize=7)
    axes[1, 0].legend(fontsize=7)
    figure.savefig(path, dpi=130)


results = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
for name in options.estimators:
    for dim in options.dims:
        for nats in options.nats:
            results.append(train(name, dim, nats))
            shown = {k: v for k, v in results[-1].items() if k != "estimates"}
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in shown.items()})
            if options.json:
                options.json.write_text(json.dumps(results) + "\n", encoding="utf-8")

print("| dim | nats | " + " | ".join(ESTIMATORS) + " |")
print("|---" * (2 + len(ESTIMATORS)) + "|")
for dim in sorted({r["dim"] for r in results}):
    for nats in sorted({r["nats"] for r in results}):
        row = {r["estimator"]: r for r in results if (r["dim"], r["nats"]) == (dim, nats)}
        text = (
            f"{row[n]['fresh']:.2f} (± {row[n]['deviation']:.2f})" if n in row else ""
            for n in ESTIMATORS
        )
        print(f"| {dim} | {nats:g} | " + " | ".join(text) + " |")
if options.plot:
    plot(results, options.plot)
