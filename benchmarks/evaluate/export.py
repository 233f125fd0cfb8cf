"""Peak memory and time of exporting a VAE's draws for many images to one netCDF file.

python benchmarks/evaluate/export.py --rows 10000 --draws 100
"""

import argparse
import json
import os
import resource
import tempfile
import time
import warnings
from pathlib import Path

import torch

import ppvae
from ppvae.data import Dataset, digits, mnist
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.runs.run import Run

SHAPE = (1, 28, 28)


def images(options):
    if options.mnist:
        return mnist(options.mnist).train
    return digits().train


def repeated(data, rows):
    """``rows`` rows, repeating the data as often as needed."""
    return Dataset({"x": data["x"]}).take(torch.arange(rows) % data.num_rows)


def gibibytes(kibibytes):
    return round(kibibytes / 2**20, 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", help="folder of MNIST's files; else the embedded 5,000 digits")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=512, help="width of the wider layer")
    parser.add_argument("--epochs", type=int, default=1, help="of training before the export")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)

    data = repeated(images(options), options.rows)
    wide, narrow = options.hidden, options.hidden // 2
    encoder = MLP(784, heads.DiagonalNormal(10), hidden=[wide, narrow], in_shape=SHAPE)
    decoder = MLP(10, heads.Bernoulli(SHAPE), hidden=[narrow, wide])
    run = Run(VAE(decoder, latent_dim=10), AmortizedGuide(encoder))
    if options.epochs:
        run = ppvae.fit(run.model, run.guide, data, epochs=options.epochs, progress=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arviz.nc"
        started = time.perf_counter()
        tree = ppvae.to_arviz(run, data, num_draws=options.draws, path=path)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        replicates = tree["posterior_predictive"]["x"]
        report = {
            "shape of the replicates": list(replicates.shape),
            "numbers_gib": round(4 * replicates.size / 2**30, 2),
            "file_gib": round(os.path.getsize(path) / 2**30, 3),
            "peak_before_gib": gibibytes(before),
            "peak_gib": gibibytes(peak),
            "seconds": round(seconds, 1),
        }
        tree.close()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
