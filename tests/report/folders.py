"""Run folders as the rest of the library writes them, small."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from ppvae import plots
from ppvae.runs.config import sealed
from ppvae.runs.files import digest_of
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


def seal(run: Path) -> None:
    """Write right checksums into a folder that a test has changed."""
    config = json.loads((run / "config.json").read_text("utf-8"))
    for name in ("history.csv", "metrics.json"):
        config["files"][name] = digest_of((run / name).read_bytes())
    (run / "config.json").write_text(json.dumps(sealed(config)), "utf-8")


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


def controls() -> dict[str, Any]:
    """Data of a page's controls: four rows, a plane of nine images, and one line of three."""
    file = BytesIO()
    Image.new("L", (3, 3), 128).save(file, "PNG")
    dot = base64.b64encode(file.getvalue()).decode()
    sheet = {"png": dot, "columns": 3, "lines": 3, "ratio": 1.0}
    values = [-1.96, 0.0, 1.96]
    latent = {
        "site": "z",
        "dims": [0, 1],
        "points": [[0.0, 1.0], [1.0, 0.5], [2.0, -1.0], [3.0, -2.0]],
        "rows": ["a<b", "b", "c", "d"],
        "classes": [0, 0, 1, 1],
        "class_names": ["zero", "one"],
        "data": sheet,
        "plane": {"values": values, **sheet},
        "line": {"values": values, "dims": [0], **sheet},
    }
    return {"latents": [latent]}
