"""Cost of reading: a folder of pictures, and a sparse matrix of counts, against the obvious loop.

    python benchmarks/data/reading.py

Each way runs in a process of its own: CPU seconds without the imports, and peak memory with them
(``--rows`` of the matrix, ``--pictures`` of the folder). The ways:

- ``imports``: nothing but the imports;
- ``pictures, ppvae``: ``ppvae.data.images(folder)``, which checks modes, sizes, orientations and
  classes of all files;
- ``pictures, loop``: ``np.stack([np.asarray(Image.open(file)) for file in files])``;
- ``counts, ppvae``: batches of a dataset of the sparse matrix, rows at random, one epoch;
- ``counts, loop``: ``matrix[rows].toarray()`` of the same batches;
- ``counts, dense``: ``matrix.toarray()`` first, then its rows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import sparse

import ppvae

BATCH, SIDE, GENES, DENSITY, CLASSES = 256, 28, 20_000, 0.02, 10


def make_pictures(folder: Path, count: int) -> None:
    """Grey PNG files of 28 x 28 pixels in folders of ten classes."""
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
    for i in range(count):
        pixels = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / str(i % CLASSES) / f"{i:05d}.png")


def make_counts(path: Path, rows: int) -> None:
    """Counts by rows (CSR), 2 % of which are not zero, as float32."""
    rng = np.random.default_rng(0)
    each = int(GENES * DENSITY)
    columns = rng.integers(0, GENES, (rows, each), dtype=np.int32)
    columns.sort(1)
    values = rng.poisson(3, rows * each).astype(np.float32) + 1
    starts = np.arange(rows + 1, dtype=np.int64) * each
    matrix = sparse.csr_matrix((values, columns.ravel(), starts), (rows, GENES))
    matrix.sum_duplicates()
    sparse.save_npz(path, matrix, compressed=False)


def pictures_ppvae(path: Path) -> int:
    return ppvae.data.images(path / "pictures").num_rows


def pictures_loop(path: Path) -> int:
    files = sorted((path / "pictures").rglob("*.png"))
    return len(np.stack([np.asarray(Image.open(file)) for file in files]))


def _order(rows: int) -> list[torch.Tensor]:
    return list(torch.randperm(rows, generator=torch.Generator().manual_seed(0)).split(BATCH))


def counts_ppvae(path: Path) -> int:
    data = ppvae.data.npz(path / "counts.npz")
    return int(sum(data.batch(rows)["x"].sum() for rows in _order(data.num_rows)))


def counts_loop(path: Path) -> int:
    matrix = sparse.load_npz(path / "counts.npz")
    orders = _order(matrix.shape[0])
    return int(sum(torch.from_numpy(matrix[rows.numpy()].toarray()).sum() for rows in orders))


def counts_dense(path: Path) -> int:
    matrix = torch.from_numpy(sparse.load_npz(path / "counts.npz").toarray())
    return int(sum(matrix[rows].sum() for rows in _order(len(matrix))))


WAYS: dict[str, Callable[[Path], int]] = {
    "imports": lambda path: 0,
    "pictures, ppvae": pictures_ppvae,
    "pictures, loop": pictures_loop,
    "counts, ppvae": counts_ppvae,
    "counts, loop": counts_loop,
    "counts, dense": counts_dense,
}


def _timed(name: str, path: Path, answer: Connection) -> None:
    start = time.process_time()
    result = WAYS[name](path)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.send((seconds, peak / 1024, result))


def main() -> None:
    """Make the data, run each way, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        make_pictures(path / "pictures", arguments.pictures)
        make_counts(path / "counts.npz", arguments.rows)
        for name in arguments.ways:
            ours, theirs = context.Pipe()
            process = context.Process(target=_timed, args=(name, path, theirs))
            process.start()
            theirs.close()
            seconds, megabytes, result = ours.recv()
            process.join()
            print(f"{name:16} {seconds:7.1f} CPU s {megabytes:8.0f} MB  ({result:,})", flush=True)


if __name__ == "__main__":
    main()
