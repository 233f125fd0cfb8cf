"""``vae``: the variational autoencoder, on images or vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ppvae.data import digits
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, ConvDecoder, ConvEncoder, heads
from ppvae.objectives import ELBO, Linear
from ppvae.report.gallery.pictures import latent_figures
from ppvae.zoo.entry import Entry, Spec
from ppvae.zoo.observed import LIKELIHOODS, Observed
from ppvae.zoo.options import Options, option

__all__ = ["ENTRY", "VAEOptions", "autoencoder", "encoder_of"]


def encoder_of(
    x: Observed,
    head: heads.Head,
    *,
    kind: str,
    hidden: tuple[int, ...],
    conditions: Sequence[int] = (),
    join: int = 0,
) -> nn.Module:
    """A network of x, convolutional or fully connected; further inputs as :func:`autoencoder`."""
    shape = x.seen_shape
    if kind == "conv":
        return x.encoder(ConvEncoder(shape, head, conditions=conditions))
    pixels = (math.prod(shape), *conditions)
    return x.encoder(MLP(pixels, head, hidden=hidden, in_shape=shape, join=join))


def autoencoder(
    x: Observed,
    latent_head: heads.Head,
    *,
    network: str,
    hidden: tuple[int, ...],
    conditions: Sequence[int] = (),
    join: int = 0,
) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder for data of one shape: fully connected or convolutional.

    Both take further inputs of the sizes ``conditions``, after ``join`` layers of the mlp.
    """
    encoder = encoder_of(
        x, latent_head, kind=network, hidden=hidden, conditions=conditions, join=join
    )
    sizes = (latent_head.event_shape[0], *conditions)
    if network == "conv":
        return encoder, ConvDecoder(sizes, x.head())
    return encoder, MLP(sizes, x.head(), hidden=tuple(reversed(hidden)), join=join)


@dataclass(frozen=True)
class VAEOptions(Options):
    """Options of ``vae``."""

    latent_dim: int = option(10, "dimensions of z", least=1)
    network: str = option("mlp", "kind of encoder and decoder", choices=("mlp", "conv"))
    hidden: tuple[int, ...] = option((512, 256), "sizes of the hidden layers of the mlp", least=1)
    likelihood: str = option("bernoulli", "of a pixel or feature", choices=LIKELIHOODS)
    full_covariance: bool = option(False, "full-covariance normal posterior")
    beta: float = option(1.0, "weight of the KL (beta-VAE)")
    warmup: int = option(0, "optimiser steps over which the KL's weight rises from 0")


def _build(spec: Spec, options: VAEOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    family = heads.FullNormal if options.full_covariance else heads.DiagonalNormal
    encoder, decoder = autoencoder(
        Observed.of(spec, options.likelihood),
        family(options.latent_dim),
        network=options.network,
        hidden=options.hidden,
    )
    model = VAE(decoder, latent_dim=options.latent_dim)
    weight = Linear(0.0, options.beta, options.warmup) if options.warmup else options.beta
    objective = ELBO() if weight == 1.0 else ELBO(weights={"z": weight})
    return model, AmortizedGuide(encoder), objective


ENTRY = Entry(
    name="vae",
    summary="variational autoencoder, beta-VAE",
    options=VAEOptions,
    build=_build,
    default_data=digits,
    fit={"epochs": 60, "batch_size": 128, "learning_rate": 1e-3},
    figures=latent_figures,
)
