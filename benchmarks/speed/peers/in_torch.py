"""This library by its own loop, Pyro's SVI, and hand-written torch, on the rows of rows.py."""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import contenders
from rows import ROWS, Row

import ppvae
from ppvae.data import Dataset, Splits
from ppvae.fitting import keep_freed_memory
from ppvae.fitting.layout import channels_last
from ppvae.fitting.prepare import assemble, place
from ppvae.fitting.settings import Settings

VERSION = f"ppvae {ppvae.__version__}, torch {torch.__version__}"


def make(name, task):
    torch.manual_seed(task.seed)
    torch.set_float32_matmul_precision("high" if task.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = task.tf32
    keep_freed_memory()
    row = ROWS[task.row]
    return library(name, task, row) if name.startswith("ppvae") else by_hand(name, task, row)


def library(name, task, row):
    """Epochs of ``ppvae.fit``, with its feed, its checks and its records."""
    model, guide, spec = row.pair()
    data = Splits(Dataset({"x": torch.from_numpy(task.images())}), None, None)
    settings = Settings(
        epochs=10**6,
        batch_size=task.batch,
        learning_rate=task.rate,
        seed=task.seed,
        device=task.device,
        compile=name == "ppvae",
    )
    training = assemble(place(model, guide, data, spec, settings), data)
    layout = channels_last(training.objective)
    layout.__enter__()
    training.layout = layout

    def run():
        fault = training.run_epoch()
        assert fault is None, fault
        return -training.history[-1]["elbo"]

    def elbo():
        test = torch.from_numpy(np.load(task.test)).to(task.device)
        with training.settled():
            return float(training.plain({"x": test}).means()["elbo"])

    return run, elbo


def by_hand(name, task, row):
    images = torch.from_numpy(task.images()).to(task.device)
    device = torch.device(task.device)
    first = {"x": images[: task.batch].clone()}
    given = Row(row.pair, lambda: dict(first), row.twin)
    if name == "Pyro SVI":
        step, evaluate = contenders.pyro_svi(given, device)
    else:
        step, evaluate = contenders.hand_written(given, device, compile=name.endswith("compiled"))

    def run():
        for rows in torch.randperm(len(images), device=device).split(task.batch):
            value = step({"x": images[rows]})
        return float(value)

    def elbo():
        test = torch.from_numpy(np.load(task.test)).to(device)
        with torch.no_grad():
            return -float(evaluate({"x": test}))

    return run, elbo
