"""``ssvae``: the semi-supervised VAE, with labels or targets for some of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ppvae.data import Dataset, Splits, digits
from ppvae.errors import ArgumentError
from ppvae.guides import SemiSupervisedGuide
from ppvae.models import SemiSupervisedVAE
from ppvae.nets import heads
from ppvae.objectives import ELBO, Linear, Supervision
from ppvae.report.gallery.pictures import joint_figures
from ppvae.runs.run import Run
from ppvae.zoo.classes import class_count, taught, test_accuracy
from ppvae.zoo.entry import Entry, Spec
from ppvae.zoo.observed import LIKELIHOODS, Observed
from ppvae.zoo.options import Options, option
from ppvae.zoo.vae import autoencoder, encoder_of

__all__ = ["ENTRY", "SSVAEOptions", "keep_labels"]


@dataclass(frozen=True)
class SSVAEOptions(Options):
    """Options of ``ssvae``."""

    latent_dim: int = option(16, "dimensions of z", least=1)
    num_classes: int = option(0, "classes in the column y; 0 counts them")
    factor_dim: int = option(0, "regression targets in the column c; 0 counts them")
    labels: int = option(100, "how many rows keep their label; 0 leaves the data as they are")
    labels_seed: int = option(0, "of the choice of those rows")
    repeat: float = option(0.25, "labelled rows come again, to this share of all rows")
    network: str = option("conv", "kind of classifier", choices=("mlp", "conv"))
    hidden: tuple[int, ...] = option((128, 128), "sizes of the hidden layers of the mlps", least=1)
    likelihood: str = option("bernoulli", "of a pixel or feature", choices=LIKELIHOODS)
    supervision: float = option(50.0, "weight of the loss on known labels")
    balance: float = option(10.0, "weight of even classes")
    consistency: float = option(50.0, "weight of the same class after small warps of an image")
    start: float = option(8.0, "weight of z's KL at the first step; it falls to 1")
    steps: int = option(1000, "optimiser steps over which it falls")


def keep_labels(data: Dataset, labels: int, *, repeat: float, seed: int) -> Dataset:
    """All rows, few with a label, evenly over classes; those come again.

    Arguments:
        data: With a column ``y``, -1 where missing, or ``c``, NaN where missing.
        labels: How many keep theirs; 0 for all that there are.
        repeat: Labelled rows are repeated to make up this share of all rows.
        seed: Of the choice.

    Raises:
        ArgumentError: If there are fewer labels.
    """
    rows = torch.arange(data.num_rows)
    generator = torch.Generator().manual_seed(seed)
    columns = {name: torch.as_tensor(data[name]) for name in ("y", "c") if name in data}
    if not columns:
        raise ArgumentError(
            f"ssvae: expected a column 'y' or 'c'; got {list(data)}. Add one, or use vae."
        )
    known = torch.zeros(data.num_rows, dtype=torch.bool)
    if "y" in columns:
        known |= columns["y"] >= 0
    if "c" in columns:
        known |= ~columns["c"].isnan().reshape(data.num_rows, -1).any(1)
    if labels > int(known.sum()):
        raise ArgumentError(
            f"labels: expected at most {int(known.sum())}, as many as there are; got {labels}. "
            "Use fewer."
        )
    if labels:
        order = rows[known][torch.randperm(int(known.sum()), generator=generator)]
        if "y" in columns:
            order = _in_turn(order, columns["y"][order])
        known = torch.isin(rows, order[:labels])
        if "y" in columns:
            columns["y"] = columns["y"].where(known, torch.tensor(-1))
        if "c" in columns:
            c = columns["c"] * 1.0  # Whole numbers cannot be missing.
            c[~known] = torch.nan
            columns["c"] = c
        data = Dataset({**data, **columns}, missing_ok=(*data.missing_ok, "c"))
    again = rows[known].repeat(int(repeat * data.num_rows) // max(1, int(known.sum())))
    return data.take(torch.cat([rows, again]))


def _in_turn(order: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The rows so that each class comes in turn."""
    turn = torch.zeros_like(y)
    for k in y.unique():
        turn[y == k] = torch.arange(int((y == k).sum()))
    return order[turn.argsort(stable=True)]


def _arrange(splits: Splits, options: SSVAEOptions) -> Splits:
    train = keep_labels(
        splits.train, options.labels, repeat=options.repeat, seed=options.labels_seed
    )
    return splits._replace(train=train)


def _build(spec: Spec, options: SSVAEOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    x, dim = Observed.of(spec, options.likelihood), options.latent_dim
    factors = math.prod(spec["c"]["shape"]) if "c" in spec else options.factor_dim
    classes = class_count(spec, options.num_classes) if "y" in spec or not factors else 0
    encoder, decoder = autoencoder(
        x,
        heads.DiagonalNormal(dim),
        network="mlp",
        hidden=options.hidden,
        conditions=[size for size in (classes, factors) if size],
        join=1,
    )

    def from_image(head: heads.Head) -> nn.Module:
        kind = options.network if len(x.shape) == 3 else "mlp"
        return encoder_of(x, head, kind=kind, hidden=options.hidden)

    model = SemiSupervisedVAE(decoder, latent_dim=dim, num_classes=classes, factor_dim=factors)
    guide = SemiSupervisedGuide(
        encoder,
        classifier=from_image(heads.Classes(classes)) if classes else None,
        num_classes=classes,
        regressor=from_image(heads.DiagonalNormal(factors)) if factors else None,
    )
    objective = ELBO(weights={"z": Linear(options.start, 1.0, steps=options.steps)})
    if classes:
        objective = objective + Supervision("y", weight=options.supervision)
        objective = taught(
            objective, x.shape, "y", balance=options.balance, consistency=options.consistency
        )
    if factors:
        objective = objective + Supervision("c", weight=options.supervision)
    return model, guide, objective


def _metrics(run: Run, splits: Splits) -> dict[str, float]:
    return test_accuracy(run, splits, lambda found, y: float((found == y).double().mean()))


ENTRY = Entry(
    name="ssvae",
    summary="semi-supervised VAE: classes or targets are known of some data",
    options=SSVAEOptions,
    build=_build,
    default_data=digits,
    arrange=_arrange,
    missing_ok=("x", "c"),
    fit={"epochs": 40, "batch_size": 200, "learning_rate": 1e-3},
    metrics=_metrics,
    figures=joint_figures,
)
