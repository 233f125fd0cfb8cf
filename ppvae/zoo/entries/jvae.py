"""``jvae``: the joint VAE, with classes that are learned without labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import ppvae
from ppvae.errors import ArgumentError
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import Options, option
from ppvae.zoo.parts import Networks, Teaching, encoder_of, observed

if TYPE_CHECKING:
    from ppvae.objectives import ELBO

__all__ = ["Capacities", "jvae"]

CONVS = Networks(network="conv", hidden=(128, 128))
TEACHING = Teaching(balance=100.0, consistency=200.0)


@dataclass(frozen=True)
class Capacities(Options):
    """Target values of the KLs (capacities), which rise over the first steps."""

    capacity_z: Annotated[float, option("final target of the KL of z, in nats")] = 12.0
    capacity_y: Annotated[
        float,
        option(
            "final target of the KL of the classes, in nats; 0: its maximum, the logarithm of "
            "their number"
        ),
    ] = 0.0
    gamma_z: Annotated[
        float, option("weight of the distance between the KL of z and its target")
    ] = 10.0
    gamma_y: Annotated[
        float, option("weight of the distance between the KL of the classes and its target")
    ] = 100.0
    steps: Annotated[int, option("optimiser steps over which the targets rise from 0")] = 1500

    def objective(self, counts: dict[str, int]) -> ELBO:
        """The ELBO with these capacities, for discrete sites with these numbers of classes."""
        capacity, linear = ppvae.objectives.Capacity, ppvae.objectives.Linear
        most = self.capacity_y or sum(math.log(k) for k in counts.values())
        # The classes' capacity rises first, so that they are in use before z holds everything.
        early = max(1, self.steps // 3)
        return ppvae.objectives.ELBO(
            capacity={
                "z": capacity(linear(0.0, self.capacity_z, self.steps), self.gamma_z),
                tuple(counts): capacity(linear(0.0, most, early), self.gamma_y),
            }
        )


CAPACITIES = Capacities()


@register(
    "jvae",
    "joint VAE: continuous and discrete latents, without labels",
    data="digits",
    fit={"epochs": 40, "batch_size": 128, "learning_rate": 2e-3},
)
def jvae(
    columns: Spec,
    *,
    classes: Annotated[
        tuple[int, ...],
        option("number of classes of each discrete latent: y, y2, y3, ...", least=1),
    ] = (10,),
    latent_dim: Annotated[int, option("dimensions of z", least=1)] = 6,
    capacities: Capacities = CAPACITIES,
    teaching: Teaching = TEACHING,
    nets: Networks = CONVS,
    join: Annotated[
        int, option("number of hidden layers of the decoder before the class enters")
    ] = 1,
) -> Pair:
    """Discrete latents y, which are summed out exactly, and a continuous latent z."""
    x, heads = observed(columns, nets.likelihood), ppvae.nets.heads
    if not classes or min(classes) < 2:
        raise ArgumentError(
            f"classes: expected at least 2 for each discrete latent; got {classes}. "
            "Use the model vae if there is one class."
        )
    counts = {f"y{i}" if i > 1 else "y": k for i, k in enumerate(classes, 1)}
    sites: dict[str, heads.Head] = {"z": heads.DiagonalNormal(latent_dim)}
    sites |= {name: heads.Classes(k) for name, k in counts.items()}
    kind = nets.network if len(x.shape) == 3 else "mlp"
    encoder = encoder_of(x, ppvae.nets.Sites(sites), nets, network=kind)
    decoder = ppvae.nets.MLP(
        [latent_dim, *classes],
        x.head(),
        hidden=nets.hidden,
        join=join,
    )
    objective = capacities.objective(counts)
    for name in counts:
        objective = teaching.added(objective, x.shape, name)
    model = ppvae.models.JointVAE(decoder, latent_dim=latent_dim, classes=counts)
    return Pair(model, ppvae.guides.FactorizedGuide(encoder), objective)
