"""``jvae``: the joint VAE, whose classes nobody named."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from ppvae.data import Splits, digits
from ppvae.errors import ArgumentError
from ppvae.evaluate.scores import clustering_accuracy
from ppvae.guides import FactorizedGuide
from ppvae.models import JointVAE
from ppvae.nets import MLP, Sites, heads
from ppvae.objectives import ELBO, Capacity, Linear
from ppvae.report.gallery.pictures import joint_figures
from ppvae.runs.run import Run
from ppvae.zoo.classes import taught, test_accuracy
from ppvae.zoo.entry import Entry, Spec
from ppvae.zoo.observed import LIKELIHOODS, Observed
from ppvae.zoo.options import Options, option
from ppvae.zoo.vae import encoder_of

__all__ = ["ENTRY", "JVAEOptions"]


@dataclass(frozen=True)
class JVAEOptions(Options):
    """Options of ``jvae``."""

    classes: tuple[int, ...] = option(
        (10,), "classes of each discrete site: y, y2, y3, ...", least=1
    )
    latent_dim: int = option(6, "dimensions of z", least=1)
    capacity_z: float = option(12.0, "nats that the KL of z is held at in the end")
    capacity_y: float = option(0.0, "nats of the classes; 0 for all that they can hold")
    gamma_z: float = option(10.0, "weight of the capacity of z")
    gamma_y: float = option(100.0, "weight of the capacity of the classes")
    balance: float = option(100.0, "weight of even classes")
    consistency: float = option(200.0, "weight of the same class after small warps of an image")
    steps: int = option(1500, "optimiser steps over which the capacities rise")
    network: str = option("conv", "kind of encoder", choices=("mlp", "conv"))
    hidden: tuple[int, ...] = option((128, 128), "sizes of the hidden layers of the mlps", least=1)
    join: int = option(1, "hidden layers of the decoder before the class comes in")
    likelihood: str = option("bernoulli", "of a pixel or feature", choices=LIKELIHOODS)


def _build(spec: Spec, options: JVAEOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    x = Observed.of(spec, options.likelihood)
    if min(options.classes) < 2:
        raise ArgumentError(
            f"classes: expected at least 2 of each site; got {options.classes}. "
            "Use the model vae where there is one class."
        )
    counts = {f"y{i}" if i > 1 else "y": k for i, k in enumerate(options.classes, 1)}
    sites: dict[str, Any] = {"z": heads.DiagonalNormal(options.latent_dim)}
    sites |= {name: heads.Classes(k) for name, k in counts.items()}
    kind = options.network if len(x.shape) == 3 else "mlp"
    guide = FactorizedGuide(encoder_of(x, Sites(sites), kind=kind, hidden=options.hidden))
    model = JointVAE(
        MLP(
            [options.latent_dim, *options.classes],
            x.head(),
            hidden=options.hidden,
            join=options.join,
        ),
        latent_dim=options.latent_dim,
        classes=counts,
    )
    most = sum(math.log(k) for k in options.classes)
    # That of the classes rises first, so that they speak before z has said it all.
    capacity: dict[str | tuple[str, ...], Capacity] = {
        "z": Capacity(Linear(0.0, options.capacity_z, options.steps), options.gamma_z),
        tuple(counts): Capacity(
            Linear(0.0, options.capacity_y or most, max(1, options.steps // 3)), options.gamma_y
        ),
    }
    objective = ELBO(capacity=capacity)
    for name in counts:
        objective = taught(
            objective, x.shape, name, balance=options.balance, consistency=options.consistency
        )
    return model, guide, objective


def _metrics(run: Run, splits: Splits) -> dict[str, float]:
    return test_accuracy(run, splits, clustering_accuracy)


ENTRY = Entry(
    name="jvae",
    summary="joint VAE: continuous and discrete latents, no labels",
    options=JVAEOptions,
    build=_build,
    default_data=digits,
    fit={"epochs": 40, "batch_size": 128, "learning_rate": 2e-3},
    metrics=_metrics,
    figures=joint_figures,
)
