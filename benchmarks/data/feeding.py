"""Cost of feeding batches from the disk and from a sparse matrix, against that of a step.

    python benchmarks/data/feeding.py

Two data sets: 1,000,000 x 784 bytes, memory-mapped from a .npy file, and 100,000 x 20,000 counts
of which 2 % are not zero, a SciPy sparse matrix in memory. Processor milliseconds a batch of
random rows, median of ``--batches``, from the feed of ``ppvae.fit``; and a step of optimisation on
such rows already in memory (the feed of resident data included): a VAE with one hidden layer of
400 (784) or 128 (20,000), compiled with ``--compile``, else eager.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from reading import GENES, make_counts
from scipy import sparse

import ppvae
from ppvae.data import Splits
from ppvae.fitting.batches import make_feed
from ppvae.fitting.prepare import assemble, place
from ppvae.fitting.settings import Settings
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO

BATCH = 128


def mapped(folder: Path, rows: int) -> ppvae.data.Dataset:
    file = folder / "bytes.npy"
    array = np.lib.format.open_memmap(file, "w+", np.uint8, (rows, 1, 28, 28))
    rng = np.random.default_rng(0)
    for start in range(0, rows, 50_000):
        part = array[start : start + 50_000]
        part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8)
    array.flush()
    return ppvae.data.npy(file)


def counted(folder: Path, rows: int) -> ppvae.data.Dataset:
    make_counts(folder / "counts.npz", rows)
    return ppvae.data.Dataset({"x": sparse.load_npz(folder / "counts.npz")})


def feeding(data: ppvae.data.Dataset, count: int) -> list[float]:
    """Milliseconds a batch."""
    feed = make_feed(
        data,
        BATCH,
        seed=0,
        dtype=torch.float32,
        index=False,
        device=torch.device("cpu"),
        resident=False,
        workers=0,
    )
    times, batches = [], iter(feed)
    next(batches)
    for _ in range(min(count, len(feed) - 1)):
        started = time.process_time()
        next(batches)
        times.append(1e3 * (time.process_time() - started))
    return times


def stepping(data: ppvae.data.Dataset, width: int, count: int, *, compiled: bool) -> float:
    """Milliseconds a step on rows in memory."""
    rows = data.batch(torch.arange(min(data.num_rows, 20 * BATCH)))["x"]
    shape = tuple(rows.shape[1:])
    size = math.prod(shape)
    encoder = MLP(size, heads.DiagonalNormal(50), hidden=(width,), in_shape=shape)
    model = VAE(MLP(50, heads.Normal(shape), hidden=(width,)), latent_dim=50)
    splits = Splits(ppvae.data.Dataset({"x": rows}), None, None)
    settings = Settings(epochs=10**6, batch_size=BATCH, seed=0, device="cpu", compile=compiled)
    training = assemble(place(model, AmortizedGuide(encoder), splits, ELBO(), settings), splits)
    training.run_epoch()
    times = []
    for _ in range(max(5, count // 20)):
        started = time.process_time()
        training.run_epoch()
        times.append(1e3 * (time.process_time() - started) / len(training.feed))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--shrink", type=int, default=1, help="rows, divided by this")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        for what, make, rows, width in (
            ("1,000,000 x 784 bytes", mapped, 1_000_000, 400),
            (f"100,000 x {GENES:,} counts", counted, 100_000, 128),
        ):
            data = make(Path(name), rows // options.shrink)
            feed = statistics.median(feeding(data, options.batches))
            step = stepping(data, width, options.batches, compiled=options.compile)
            print(
                f"{what:<26} feed {feed:.2f} ms, step {step:.2f} ms a batch of {BATCH}: "
                f"{step / feed:.1f} times as fast",
                flush=True,
            )


if __name__ == "__main__":
    main()
