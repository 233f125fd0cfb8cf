"""``cvae``: the conditional VAE, given classes, continuous factors, or both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import ppvae
from ppvae.errors import ArgumentError
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import option
from ppvae.zoo.parts import ModulatedNetworks, autoencoder, class_count, observed, weighted

if TYPE_CHECKING:
    from ppvae.nets import Conditions

__all__ = ["cvae"]

NETWORKS = ModulatedNetworks()


def _conditions(columns: Spec, num_classes: int, embedding: int, factor_dim: int) -> Conditions:
    """The columns ``y`` and ``c``, as far as the data have them, as inputs of the networks."""
    nets = ppvae.nets
    factors = math.prod(columns["c"]["shape"]) if "c" in columns else 0
    if factor_dim not in (0, factors):
        raise ArgumentError(
            f"factor_dim: expected {factors}, the size of the column 'c'; got {factor_dim}. "
            "Leave the option out."
        )
    if factors and "y" not in columns:
        return nets.Conditions(factor_dim=factors)
    count = class_count(columns, num_classes)
    classes = nets.Embedding(count, embedding) if embedding else nets.OneHot(count)
    return nets.Conditions(classes, factor_dim=factors)


@register(
    "cvae",
    "conditional VAE: given classes, continuous factors, or both",
    data="digits",
    fit={"epochs": 30, "batch_size": 128, "learning_rate": 1e-3},
)
def cvae(
    columns: Spec,
    *,
    latent_dim: Annotated[int, option("dimensions of z", least=1)] = 10,
    num_classes: Annotated[
        int, option("number of classes in the column y; 0: as many as in the data")
    ] = 0,
    embedding: Annotated[
        int, option("size of the learned vector of each class; 0: one-hot vectors")
    ] = 0,
    factor_dim: Annotated[
        int, option("number of factors in the column c; 0: as many as in the data")
    ] = 0,
    nets: ModulatedNetworks = NETWORKS,
    full_covariance: Annotated[bool, option("full-covariance normal posterior")] = False,
    beta: Annotated[float, option("weight of the KL")] = 1.0,
    warmup: Annotated[
        int, option("optimiser steps over which the weight of the KL rises from 0")
    ] = 0,
    independence: Annotated[
        float,
        option(
            "weight of the penalty on dependence (HSIC) between z and y, or z and c if there is "
            "no y"
        ),
    ] = 0.0,
) -> Pair:
    """The encoder and the decoder are given the columns y and c, so z need not encode them."""
    conditions = _conditions(columns, num_classes, embedding, factor_dim)
    heads = ppvae.nets.heads
    family = heads.FullNormal if full_covariance else heads.DiagonalNormal
    encoder, decoder = autoencoder(
        observed(columns, nets.likelihood),
        family(latent_dim),
        nets,
        conditions=conditions.sizes,
    )
    objective = weighted(beta, warmup)
    if independence:
        column = "y" if conditions.classes is not None else "c"
        objective += ppvae.objectives.Independence("z", column, weight=independence)
    model = ppvae.models.ConditionalVAE(decoder, conditions, latent_dim=latent_dim)
    return Pair(model, ppvae.guides.ConditionalGuide(encoder, conditions), objective)
