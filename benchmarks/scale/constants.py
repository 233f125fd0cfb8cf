"""The constants of docs/scale.md: bytes per row and per weight, and CPU seconds per row.

python -m benchmarks.scale.constants
"""

from __future__ import annotations

import time

import torch

import ppvae
from benchmarks.scale.scaling import timed
from ppvae.data import Dataset
from ppvae.gp.layout import Layout

__all__ = ["main"]


def main() -> None:
    """Print the constants."""
    torch.set_num_threads(1)
    for name in ("vae", "gpvae"):
        rows, batch = 1024, 256
        _, cpu = timed(name, rows, batch, 3)
        print(f"{name}: {1e6 * cpu / rows:.0f} us of CPU per row and epoch")
    data = Dataset(
        {
            "x": torch.rand(64, 1, 28, 28),
            "object": torch.arange(64) % 8,
            "view": torch.arange(64) // 8 * 0.4,
        }
    )
    model, guide, _ = ppvae.zoo.entry("gpvae")(data, latent_dim=16, rank=16)
    weights = {id(p): p.numel() for m in (model, guide) for p in m.parameters()}
    print(f"gpvae: {sum(weights.values())} weights, {4 * sum(weights.values()) / 1e6:.2f} MB")
    for rows in (100_000, 400_000):
        objects, views = torch.arange(rows) % 1000, (torch.arange(rows) // 1000 % 16) * 0.39
        started = time.process_time()
        layout = Layout(objects, views, folds=16)
        made = time.process_time() - started
        model.prior.layout = layout
        size = sum(buffer.nbytes for buffer in layout.buffers())
        x, r = torch.rand(1000, 16).double(), torch.rand(16, 8).double()
        table = torch.rand(rows, 16)
        started = time.process_time()
        layout.gram(x, r)
        layout.fold_projections(x, r, table)
        solved = time.process_time() - started
        print(
            f"{rows} rows: layout {size / rows:.0f} B and {1e9 * made / rows:.0f} ns a row, "
            f"table {table.nbytes / rows + 4:.0f} B a row, sums {1e9 * solved / rows:.0f} ns a row"
        )
    order = time.process_time()
    torch.randperm(10_000_000)
    print(f"order of an epoch: {1e9 * (time.process_time() - order) / 1e7:.0f} ns and 8 B a row")


if __name__ == "__main__":
    main()
