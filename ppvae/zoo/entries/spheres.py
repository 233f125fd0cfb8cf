"""``svae``: the hyperspherical VAE, optionally with Euclidean latents beside the sphere."""

from __future__ import annotations

from typing import Annotated

import ppvae
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import option
from ppvae.zoo.parts import Networks, autoencoder, observed, weighted

__all__ = ["svae"]

MLPS = Networks()


@register(
    "svae",
    "hyperspherical VAE: latents on a sphere, optionally with Euclidean ones",
    data="digits",
    fit={"epochs": 60, "batch_size": 128, "learning_rate": 1e-3},
)
def svae(
    columns: Spec,
    *,
    latent_dim: Annotated[
        int,
        option(
            "number of components of the unit vector z; the sphere has one dimension fewer",
            least=2,
        ),
    ] = 3,
    euclidean: Annotated[int, option("number of further, normal latents; 0: none")] = 0,
    family: Annotated[
        str,
        option("family of the posterior of z", choices=("power-spherical", "von-mises-fisher")),
    ] = "power-spherical",
    nets: Networks = MLPS,
    beta: Annotated[float, option("weight of the KL")] = 1.0,
    warmup: Annotated[
        int, option("optimiser steps over which the weight of the KL rises from 0")
    ] = 0,
) -> Pair:
    """Unit vectors z with a uniform prior: the latent space has neither edge nor centre."""
    x = observed(columns, nets.likelihood)
    heads, priors = ppvae.nets.heads, ppvae.nets
    direction = (
        heads.PowerSphericalDirection(latent_dim)
        if family == "power-spherical"
        else heads.VonMisesFisherDirection(latent_dim)
    )
    latent: heads.Head = direction
    prior: priors.Prior = priors.AnyDirection(latent_dim)
    if euclidean:
        latent = heads.Beside(direction, heads.DiagonalNormal(euclidean))
        prior = ppvae.gp.JoinedPrior(prior, priors.StandardNormal(euclidean))
    encoder, decoder = autoencoder(x, latent, nets)
    model = ppvae.models.VAE(decoder, prior=prior)
    return Pair(model, ppvae.guides.AmortizedGuide(encoder), weighted(beta, warmup))
