"""``infomax``: a VAE whose latent is to hold information about x, as a critic measures it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ppvae.data import cells
from ppvae.objectives import ELBO
from ppvae.zoo import vae
from ppvae.zoo.entry import Entry, Spec
from ppvae.zoo.information import (
    CRITICS,
    ESTIMATORS,
    information_figures,
    information_metrics,
    information_term,
)
from ppvae.zoo.options import option

__all__ = ["ENTRY", "InfoMaxOptions"]


@dataclass(frozen=True)
class InfoMaxOptions(vae.VAEOptions):
    """Options of ``infomax``: those of ``vae``, and of the critic."""

    network: str = option("conv", "kind of encoder and decoder", choices=("mlp", "conv"))
    alpha: float = option(1.0, "weight of the mutual information I(x; z)")
    estimator: str = option("mine", "of the information", choices=tuple(ESTIMATORS))
    critic: str = option("separable", "form of the critic", choices=CRITICS)


def _build(spec: Spec, options: InfoMaxOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    model, guide, objective = vae.ENTRY.build(spec, options)
    term = information_term(
        ("x", "z"),
        (spec["x"]["shape"], (options.latent_dim,)),
        estimator=options.estimator,
        critic=options.critic,
        network=options.network,
        weight=options.alpha,
    )
    return model, guide, objective + term


ENTRY = Entry(
    name="infomax",
    summary="VAE whose latent is to hold more information about x (InfoMax-VAE)",
    options=InfoMaxOptions,
    build=_build,
    default_data=cells,
    fit={"epochs": 30, "batch_size": 128, "learning_rate": 1e-3},
    metrics=information_metrics,
    figures=information_figures,
)
