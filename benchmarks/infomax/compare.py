"""InfoMax-VAE against the same VAE: information, active units, reconstruction, ELBO.

Both have the same networks, latent, beta, data and seeds; InfoMax adds alpha I(x; z) by MINE. The
information is then measured, for both alike, by a new critic that had no part in training. On
cells, information about the factors that the pictures were drawn from is beside it.
Run: python benchmarks/infomax/compare.py --data cells --json cells.json
"""

import argparse

from common import data_named, fit, measured, read, table, verdict, write

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", choices=("cells", "digits"), default="cells")
parser.add_argument("--rows", type=int, help="number of cells")
parser.add_argument("--size", type=int, default=32, help="height and width of cells in pixels")
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--latent-dim", type=int, default=5)
parser.add_argument("--beta", type=float, default=4.0)
parser.add_argument("--alpha", type=float, default=4.0)
parser.add_argument("--likelihood", default="bernoulli", help="of x, as of ppvae fit")
parser.add_argument(
    "--critic-steps", type=int, default=600, help="training steps of the measuring critic"
)
parser.add_argument("--json", help="add the results to this file; the table is of all in it")
options = parser.parse_args()

splits = data_named(options.data, rows=options.rows, size=options.size)
shared = {
    "latent_dim": options.latent_dim,
    "beta": options.beta,
    "network": "conv" if options.data == "cells" else "mlp",
    "hidden": (256, 128),
    "likelihood": options.likelihood,
}
rows = read(options.json) or {"vae": [], "infomax": []}
for seed in options.seeds:
    for name, results in rows.items():
        own = {"alpha": options.alpha} if name == "infomax" else {}
        run, seconds = fit(
            name,
            splits,
            seed=seed,
            epochs=options.epochs,
            batch_size=options.batch_size,
            **shared,
            **own,
        )
        found = measured(run, splits, seed=seed, steps=options.critic_steps)
        results.append({**found, "seconds": seconds})
        print(seed, name, {k: round(v, 3) for k, v in results[-1].items()}, flush=True)
    write(options.json, vars(options), rows)

print(table(rows))
for key in rows["vae"][0]:
    print(verdict(rows["infomax"], rows["vae"], key))
