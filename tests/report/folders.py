"""Run folders as the rest of the library writes them, small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

from ppvae import plots
from ppvae.runs.history import History
from ppvae.runs.run import Run

GPVAE = {
    "summary": "GP-prior VAE over objects and views; predicts views never seen",
    "recipe": {
        "builder": "ppvae.zoo:build",
        "name": "gpvae",
        "options": {"latent_dim": 16},
        "spec": None,
    },
    "data": {"columns": {"x": {"shape": [1, 28, 28]}, "y": {"shape": [], "classes": 10}}},
    "fit": {"epochs": 40, "learning_rate": 4e-3, "device": "cpu", "restore_best": False},
}
GOOD = {
    "test_mse": 0.0184,
    "test_mse_se": 0.0004,
    "mse_train_mean": 0.078,
    "mse_nearest_view": 0.0882,
    "coverage_90": 0.905,
    "untrusted": 0.01,
    "elbo": -101.0,
    "log_likelihood": -98.5,
    "train_seconds": 243.2,
    "n_train": 4050,
    "n_test": 270,
    "seed": 3,
}


def trained(epochs: int = 40) -> History:
    """A run that has come to rest."""
    rows = []
    for e in range(1, epochs + 1):
        elbo = -100 - 100 * 0.75**e
        rows.append(
            {
                "epoch": e,
                "step": 10 * e,
                "loss": -elbo,
                "elbo": elbo,
                "kl/z": 12.5,
                "val_elbo": elbo - 1,
            }
        )
    return History(rows)


def folder(
    path: Path,
    *,
    metrics: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    captions: tuple[str, ...] = ("Predictions of the unseen view.", "Loss by term."),
    status: str = "completed",
) -> Path:
    """A run of tiny modules, saved with two plots."""
    history = trained()
    run = Run(
        nn.Linear(1, 1),
        nn.Linear(1, 1),
        history=history,
        config=GPVAE if config is None else config,
        metrics=GOOD if metrics is None else metrics,
        seed=3,
        epochs=len(history),
        status=status,
    )
    run.save(path)
    figures: tuple[Figure, ...] = (
        plots.predictions(*torch.rand(3, 10, 1, 8, 8)),
        plots.loss_by_term(history),
    )
    names = ("predictions.png", "loss.png")
    plots.save(path / "plots", zip(names, captions, figures, strict=True))
    return path
