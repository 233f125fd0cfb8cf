"""``dkl``: a deep kernel, what is measured at few of many patches of an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import ppvae
from ppvae.errors import ArgumentError, DataError
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import option
from ppvae.zoo.parts import Networks, autoencoder, encoder_of, observed

if TYPE_CHECKING:
    from ppvae.data import Dataset, Splits

__all__ = ["dkl"]


def _data() -> Splits:
    return ppvae.data.split_rows(ppvae.data.image_spectra())


def _arrange(splits: Splits, options: Any) -> Splits:
    """Patches with their targets (N, 1), most of those to train on not measured."""
    import torch

    from ppvae.data import Splits
    from ppvae.data.spectra import targets_of

    def part(data: Dataset, measured: int) -> Dataset:
        target = targets_of(data, options.scalar).float()
        if measured:
            generator = torch.Generator().manual_seed(0)
            kept = torch.randperm(len(target), generator=generator)[:measured]
            hidden = torch.ones(len(target), dtype=torch.bool)
            hidden[kept] = False
            target[hidden] = torch.nan
        names = ["x", *(name for name in ("position", "noise") if name in data)]
        whole = ppvae.data.Dataset(
            {**{name: data[name] for name in names}, "target": target[:, None]},
            missing_ok=(*data.missing_ok, "target"),
            record=data.record,
            row_names=data.row_names,
        )
        if options.embedding == "vae":
            return whole
        seen = ~target.isnan()
        if not seen.any():
            raise DataError("target: expected measured values; got none. Add some.")
        note = f"target: {int((~seen).sum())} of {len(target)} rows are not measured, left out"
        return whole.take(seen).noted(note)

    held_out = [None if data is None else part(data, 0) for data in splits[1:]]
    return Splits(part(splits.train, options.measured), *held_out)


@register(
    "dkl",
    "deep kernel: a GP on a learned embedding of patches, few of them measured",
    data=_data,
    missing_ok=("target",),
    fit={"epochs": 150, "batch_size": 100_000, "learning_rate": 5e-3, "validate_every": 25},
    arrange=_arrange,
)
def dkl(
    columns: Spec,
    *,
    scalar: Annotated[
        str,
        option(
            "number computed from the column spectrum as the target, if there is no column target"
        ),
    ] = "area",
    measured: Annotated[
        int, option("number of training rows that keep their target, chosen at random; 0: all")
    ] = 200,
    embedding: Annotated[
        str,
        option(
            "vae: embedding by a VAE of all patches; net: by a network of the measured ones",
            choices=("vae", "net"),
        ),
    ] = "vae",
    latent_dim: Annotated[int, option("dimensions of the embedding", least=1)] = 6,
    hidden: Annotated[tuple[int, ...], option("sizes of the hidden layers", least=1)] = (128, 64),
    frequencies: Annotated[
        int, option("number of random frequencies of the kernel; each gives two features", least=1)
    ] = 64,
    weight: Annotated[
        float,
        option("weight of the evidence of the targets, added to the ELBO of the patches", above=0),
    ] = 30.0,
) -> Pair:
    """The target is a GP over the embedding; the posterior of the GP's weights is exact."""
    from gpytorch.kernels import MaternKernel
    from torch import nn

    if "target" not in columns:
        raise ArgumentError(
            f"dkl: expected a column 'target' or 'spectrum'; got {list(columns)}. Add what is "
            "measured at each place."
        )
    nets = ppvae.nets
    settings = Networks(hidden=hidden, likelihood="normal-per-feature")
    x = observed(columns, "normal")
    body = guide = None
    if embedding == "vae":
        encoder, decoder = autoencoder(x, nets.heads.DiagonalNormal(latent_dim), settings)
        body = ppvae.models.VAE(decoder, latent_dim=latent_dim)
        guide = ppvae.guides.AmortizedGuide(encoder)
    else:
        encoder = encoder_of(x, nets.heads.Raw((latent_dim,)), settings)
    kernel = MaternKernel(nu=2.5, ard_num_dims=latent_dim)
    kernel.initialize(lengthscale=math.sqrt(latent_dim))
    gp = ppvae.gp.EmbeddedGP(
        nn.Sequential(encoder, nets.Mean()),
        ppvae.gp.RandomFeatures(kernel, latent_dim, num_frequencies=frequencies),
        outputs=math.prod(columns["target"]["shape"]) or 1,
    )
    objective = ppvae.objectives.ELBO()
    if body is not None and weight != 1:
        objective = ppvae.objectives.ELBO(weights={"target": weight, "w": weight})
    return Pair(
        ppvae.models.DeepKernel(gp, body), ppvae.guides.ExactWeightsGuide(gp, guide), objective
    )
