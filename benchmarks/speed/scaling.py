"""Microseconds a datum of training, and memory beyond the data, as the data grow.

    python benchmarks/speed/scaling.py --rows 1000 10000 100000 1000000

Batches are drawn as :func:`ppvae.fit` draws them. A GP's objects grow with the data, 16 views of
each, and what its solution costs every few steps is in the time. Sizes are taken in turns.
"""

import argparse
import json
import math
import resource
import statistics
import time
from itertools import islice
from pathlib import Path

import torch

from ppvae.data import Dataset
from ppvae.fitting.batches import make_feed
from ppvae.fitting.step import Gradients, Step, adam, split_parameters
from ppvae.gp import FourierFeatures, GPPrior, ObjectTable
from ppvae.guides import AmortizedGuide, GPGuide
from ppvae.models import GPVAE, VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO

PIXELS, LATENT, VIEWS, BATCH = 64, 8, 16, 128


def columns(rows):
    made = {"x": torch.randint(0, 256, (rows, PIXELS), dtype=torch.uint8)}
    return made | {
        "object": torch.arange(rows) // VIEWS,
        "view": torch.arange(rows) % VIEWS * (2 * math.pi / VIEWS),
    }


def vae(data):
    decoder = MLP(LATENT, heads.Bernoulli((PIXELS,)), hidden=(128,))
    guide = AmortizedGuide(MLP(PIXELS, heads.DiagonalNormal(LATENT), hidden=(128,)))
    return VAE(decoder, latent_dim=LATENT), guide


def gpvae(data):
    objects = int(data["object"].max()) + 1
    prior = GPPrior(ObjectTable(objects, 8), FourierFeatures(num_frequencies=2), latent_dim=LATENT)
    decoder = MLP(LATENT, heads.Bernoulli((PIXELS,)), hidden=(128,))
    guide = GPGuide(MLP(PIXELS, heads.DiagonalNormal(LATENT), hidden=(128,)), prior)
    prior.prepare(data)
    return GPVAE(prior, decoder), guide


def epoch(build, rows):
    """An endless run over ``rows`` data: batches, and the step that takes them."""
    data = Dataset(columns(rows))
    model, guide = build(data)
    objective = ELBO()(model, guide, num_data=rows).train()
    used = data if build is gpvae else data.select("x")
    feed = make_feed(
        used,
        BATCH,
        seed=0,
        dtype=torch.float32,
        index=build is gpvae,
        device=torch.device("cpu"),
        resident=True,
        workers=0,
    )
    parameters, _ = split_parameters(objective)
    step = Step(objective, Gradients(objective, parameters), parameters, adam(parameters, 1e-3))
    objective.check(next(iter(feed)))

    def batches():
        while True:
            yield from feed

    return batches(), step


def main():
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    made.add_argument("--steps", type=int, default=80, help="a turn")
    made.add_argument("--turns", type=int, default=4)
    made.add_argument("--json", type=Path)
    options = made.parse_args()
    results = {}
    for name, build in {"VAE": vae, "GPVAE": gpvae}.items():
        runs, times, memory = {}, {}, {}
        for rows in options.rows:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            torch.manual_seed(0)
            runs[rows] = epoch(build, rows)
            for batch in islice(runs[rows][0], 10):
                runs[rows][1](batch)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            memory[rows] = grown * 1024 / rows  # kibibytes on Linux
            times[rows] = []
        for _ in range(options.turns):
            for rows, (batches, step) in runs.items():
                started, count = time.perf_counter(), 0
                for batch in islice(batches, options.steps):
                    step(batch)
                    count += len(batch["x"])
                times[rows].append(1e6 * (time.perf_counter() - started) / count)
        results[name] = {
            rows: {
                "microseconds_a_datum": statistics.median(times[rows]),
                "spread": [min(times[rows]), max(times[rows])],
                "peak_bytes_a_datum": memory[rows],
            }
            for rows in options.rows
        }
    print(json.dumps(results, indent=2))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
