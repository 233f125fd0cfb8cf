"""``infomax`` and the two-stage models: VAEs with a reward for information in the latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import ppvae
from ppvae.zoo.entries.vae import vae
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import Options, option
from ppvae.zoo.parts import Networks, autoencoder, encoder_of, observed

if TYPE_CHECKING:
    from torch import nn

    from ppvae.data import Splits
    from ppvae.objectives import ELBO, MutualInformation
    from ppvae.zoo.observed import Observed

__all__ = ["Critics", "Stages", "infomax", "two_stage_double", "two_stage_single"]

ESTIMATORS = {
    "mine": "MINE",
    "donsker-varadhan": "DonskerVaradhan",
    "infonce": "InfoNCE",
    "nwj": "NWJ",
    "smile": "SMILE",
}
# A joint critic passes each pair through its network: this many other rows per datum.
OTHERS = 8
# One layer, so that a step costs little more than without the critic.
HIDDEN = (128,)
FEATURES = 256


def small_cells() -> Splits:
    """Cells of a size that these models are fitted to within minutes on two cores."""
    return ppvae.data.cells(size=32)


@dataclass(frozen=True)
class Critics(Options):
    """Estimates of mutual information."""

    estimator: Annotated[
        str, option("estimator of the mutual information", choices=tuple(ESTIMATORS))
    ] = "mine"
    critic: Annotated[
        str,
        option(
            "form of the critic: one network of each variable (separable) or of both (joint)",
            choices=("separable", "joint"),
        ),
    ] = "separable"

    def term(
        self,
        sites: tuple[str, str],
        shapes: tuple[Sequence[int], Sequence[int]],
        *,
        network: str,
        weight: float,
    ) -> MutualInformation:
        """The term between two sites of these shapes."""
        objectives = ppvae.objectives
        critic = objectives.critic_between(
            *shapes,
            form="joint" if self.critic == "joint" else "separable",
            hidden=HIDDEN,
            convolutions=network == "conv",
            others=OTHERS,
        )
        estimator = getattr(objectives, ESTIMATORS[self.estimator])()
        return objectives.MutualInformation(*sites, critic, estimator=estimator, weight=weight)


# Cells are dark: by a Bernoulli likelihood their latents gain less than their KL costs.
CRITICS, CONVS = Critics(), Networks(network="conv", likelihood="normal")


@register(
    "infomax",
    "InfoMax-VAE: a VAE rewarded for the information about x in its latents",
    extends=vae,
    defaults={"network": "conv", "likelihood": "normal"},
    data=small_cells,
    fit={"epochs": 20, "batch_size": 128, "learning_rate": 2e-3},
)
def infomax(
    columns: Spec,
    *,
    alpha: Annotated[float, option("weight of the mutual information I(x; z)")] = 1.0,
    critics: Critics = CRITICS,
    **options: Any,
) -> Pair:
    """A vae whose objective rewards the mutual information of x and z."""
    model, guide, objective = vae(columns, **options)
    term = critics.term(
        ("x", "z"),
        (columns["x"]["shape"], (options["latent_dim"],)),
        network=options["network"],
        weight=alpha,
    )
    return Pair(model, guide, objective + term)


@dataclass(frozen=True)
class Stages(Options):
    """Sizes and weights of a first stage z1 with many dimensions, and a second z2 with few."""

    latent_dim: Annotated[int, option("dimensions of z2", least=1)] = 3
    first_latent_dim: Annotated[int, option("dimensions of z1", least=1)] = 100
    second_hidden: Annotated[
        tuple[int, ...], option("sizes of the hidden layers of the second encoder", least=1)
    ] = (64, 64)
    gamma: Annotated[float, option("weight of the first stage's reconstruction and KL")] = 0.8
    beta1: Annotated[float, option("weight of the KL of z1 within the first stage")] = 1.0
    beta2: Annotated[float, option("weight of the KL of z2")] = 1.0
    alpha1: Annotated[float, option("weight of I(x; z1) within the first stage")] = 1.0
    alpha2: Annotated[float, option("weight of I(x; z2), or of I(z1; z2) in two-stage-double")] = (
        1.0
    )

    def model(self, x: Observed, nets: Networks) -> nn.Module:
        """Both generative programs."""
        normal, dims = ppvae.nets.heads.DiagonalNormal, (self.first_latent_dim, self.latent_dim)
        decoders = [autoencoder(x, normal(size), nets)[1] for size in dims]
        return ppvae.models.TwoStageVAE(*decoders, latent_dims=dims)

    def objective(
        self, shape: tuple[int, ...], nets: Networks, critics: Critics, *, double: bool
    ) -> ELBO:
        """The published loss; the second term is I(x; z2), or I(z1; z2) if embedded twice."""
        first, second = (self.first_latent_dim,), (self.latent_dim,)
        weights = {"x1": self.gamma, "z1": self.gamma * self.beta1, "z2": self.beta2}
        sites, shapes = (
            (("z1", "z2"), (first, second)) if double else (("x", "z2"), (shape, second))
        )
        one = critics.term(
            ("x", "z1"), (shape, first), network=nets.network, weight=self.gamma * self.alpha1
        )
        two = critics.term(sites, shapes, network=nets.network, weight=self.alpha2)
        return ppvae.objectives.ELBO(weights=weights) + one + two


STAGES = Stages()


@register(
    "two-stage-single",
    "two-stage InfoMax-VAE: one embedding for both codes",
    data=small_cells,
    fit={"epochs": 20, "batch_size": 128, "learning_rate": 2e-3},
)
def two_stage_single(
    columns: Spec, *, stages: Stages = STAGES, nets: Networks = CONVS, critics: Critics = CRITICS
) -> Pair:
    """A code z1 with many dimensions and a code z2 with few, both from one network of x."""
    x, mlp = observed(columns, nets.likelihood), ppvae.nets.MLP
    heads = ppvae.nets.heads
    guide = ppvae.guides.SingleEmbeddingGuide(
        encoder_of(x, heads.Raw((FEATURES,)), nets),
        mlp(FEATURES, heads.DiagonalNormal(stages.first_latent_dim), hidden=()),
        mlp(FEATURES, heads.DiagonalNormal(stages.latent_dim), hidden=stages.second_hidden),
    )
    objective = stages.objective(x.shape, nets, critics, double=False)
    return Pair(stages.model(x, nets), guide, objective)


@register(
    "two-stage-double",
    "two-stage InfoMax-VAE: the small code is computed from the large one",
    data=small_cells,
    fit={"epochs": 20, "batch_size": 128, "learning_rate": 2e-3},
)
def two_stage_double(
    columns: Spec, *, stages: Stages = STAGES, nets: Networks = CONVS, critics: Critics = CRITICS
) -> Pair:
    """A code z1 with many dimensions, and a code z2 with few that is made from z1."""
    x, dim = observed(columns, nets.likelihood), stages.first_latent_dim
    normal = ppvae.nets.heads.DiagonalNormal
    guide = ppvae.guides.DoubleEmbeddingGuide(
        encoder_of(x, normal(dim), nets),
        ppvae.nets.MLP(dim, normal(stages.latent_dim), hidden=stages.second_hidden),
    )
    objective = stages.objective(x.shape, nets, critics, double=True)
    return Pair(stages.model(x, nets), guide, objective)
