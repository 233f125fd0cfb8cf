"""Fits by several processes on one machine, for the tests and for ``benchmarks/scale``."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing

import ppvae
from ppvae.data import Dataset, Splits
from ppvae.fitting import Checkpoint

# Options of the entries: dense networks, small.
CASES: dict[str, dict[str, Any]] = {
    "vae": {"latent_dim": 2, "hidden": (16,)},
    "jvae": {"classes": (3,), "network": "mlp", "hidden": (16,), "latent_dim": 2},
    "gpvae": {"latent_dim": 3, "rank": 2, "frequencies": 1, "network": "mlp", "hidden": 8},
    "ssvae": {"labels": 0, "repeat": 0.0, "network": "mlp", "hidden": (16,), "latent_dim": 2},
    "infomax": {"network": "mlp", "hidden": (16,), "latent_dim": 2},
}


def splits(rows: int = 97, *, size: int = 6) -> Splits:
    """Random pictures with objects, views and some labels."""
    generator = torch.Generator().manual_seed(1)

    def part(count: int) -> Dataset:
        y = torch.arange(count) % 3
        return Dataset(
            {
                "x": torch.rand(count, 1, size, size, generator=generator),
                "object": torch.arange(count) % 5,
                "view": torch.rand(count, generator=generator).mul(8).floor() * 0.7,
                "y": torch.where(torch.arange(count) % 2 == 0, y, -1),
            }
        )

    return Splits(part(rows), part(13), None)


def fitted(name: str, *, rows: int = 97, **settings: Any) -> dict[str, Any]:
    """The weights and the history of a fit of 20 steps, by all processes that take part."""
    data = splits(rows)
    wanted = ppvae.zoo.entry(name)
    torch.manual_seed(0)
    columns = {"x", "object", "view"} if name == "gpvae" else {"x"}
    columns |= {"y"} if name == "ssvae" else set()
    data = Splits(
        *(None if d is None else d.select(*(c for c in d if c in columns)) for d in data)
    )
    model, guide, objective = wanted(data.train, **CASES[name])
    run = ppvae.fit(
        model,
        guide,
        data,
        objective,
        **{"epochs": 5, "batch_size": 24, "seed": 3, "learning_rate": 1e-3, **settings},
        device="cpu",
        progress=False,
    )
    tensors = {f"model.{n}": v for n, v in model.state_dict().items()}
    tensors |= {f"guide.{n}": v for n, v in guide.state_dict().items()}
    return {"tensors": tensors, "history": [dict(row) for row in run.history]}


def together(size: int, task: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What each of so many processes returns of a task."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(
            _process,
            (size, folder, torch.get_default_dtype(), task, arguments),
            nprocs=size,
            start_method="spawn",
        )
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(size)]


def _process(
    rank: int,
    size: int,
    folder: str,
    dtype: torch.dtype,
    task: Callable[..., Any],
    arguments: Sequence[Any],
) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(dtype)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size
    )
    torch.save(task(*arguments), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def all_fits(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """:func:`fitted` by name."""
    return {name: fitted(name) for name in names}


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of a weight or of an entry of the history."""
    weights = [
        float((value - other["tensors"][name]).abs().max())
        for name, value in one["tensors"].items()
        if value.is_floating_point() and value.numel()
    ]
    rows = [
        abs(value - after[name]) / max(1.0, abs(value))
        for before, after in zip(one["history"], other["history"], strict=True)
        for name, value in before.items()
        if name not in ("seconds", "compile_seconds")
    ]
    return max(weights + rows)


class Killed:
    """Kills one of the processes in the third epoch, without a word."""

    def on_step_end(self, training: Any) -> None:
        if training.epoch == 2 and training.done == 2 and training.shards.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(folder: str) -> None:
    """A fit with a checkpoint an epoch, of whose processes one is killed."""
    fitted("gpvae", callbacks=[Checkpoint(folder), Killed()])


def resumed(folder: str) -> dict[str, Any]:
    """The fit that was killed, from its last checkpoint."""
    return fitted("gpvae", resume=folder)
