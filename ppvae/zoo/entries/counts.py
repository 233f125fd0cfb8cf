"""``counts``: a VAE of counts such as gene expression, with libraries, batches and covariates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, cast

import ppvae
from ppvae.errors import ArgumentError
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import option
from ppvae.zoo.parts import Networks, encoder_of, observed

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from ppvae.nets import Head
    from ppvae.zoo.observed import Observed

__all__ = ["counts"]

# Standard deviation of the prior of the weights; few cells need it most.
WEIGHT_SD = 0.09
KINDS = ("poisson", "negative-binomial", "zero-inflated")


def _with_prior(model: nn.Module, guide: nn.Module) -> Mapping[str, object]:
    """Adam with a normal prior of all weights: rare genes stay near their mean share."""

    def optimizer(parameters: Iterable[nn.Parameter], learning_rate: float) -> Optimizer:
        decay = 1 / (WEIGHT_SD**2 * cast("ppvae.models.CountVAE", model).num_rows)
        adam = ppvae.fitting.grouped_adam(weight_decay=decay)
        return adam(parameters, learning_rate)

    return {"optimizer": optimizer}


@register(
    "counts",
    "VAE of counts such as gene expression: library sizes, dispersion, batches",
    data="expression",
    fit={"epochs": 60, "batch_size": 128, "learning_rate": 2e-3},
    covariates=lambda options: ("size_factor",) if options.library == "size-factor" else (),
    tune=_with_prior,
)
def counts(
    columns: Spec,
    *,
    latent_dim: Annotated[int, option("dimensions of z", least=1)] = 100,
    hidden: Annotated[tuple[int, ...], option("sizes of the hidden layers", least=1)] = (128,),
    likelihood: Annotated[str, option("distribution of a count", choices=KINDS)] = "zero-inflated",
    dispersion: Annotated[
        str,
        option(
            "what the dispersion depends on: the gene, gene and batch, or gene and cell",
            choices=("gene", "batch", "cell"),
        ),
    ] = "gene",
    library: Annotated[
        str,
        option(
            "library size (total count) of a cell: observed, a latent, or the column size_factor",
            choices=("observed", "latent", "size-factor"),
        ),
    ] = "observed",
    norm: Annotated[bool, option("normalise the hidden layers")] = True,
    warmup: Annotated[
        int, option("optimiser steps over which the weight of the KL rises from 0")
    ] = 400,
) -> Pair:
    """Mean counts are shares of a cell's library; batch and covariates enter both networks."""
    x = observed(columns, likelihood)
    if x.library is None:
        raise ArgumentError(
            "counts: expected counts (whole numbers from 0, some above 1) in x; got other values. "
            "Pass raw counts (of an AnnData: --layer, or layer=), or use vae."
        )
    batches = int(columns["batch"]["classes"] or 0) if "batch" in columns else 0
    factors = math.prod(columns["c"]["shape"]) if "c" in columns else 0
    sizes = [size for size in (batches, factors) if size]
    encoder = encoder_of(
        x,
        ppvae.nets.heads.DiagonalNormal(latent_dim),
        Networks(network="mlp", hidden=hidden),
        conditions=sizes,
        norm=norm,
    )
    if likelihood == "poisson" and dispersion != "gene":
        raise ArgumentError(
            f"dispersion: expected a likelihood that has one; got poisson with {dispersion}. Use "
            "--likelihood negative-binomial, or leave --dispersion out."
        )
    if library == "size-factor" and tuple(columns.get("size_factor", {}).get("shape", (1,))):
        raise ArgumentError(
            f"library: expected a column 'size_factor' with one number per cell; got columns "
            f"{list(columns)}. Add it, or leave --library out."
        )
    if library == "size-factor" and columns["size_factor"].get("names"):
        raise ArgumentError(
            f"library: expected numbers in the column 'size_factor'; got the names "
            f"{', '.join(columns['size_factor']['names'][:4])}. Write numbers, about 1 each."
        )
    head = x.head(per_datum=dispersion == "cell")
    decoder = ppvae.nets.MLP([latent_dim, *sizes], head, hidden=tuple(reversed(hidden)), norm=norm)
    latent = library == "latent"
    scaling = ppvae.nets.FactorScaling(factors) if factors else None
    model = ppvae.models.CountVAE(
        decoder,
        latent_dim=latent_dim,
        batches=batches,
        scaling=scaling,
        library=_library(x, batches) if latent else None,
        log_theta=_dispersion(head, batches) if dispersion == "batch" else None,
        typical=math.exp(x.library[0]) if library == "size-factor" else None,
    )
    guide = ppvae.guides.CountGuide(
        encoder, batches=batches, scaling=scaling, latent_library=latent
    )
    objectives = ppvae.objectives
    rising = {"z": objectives.Linear(0.0, 1.0, warmup)} if warmup else None
    return Pair(model, guide, objectives.ELBO(weights=rising))


def _library(x: Observed, batches: int) -> Tensor:
    import torch

    mean, sd = x.library or (0.0, 1.0)
    return torch.tensor([[mean, max(sd, 1e-2)]]).repeat(max(batches, 1), 1)


def _dispersion(head: Head, batches: int) -> Tensor | None:
    """The initial dispersions of each batch, which replace the head's own."""
    heads = ppvae.nets.heads
    scored = head.head if isinstance(head, heads.Masked) else head
    if not isinstance(scored, heads.NegativeBinomial):
        return None
    initial = scored.log_theta.detach().clone()
    scored.log_theta.requires_grad_(False)
    return initial.expand(max(batches, 1), *initial.shape).clone()
