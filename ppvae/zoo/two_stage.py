"""``two-stage-single`` and ``two-stage-double``: InfoMax-VAEs with a rich code and a small one.

The first stage has a code z1 of many dimensions, the second a z2 of few; what is
maximised is in :mod:`ppvae.models.two_stage`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from torch import nn

from ppvae.data import cells
from ppvae.guides import DoubleEmbeddingGuide, SingleEmbeddingGuide
from ppvae.models import TwoStageVAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.zoo.entry import Entry, Spec
from ppvae.zoo.information import (
    CRITICS,
    ESTIMATORS,
    information_figures,
    information_metrics,
    information_term,
)
from ppvae.zoo.observed import LIKELIHOODS, Observed
from ppvae.zoo.options import Options, option
from ppvae.zoo.vae import autoencoder, encoder_of

__all__ = ["DOUBLE", "SINGLE", "TwoStageOptions"]

FEATURES = 256
Build: TypeAlias = Callable[[Spec, Any], tuple[nn.Module, nn.Module, ELBO]]


@dataclass(frozen=True)
class TwoStageOptions(Options):
    """Options of both two-stage entries."""

    latent_dim: int = option(3, "dimensions of z2", least=1)
    first_latent_dim: int = option(100, "dimensions of z1", least=1)
    network: str = option("conv", "kind of encoders and decoders", choices=("mlp", "conv"))
    hidden: tuple[int, ...] = option((512, 256), "sizes of the hidden layers of the mlp", least=1)
    second_hidden: tuple[int, ...] = option(
        (64, 64), "hidden layers of the second encoder", least=1
    )
    likelihood: str = option("bernoulli", "of a pixel or feature", choices=LIKELIHOODS)
    gamma: float = option(0.8, "weight of the first stage")
    beta1: float = option(1.0, "weight of the KL of z1, within the first stage")
    beta2: float = option(1.0, "weight of the KL of z2")
    alpha1: float = option(1.0, "weight of I(x; z1), within the first stage")
    alpha2: float = option(1.0, "weight of the information of z2")
    estimator: str = option("mine", "of the information", choices=tuple(ESTIMATORS))
    critic: str = option("separable", "form of the critics", choices=CRITICS)


def _decoder(x: Observed, size: int, options: TwoStageOptions) -> nn.Module:
    _, decoder = autoencoder(
        x,
        heads.DiagonalNormal(size),
        network=options.network,
        hidden=options.hidden,
    )
    return decoder


def _model(x: Observed, options: TwoStageOptions) -> TwoStageVAE:
    dims = (options.first_latent_dim, options.latent_dim)
    return TwoStageVAE(*(_decoder(x, size, options) for size in dims), latent_dims=dims)


def _objective(shape: tuple[int, ...], options: TwoStageOptions, *, double: bool) -> ELBO:
    """The published loss; the second term is I(x; z2), or I(z1; z2) if embedded twice."""
    first, second = (options.first_latent_dim,), (options.latent_dim,)
    gamma = options.gamma
    weights = {"x1": gamma, "z1": gamma * options.beta1, "z2": options.beta2}
    made = {name: getattr(options, name) for name in ("estimator", "critic", "network")}
    sites, shapes = (("z1", "z2"), (first, second)) if double else (("x", "z2"), (shape, second))
    return (
        ELBO(weights=weights)
        + information_term(("x", "z1"), (shape, first), weight=gamma * options.alpha1, **made)
        + information_term(sites, shapes, weight=options.alpha2, **made)
    )


def _single(spec: Spec, options: TwoStageOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    x = Observed.of(spec, options.likelihood)
    trunk = encoder_of(x, heads.Raw((FEATURES,)), kind=options.network, hidden=options.hidden)
    guide = SingleEmbeddingGuide(
        trunk,
        MLP(FEATURES, heads.DiagonalNormal(options.first_latent_dim), hidden=()),
        MLP(FEATURES, heads.DiagonalNormal(options.latent_dim), hidden=options.second_hidden),
    )
    return _model(x, options), guide, _objective(x.shape, options, double=False)


def _double(spec: Spec, options: TwoStageOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    x, dim = Observed.of(spec, options.likelihood), options.first_latent_dim
    first = encoder_of(x, heads.DiagonalNormal(dim), kind=options.network, hidden=options.hidden)
    second = MLP(dim, heads.DiagonalNormal(options.latent_dim), hidden=options.second_hidden)
    guide = DoubleEmbeddingGuide(first, second)
    return _model(x, options), guide, _objective(x.shape, options, double=True)


def _entry(name: str, summary: str, build: Build) -> Entry:
    return Entry(
        name=name,
        summary=summary,
        options=TwoStageOptions,
        build=build,
        default_data=cells,
        fit={"epochs": 30, "batch_size": 128, "learning_rate": 1e-3},
        metrics=information_metrics,
        figures=partial(information_figures, stage="2"),
    )


SINGLE = _entry("two-stage-single", "two-stage InfoMax-VAE, one embedding for both codes", _single)
DOUBLE = _entry("two-stage-double", "two-stage InfoMax-VAE, small code of the rich one", _double)
