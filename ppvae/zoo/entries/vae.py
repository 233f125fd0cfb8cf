"""``vae``: the variational autoencoder, of images or vectors."""

from __future__ import annotations

from typing import Annotated

import ppvae
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import option
from ppvae.zoo.parts import Networks, autoencoder, observed, weighted

__all__ = ["vae"]

MLPS = Networks()


@register(
    "vae",
    "variational autoencoder; beta-VAE",
    data="digits",
    fit={"epochs": 60, "batch_size": 128, "learning_rate": 1e-3},
)
def vae(
    columns: Spec,
    *,
    latent_dim: Annotated[int, option("dimensions of z", least=1)] = 10,
    nets: Networks = MLPS,
    full_covariance: Annotated[bool, option("full-covariance normal posterior")] = False,
    beta: Annotated[float, option("weight of the KL; other than 1: a beta-VAE")] = 1.0,
    warmup: Annotated[
        int, option("optimiser steps over which the weight of the KL rises from 0")
    ] = 0,
) -> Pair:
    """Latents z with a standard normal prior and an amortised normal posterior."""
    x = observed(columns, nets.likelihood)
    heads = ppvae.nets.heads
    family = heads.FullNormal if full_covariance else heads.DiagonalNormal
    encoder, decoder = autoencoder(x, family(latent_dim), nets)
    model = ppvae.models.VAE(decoder, latent_dim=latent_dim)
    return Pair(model, ppvae.guides.AmortizedGuide(encoder), weighted(beta, warmup))
