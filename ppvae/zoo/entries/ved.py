"""``ved``: the encoder-decoder between modalities, such as an image and its spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import ppvae
from ppvae.errors import ArgumentError
from ppvae.zoo import parts
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import option

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ved"]

KINDS = ("mlp", "conv")


@register(
    "ved",
    "encoder-decoder between modalities: predicts x from source, with uncertainty",
    data="digit_spectra",
    fit={"epochs": 30, "batch_size": 128, "learning_rate": 1e-3},
)
def ved(
    columns: Spec,
    *,
    latent_dim: Annotated[int, option("dimensions of z", least=1)] = 8,
    encoder: Annotated[str, option("kind of the encoder of source", choices=KINDS)] = "conv",
    decoder: Annotated[str, option("kind of the decoder of x", choices=KINDS)] = "mlp",
    hidden: Annotated[
        tuple[int, ...], option("sizes of the hidden layers of the MLPs", least=1)
    ] = (256, 256),
    likelihood: Annotated[
        str, option("distribution of an element of x", choices=parts.LIKELIHOODS)
    ] = "normal",
    beta: Annotated[float, option("weight of the KL")] = 1.0,
) -> Pair:
    """The column source is encoded into z and x is decoded from it: p(x | source)."""
    if "source" not in columns:
        raise ArgumentError(
            f"ved: expected columns 'source' and 'x'; got {list(columns)}. Name what is given "
            "'source' and what is to be predicted 'x'."
        )
    source, x = parts.observed(columns, None, "source"), parts.observed(columns, likelihood)
    nets, head = ppvae.nets, x.head()
    if decoder == "conv" and len(x.shape) == 3:
        decoding: nn.Module = nets.ConvDecoder(latent_dim, head)
    else:
        decoding = nets.MLP(latent_dim, head, hidden=hidden)
    encoding = parts.encoder_of(
        source,
        nets.heads.DiagonalNormal(latent_dim),
        parts.Networks(hidden=hidden),
        network=encoder if len(source.shape) == 3 else "mlp",
    )
    model = ppvae.models.VAE(decoding, latent_dim=latent_dim)
    return Pair(model, ppvae.guides.SourceGuide(encoding), parts.weighted(beta))
