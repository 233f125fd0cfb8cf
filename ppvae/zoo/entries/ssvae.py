"""``ssvae``: the semi-supervised VAE, with labels or targets for some of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import ppvae
from ppvae.errors import ArgumentError
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import Options, option
from ppvae.zoo.parts import Networks, Teaching, autoencoder, class_count, encoder_of, observed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ppvae.data import Dataset, Splits

__all__ = ["Labels", "keep_labels", "ssvae"]

CONVS, TEACHING = Networks(network="conv", hidden=(128, 128)), Teaching()


@dataclass(frozen=True)
class Labels(Options):
    """Rows of the training data that keep their label."""

    labels: Annotated[
        int, option("number of training rows that keep their label; 0: all that have one")
    ] = 100
    labels_seed: Annotated[
        int, option("random seed of the choice of rows that keep their label")
    ] = 0
    repeat: Annotated[
        float, option("copies of labelled rows that are added, as a share of the number of rows")
    ] = 0.25


KEPT = Labels()


def keep_labels(data: Dataset, labels: int, *, repeat: float, seed: int) -> Dataset:
    """All rows, few with a label, evenly over classes; those are repeated.

    Arguments:
        data: Dataset with a column ``y``, -1 where missing, or ``c``, NaN where missing.
        labels: Number of rows that keep their label; 0 for all that have one.
        repeat: Share of all rows that repetitions of labelled rows make up.
        seed: Random seed of the choice.

    Raises:
        ArgumentError: If there are fewer labels.
    """
    import torch

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
        data = ppvae.Dataset(
            {**data, **columns},
            missing_ok=(*data.missing_ok, "c"),
            record=data.record,
            row_names=data.row_names,
        )
    again = rows[known].repeat(int(repeat * data.num_rows) // max(1, int(known.sum())))
    return data.take(torch.cat([rows, again]))


def _in_turn(order: Tensor, y: Tensor) -> Tensor:
    """The rows so that each class comes in turn."""
    turn = y.new_zeros(y.shape)
    for k in y.unique():
        turn[y == k] = (y == k).cumsum(0)[y == k]
    return order[turn.argsort(stable=True)]


def _arrange(splits: Splits, options: Any) -> Splits:
    train = keep_labels(
        splits.train, options.labels, repeat=options.repeat, seed=options.labels_seed
    )
    return splits._replace(train=train)


@register(
    "ssvae",
    "semi-supervised VAE: classes or targets are known for some of the data",
    data="digits",
    missing_ok=("x", "c"),
    fit={"epochs": 40, "batch_size": 200, "learning_rate": 1e-3},
    arrange=_arrange,
)
def ssvae(
    columns: Spec,
    *,
    latent_dim: Annotated[int, option("dimensions of z", least=1)] = 16,
    num_classes: Annotated[
        int, option("number of classes in the column y; 0: as many as in the data")
    ] = 0,
    factor_dim: Annotated[
        int, option("number of regression targets in the column c; 0: as many as in the data")
    ] = 0,
    kept: Labels = KEPT,
    nets: Networks = CONVS,
    supervision: Annotated[float, option("weight of the loss on known labels")] = 50.0,
    teaching: Teaching = TEACHING,
    start: Annotated[float, option("initial weight of the KL of z, which falls to 1")] = 8.0,
    steps: Annotated[
        int, option("optimiser steps over which the weight of the KL of z falls to 1")
    ] = 1000,
) -> Pair:
    """y and c are observed where they are known and inferred elsewhere; z encodes the rest."""
    x = observed(columns, nets.likelihood)
    heads, objectives = ppvae.nets.heads, ppvae.objectives
    factors = math.prod(columns["c"]["shape"]) if "c" in columns else factor_dim
    classes = class_count(columns, num_classes) if "y" in columns or not factors else 0
    encoder, decoder = autoencoder(
        x,
        heads.DiagonalNormal(latent_dim),
        nets,
        network="mlp",
        conditions=[size for size in (classes, factors) if size],
        join=1,
    )

    def from_image(head: heads.Head) -> nn.Module:
        return encoder_of(x, head, nets, network=None if len(x.shape) == 3 else "mlp")

    model = ppvae.models.SemiSupervisedVAE(
        decoder, latent_dim=latent_dim, num_classes=classes, factor_dim=factors
    )
    guide = ppvae.guides.SemiSupervisedGuide(
        encoder,
        classifier=from_image(heads.Classes(classes)) if classes else None,
        num_classes=classes,
        regressor=from_image(heads.DiagonalNormal(factors)) if factors else None,
    )
    objective = objectives.ELBO(weights={"z": objectives.Linear(start, 1.0, steps=steps)})
    if classes:
        objective += objectives.Supervision("y", weight=supervision)
        objective = teaching.added(objective, x.shape, "y")
    if factors:
        objective += objectives.Supervision("c", weight=supervision)
    return Pair(model, guide, objective)
