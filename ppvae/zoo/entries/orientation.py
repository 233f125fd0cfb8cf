"""``so3vae``: the rotation in space of each picture apart from its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import ppvae
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import Options, option
from ppvae.zoo.parts import Networks, encoder_of, expect_pictures, observed

if TYPE_CHECKING:
    from torch import nn

    from ppvae.data import Splits
    from ppvae.objectives import ELBO

__all__ = ["Search", "so3vae"]

MLPS = Networks(hidden=(512, 256), likelihood="normal")


@dataclass(frozen=True)
class Search(Options):
    """Search over rotations in the first steps, and modes of the posterior."""

    modes: Annotated[int, option("number of modes of the rotation's posterior", least=1)] = 4
    search: Annotated[
        int, option("number of initial optimiser steps that search over rotations; 0: none")
    ] = 1000
    searched: Annotated[
        int, option("number of rotations compared in each step of the search", least=1)
    ] = 384
    contents: Annotated[
        int,
        option(
            "number of contents compared in each step of the search: one per kind of object",
            least=1,
        ),
    ] = 1

    def objective(self) -> ELBO:
        """The ELBO, after the search if there is one."""
        objectives = ppvae.objectives
        if not self.search:
            return objectives.ELBO()
        rise = objectives.Linear(0.0, 1.0, max(1, self.search // 4), after=self.search)
        fall = objectives.Linear(1.0, 0.0, max(1, self.search // 4), after=self.search)
        sites = ["x", "z", "rotation", *(["turn"] if self.modes > 1 else [])]
        return objectives.ELBO(weights=dict.fromkeys(sites, rise)) + objectives.RotationSearch(
            self.searched, contents=self.contents, steps=self.search, weight=fall
        )


SEARCH = Search()


def _check(splits: Splits) -> None:
    """Refuse a column ``orientation`` that does not contain rotations."""
    import torch

    for part in splits:
        if part is not None and "orientation" in part:
            column = torch.as_tensor(part["orientation"])
            ppvae.distributions.as_rotations(column)


@register(
    "so3vae",
    "VAE that separates the 3D rotation of each pictured object from its content",
    data="turned_solids",
    fit={"epochs": 60, "batch_size": 64, "learning_rate": 2e-3},
    check=_check,
)
def so3vae(
    columns: Spec,
    *,
    latent_dim: Annotated[int, option("number of dimensions of the content z", least=1)] = 2,
    decoder: Annotated[
        str,
        option(
            "points: a cloud of points, rotated and projected; irreps: features rotated by Wigner "
            "matrices; plain: a network that takes the matrix as nine numbers",
            choices=("points", "irreps", "plain"),
        ),
    ] = "points",
    points: Annotated[int, option("number of points of the cloud", least=1)] = 64,
    degree: Annotated[int, option("highest degree of the irreducible features", least=1)] = 4,
    rotations: Search = SEARCH,
    nets: Networks = MLPS,
) -> Pair:
    """A rotation R with a uniform prior, and a content z with a standard normal prior."""
    x = observed(columns, nets.likelihood)
    expect_pictures(x, "the rotation of solids")
    heads = ppvae.nets.heads
    head = x.head()
    hidden = tuple(reversed(nets.hidden))

    def pictures(size: int | list[int]) -> nn.Module:
        return ppvae.nets.MLP(size, head, hidden=hidden)

    turning: nn.Module
    if decoder == "points":
        turning = ppvae.nets.PointDecoder(latent_dim, head, points=points)
    elif decoder == "irreps":
        turning = ppvae.nets.IrrepDecoder(latent_dim, pictures, degree=degree)
    else:
        turning = ppvae.nets.FlatRotation(pictures([latent_dim, 9]))
    oriented = ppvae.models.OrientedDecoder(turning, modes=rotations.modes)
    model = ppvae.models.VAE(oriented, latent_dim=latent_dim)
    orient = ppvae.guides.Orient(
        encoder_of(x, heads.RotationModes(rotations.modes), nets), modes=rotations.modes
    )
    encoder = encoder_of(x, heads.DiagonalNormal(latent_dim), nets)
    guide = ppvae.guides.AmortizedGuide(_sequence(orient, encoder))
    return Pair(model, guide, rotations.objective())


def _sequence(*modules: nn.Module) -> nn.Module:
    from torch import nn

    return nn.Sequential(*modules)
