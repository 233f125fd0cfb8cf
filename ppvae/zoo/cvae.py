"""``cvae``: the conditional VAE, on classes, on continuous factors, or on both."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from ppvae.data import Splits, digits
from ppvae.errors import ArgumentError
from ppvae.guides import ConditionalGuide
from ppvae.models import ConditionalVAE
from ppvae.nets import Conditions, Embedding, OneHot, heads
from ppvae.objectives import ELBO, Independence
from ppvae.report.gallery.pictures import class_figures
from ppvae.runs.run import Run
from ppvae.zoo.classes import class_count
from ppvae.zoo.entry import Entry, Figures, Spec
from ppvae.zoo.observed import LIKELIHOODS, Observed
from ppvae.zoo.options import Options, option
from ppvae.zoo.vae import autoencoder

__all__ = ["ENTRY", "CVAEOptions", "conditions_of"]


@dataclass(frozen=True)
class CVAEOptions(Options):
    """Options of ``cvae``."""

    latent_dim: int = option(10, "dimensions of z", least=1)
    num_classes: int = option(0, "classes in the column y; 0 counts them")
    embedding: int = option(0, "size of a learned vector a class; 0 for one-hot")
    factor_dim: int = option(0, "factors in the column c; 0 counts them")
    network: str = option("mlp", "kind of encoder and decoder", choices=("mlp", "conv"))
    hidden: tuple[int, ...] = option((512, 256), "sizes of the hidden layers of the mlp", least=1)
    likelihood: str = option("bernoulli", "of a pixel or feature", choices=LIKELIHOODS)
    beta: float = option(1.0, "weight of the KL")
    independence: float = option(0.0, "weight of what z tells of y, or of c alone (HSIC)")


def conditions_of(spec: Spec, options: CVAEOptions) -> Conditions:
    """The columns ``y`` and ``c``, whichever the data have, as inputs of the networks."""
    factors = math.prod(spec["c"]["shape"]) if "c" in spec else 0
    if options.factor_dim not in (0, factors):
        raise ArgumentError(
            f"factor_dim: expected {factors}, the size of the column 'c'; got "
            f"{options.factor_dim}. Leave the option out."
        )
    if factors and "y" not in spec:
        return Conditions(factor_dim=factors)
    count = class_count(spec, options.num_classes)
    classes = Embedding(count, options.embedding) if options.embedding else OneHot(count)
    return Conditions(classes, factor_dim=factors)


def _build(spec: Spec, options: CVAEOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    conditions = conditions_of(spec, options)
    encoder, decoder = autoencoder(
        Observed.of(spec, options.likelihood),
        heads.DiagonalNormal(options.latent_dim),
        network=options.network,
        hidden=options.hidden,
        conditions=conditions.sizes,
    )
    model = ConditionalVAE(decoder, conditions, latent_dim=options.latent_dim)
    objective = ELBO() if options.beta == 1.0 else ELBO(weights={"z": options.beta})
    if options.independence:
        column = "y" if conditions.classes is not None else "c"
        objective = objective + Independence("z", column, weight=options.independence)
    return model, ConditionalGuide(encoder, conditions), objective


def _figures(run: Run, splits: Splits) -> Figures:
    conditions = run.model.conditions
    if not isinstance(conditions, Conditions) or conditions.classes is None:
        return []
    train = splits.train.batch(slice(None)) if conditions.factor_dim else {}
    rest = {"c": train["c"].mean(0)} if train else {}
    return class_figures(run, splits, classes=conditions.classes.num_classes, rest=rest)


ENTRY = Entry(
    name="cvae",
    summary="conditional VAE: classes, continuous factors, or both are known",
    options=CVAEOptions,
    build=_build,
    default_data=digits,
    fit={"epochs": 30, "batch_size": 128, "learning_rate": 1e-3},
    figures=_figures,
)
