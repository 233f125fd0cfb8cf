"""The cost of a fit with 1 and 2 processes: wall and CPU seconds per epoch.

    python -m benchmarks.scale.scaling --processes 1 2

The wall clock is right where nothing else runs. On a shared machine look at the CPU seconds: those
of the busiest process are what its own core would need, and their ratio is the speed-up that the
work allows.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

import ppvae
from ppvae.data import Dataset
from tests.fitting.shared_fits import together

__all__ = ["main", "timed"]

OPTIONS: dict[str, dict[str, Any]] = {
    "vae": {"network": "conv", "latent_dim": 10},
    "gpvae": {"latent_dim": 16, "rank": 16},
}


class _Clock:
    """Wall and CPU seconds of every epoch but the first."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def on_epoch_end(self, training: Any) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))

    def per_epoch(self) -> tuple[float, float]:
        """Means over the epochs after the first."""
        (wall, cpu), (last_wall, last_cpu) = self.marks[0], self.marks[-1]
        count = len(self.marks) - 1
        return (last_wall - wall) / count, (last_cpu - cpu) / count


def timed(name: str, rows: int, batch_size: int, epochs: int) -> tuple[float, float]:
    """Wall and CPU seconds per epoch of this process."""
    generator = torch.Generator().manual_seed(0)
    data = Dataset(
        {
            "x": torch.rand(rows, 1, 28, 28, generator=generator),
            "object": torch.arange(rows) % 100,
            "view": (torch.arange(rows) // 100 % 16) * 0.39,
        }
    )
    if name != "gpvae":
        data = data.select("x")
    torch.manual_seed(0)
    model, guide, objective = ppvae.zoo.entry(name)(data, **OPTIONS[name])
    clock = _Clock()
    ppvae.fit(
        model,
        guide,
        data,
        objective,
        epochs=epochs,
        batch_size=batch_size,
        seed=0,
        device="cpu",
        compile=False,
        callbacks=[clock],
        progress=False,
    )
    return clock.per_epoch()


def main() -> None:
    """Print a row per model and number of processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    sizes = (arguments.rows, arguments.batch_size, arguments.epochs)
    print("| model | processes | wall s per epoch | CPU s per epoch, busiest | CPU s, all |")
    print("|---|---|---|---|---|")
    for name in arguments.models:
        for count in arguments.processes:
            found = together(count, timed, name, *sizes)
            wall = max(wall for wall, _ in found)
            cpus = [cpu for _, cpu in found]
            print(f"| {name} | {count} | {wall:.2f} | {max(cpus):.2f} | {sum(cpus):.2f} |")


if __name__ == "__main__":
    main()
