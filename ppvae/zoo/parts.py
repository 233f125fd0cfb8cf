"""Networks, likelihoods and terms that several entries build from their options."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import ppvae
from ppvae.errors import ArgumentError
from ppvae.zoo.options import Options, option

if TYPE_CHECKING:
    from torch import nn

    from ppvae.nets import FeatureNetwork, heads
    from ppvae.objectives import ELBO
    from ppvae.zoo.entry import Spec
    from ppvae.zoo.observed import Observed

__all__ = [
    "EMBEDDINGS",
    "LIKELIHOODS",
    "UNITS",
    "ModulatedNetworks",
    "Networks",
    "Teaching",
    "autoencoder",
    "class_count",
    "encoder_of",
    "expect_pictures",
    "gp_rates",
    "observed",
    "shuffled",
    "weighted",
]

# Embeddings of the inputs of a deep kernel, by name.
EMBEDDINGS = ("residual", "components", "position")

UNITS = "normal-per-feature"
LIKELIHOODS = (
    "auto",
    "bernoulli",
    "continuous-bernoulli",
    "normal",
    "normal-per-pixel",
    UNITS,
    "laplace",
    "poisson",
    "negative-binomial",
    "zero-inflated",
)


@dataclass(frozen=True)
class Networks(Options):
    """Networks between x and the latents, and the likelihood of x."""

    network: Annotated[str, option("kind of networks", choices=("mlp", "conv"))] = "mlp"
    hidden: Annotated[
        tuple[int, ...], option("sizes of the hidden layers of the MLPs", least=1)
    ] = (512, 256)
    likelihood: Annotated[
        str, option("distribution of a pixel or feature", choices=LIKELIHOODS)
    ] = "bernoulli"


@dataclass(frozen=True)
class ModulatedNetworks(Networks):
    """Networks that are given conditions, which by default act on each layer."""

    network: Annotated[
        str,
        option(
            "kind of networks; film: MLPs whose layers are scaled and shifted by the conditions",
            choices=("film", "mlp", "conv"),
        ),
    ] = "film"


@dataclass(frozen=True)
class Teaching(Options):
    """Terms that keep classes equally frequent, and unchanged by small warps of an image."""

    balance: Annotated[
        float, option("weight of the term that keeps the classes equally frequent")
    ] = 10.0
    consistency: Annotated[
        float,
        option("weight of the term that keeps the class unchanged by small warps of an image"),
    ] = 50.0

    def added(self, objective: ELBO, shape: tuple[int, ...], site: str) -> ELBO:
        """The objective with these terms; the warps are left out where x is not an image."""
        if self.balance:
            objective += ppvae.objectives.Balance(site, weight=self.balance)
        if self.consistency and len(shape) == 3:
            warp = ppvae.nets.Warp(shape, rotation=0.25, translation=0.1, scale=0.15, bend=0.08)
            objective += ppvae.objectives.Consistency(warp, site, weight=self.consistency)
        return objective


def observed(spec: Spec, name: str | None, column: str = "x") -> Observed:
    """The description of a column that networks are built from, with its likelihood by name."""
    from ppvae.zoo.observed import Observed

    return Observed.of(spec, name, column)


def encoder_of(
    x: Observed,
    head: heads.Head,
    nets: Networks,
    *,
    network: str | None = None,
    conditions: Sequence[int] = (),
    join: int = 0,
    norm: bool = False,
) -> nn.Module:
    """A network of x; further inputs as in :func:`autoencoder`, ``norm`` as for an MLP.

    Raises:
        ArgumentError: If a convolutional network is asked for, and x is no picture.
    """
    shape = x.seen_shape
    if (network or nets.network) == "conv":
        expect_pictures(x, "networks of convolutions", remedy="Use mlp as network.")
        return x.encoder(ppvae.nets.ConvEncoder(shape, head, conditions=conditions))
    inputs = (math.prod(shape), *conditions)
    if (network or nets.network) == "film":
        film = ppvae.nets.ModulatedMLP(inputs, head, hidden=nets.hidden, in_shape=shape)
        return x.encoder(film)
    net = ppvae.nets.MLP(inputs, head, hidden=nets.hidden, in_shape=shape, join=join, norm=norm)
    return x.encoder(net)


def expect_pictures(
    x: Observed, what: str, *, remedy: str = "Choose another model, such as vae."
) -> None:
    """Refuse data that are not pictures, for parts that need them.

    Raises:
        ArgumentError: If the shape of a row is not (C, H, W).
    """
    if len(x.shape) != 3:
        raise ArgumentError(
            f"x: expected pictures, with shape (C, H, W), for {what}; got rows with shape "
            f"{tuple(x.shape)}. {remedy}"
        )


def autoencoder(
    x: Observed,
    latent: heads.Head,
    nets: Networks,
    *,
    network: str | None = None,
    conditions: Sequence[int] = (),
    join: int = 0,
) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder for data of one shape.

    Arguments:
        x: The observed column.
        latent: Head of the encoder.
        nets: Kind and sizes of the networks.
        network: Kind of the networks, in place of that in ``nets``.
        conditions: Sizes of further inputs of both networks.
        join: Number of hidden layers of the MLP before the further inputs are joined.
    """
    kind = network or nets.network
    encoder = encoder_of(x, latent, nets, network=kind, conditions=conditions, join=join)
    sizes = (latent.event_shape[0], *conditions)
    if kind == "conv":
        return encoder, ppvae.nets.ConvDecoder(sizes, x.head())
    hidden = tuple(reversed(nets.hidden))
    if kind == "film":
        return encoder, ppvae.nets.ModulatedMLP(sizes, x.head(), hidden=hidden)
    return encoder, ppvae.nets.MLP(sizes, x.head(), hidden=hidden, join=join)


def shuffled(
    latent_dim: int, head: heads.Head, *, channels: tuple[int, ...], hidden: int
) -> FeatureNetwork:
    """A convolutional decoder that enlarges by pixel shuffling; an MLP where data are vectors.

    Arguments:
        latent_dim: Size of z.
        head: The likelihood.
        channels: Filters of the convolutions.
        hidden: Size of the hidden layer before the convolutions; the MLP's two hidden layers have
            this size and four times this size.
    """
    nets = ppvae.nets
    if len(head.event_shape) != 3:
        return nets.MLP(latent_dim, head, hidden=(hidden, 4 * hidden))
    last = max(1, channels[-1] // 2)
    return nets.ConvDecoder(
        latent_dim,
        head,
        channels=channels,
        last_channels=last,
        hidden=hidden,
        upsample="shuffle",
    )


def weighted(beta: float, warmup: int = 0) -> ELBO:
    """The ELBO with a weight on the KL of z, which may rise from 0 over ``warmup`` steps."""
    objectives = ppvae.objectives
    if warmup:
        return objectives.ELBO(weights={"z": objectives.Linear(0.0, beta, warmup)})
    return objectives.ELBO() if beta == 1.0 else objectives.ELBO(weights={"z": beta})


def class_count(spec: Spec, asked: int) -> int:
    """``asked``, or the number of classes in the column ``y``.

    Raises:
        ArgumentError: If ``asked`` is 0 and there is no column ``y``, or if it has one class.
    """
    count = asked or (int(spec["y"]["classes"] or 0) if "y" in spec else 0)
    if count < 2:
        raise ArgumentError(
            f"num_classes: expected at least 2 classes in a column 'y'; got {count}. "
            "Add the column, or use the model vae."
        )
    return count


def gp_rates(model: nn.Module, guide: nn.Module) -> Mapping[str, object]:
    """The GP and the predictive scale learn faster than the networks."""
    parts: Any = model
    fitting = ppvae.fitting
    return {
        "optimizer": fitting.grouped_adam(
            (parts.prior.parameters(), 2.5),
            (parts.decoder.decoder.head.parameters(), 2.0),
            betas=(0.9, 0.99),
        ),
        "schedule": fitting.warmup_cosine(0.1, floor=0.01),
    }
