"""Both two-stage InfoMax-VAEs against the one-stage InfoMax-VAE and the plain VAE, on cells.

alpha = beta = 1, gamma = 0.8 and a small code of three dimensions, as in the notes that
proposed the models. The VAE is also fitted with a weight of the KL that rises from 0 to 1 in 500
steps, as the plain one may end without an active unit. Stable: all losses are finite, the loss
ends lower than it was after a tenth of the epochs, and over the last half no epoch's loss is off
the trend by more than a tenth of what was gained in all.
Run: python benchmarks/infomax/two_stage.py --epochs 150 --json two_stage.json
"""

import argparse

import numpy as np
from common import data_named, fit, measured, read, table, write

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rows", type=int, default=600)
parser.add_argument("--size", type=int, default=32)
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--methods", nargs="+", help="only these of the table's columns")
parser.add_argument("--epochs", type=int, default=150)
parser.add_argument("--learning-rate", type=float, default=1e-3)
parser.add_argument("--likelihood", default="bernoulli", help="of x, as of ppvae fit")
parser.add_argument("--sweep", action="store_true", help="beta and gamma of the single embedding")
parser.add_argument(
    "--critic-steps", type=int, default=600, help="training steps of the measuring critic"
)
parser.add_argument("--json", help="add the results to this file; the table is of all in it")
options = parser.parse_args()

stages = {"gamma": 0.8, "alpha1": 1.0, "alpha2": 1.0, "beta1": 1.0, "beta2": 1.0}
METHODS = {
    "vae": ("vae", {"network": "conv"}),
    "vae-warmup": ("vae", {"network": "conv", "warmup": 500}),
    "infomax": ("infomax", {"alpha": 1.0}),
    "two-stage-single": ("two-stage-single", stages),
    "two-stage-double": ("two-stage-double", stages),
}
SWEEP = {
    f"gamma {gamma:g}, beta {beta:g}": (
        "two-stage-single",
        {**stages, "gamma": gamma, "beta1": beta, "beta2": beta},
    )
    for gamma, beta in ((0.8, 1.0), (0.8, 4.0), (0.2, 1.0), (2.0, 1.0))
}


def stability(losses):
    losses = np.asarray(losses)
    tail = losses[len(losses) // 2 :]
    at = np.arange(len(tail))
    trend = np.polyval(np.polyfit(at, tail, 2), at)
    gained = losses[0] - losses[-1]
    finite = bool(np.isfinite(losses).all())
    worst = float(np.abs(tail - trend).max() / abs(gained))
    return {"stable": int(finite and losses[-1] < losses[len(losses) // 10] and worst < 0.1)}


splits = data_named("cells", rows=options.rows, size=options.size)
chosen = SWEEP if options.sweep else METHODS
rows = read(options.json) or {name: [] for name in chosen}
for seed in options.seeds:
    for name in options.methods or chosen:
        kind, own = chosen[name]
        site = "z2" if kind.startswith("two") else "z"
        run, seconds = fit(
            kind,
            splits,
            seed=seed,
            epochs=options.epochs,
            batch_size=96,
            learning_rate=options.learning_rate,
            latent_dim=3,
            likelihood=options.likelihood,
            **own,
        )
        found = measured(run, splits, site=site, seed=seed, steps=options.critic_steps)
        found |= stability(run.history.column("loss")) | {"seconds": seconds}
        rows.setdefault(name, []).append(found)
        print(seed, name, {k: round(v, 3) for k, v in found.items()}, flush=True)
        write(options.json, vars(options), rows)

print(table({name: results for name, results in rows.items() if results}))
