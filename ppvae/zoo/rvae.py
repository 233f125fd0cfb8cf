"""``rvae``: a VAE that finds the angle of each image, apart from what it shows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ppvae import plots
from ppvae.data import Splits, posed_digits
from ppvae.objectives import ELBO
from ppvae.runs.run import Run
from ppvae.zoo.entry import Entry, Figures, Spec
from ppvae.zoo.observed import Observed
from ppvae.zoo.options import option
from ppvae.zoo.posed import PoseOptions, at_rest, pose_figures, pose_metrics, posed
from ppvae.zoo.vae import ENTRY as VAE
from ppvae.zoo.vae import VAEOptions

__all__ = ["ENTRY", "RVAEOptions", "build_posed", "figures_posed"]


@dataclass(frozen=True)
class RVAEOptions(PoseOptions, VAEOptions):
    """Options of ``rvae``."""

    latent_dim: int = option(8, "dimensions of z", least=1)
    modes: int = option(2, "of the angle's posterior, evenly around the circle", least=1)
    hidden: tuple[int, ...] = option((256, 128), "sizes of the hidden layers of the mlp", least=1)


def build_posed(spec: Spec, options: RVAEOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    """The pair and the objective of ``vae``, with poses."""
    model, guide, objective = VAE.build(spec, options)
    posed(
        model,
        guide,
        Observed.of(spec, options.likelihood),
        options,
        [options.latent_dim],
        options.modes,
    )
    return model, guide, objective


def figures_posed(run: Run, splits: Splits) -> Figures:
    """What z decodes to at rest, then :func:`~ppvae.zoo.posed.pose_figures`."""
    made: Figures = []
    rest = at_rest(run, splits)
    dim = run.model.prior().event_shape[0]  # type: ignore[operator]
    if len(splits.train["x"].shape) == 4 and dim > 1:

        def upright(z: Tensor) -> Tensor:
            held = {name: value.expand(len(z), *value.shape) for name, value in rest.items()}
            return run.decode({"z": z, **held})["x"]

        caption = "Decoded means at rest over the first two dimensions of z."
        made.append(("manifold.png", caption, plots.manifold(upright, dim, number=8)))
    return made + pose_figures(run, splits)


ENTRY = Entry(
    name="rvae",
    summary="VAE that finds the angle of each image apart from its content",
    options=RVAEOptions,
    build=build_posed,
    default_data=lambda: posed_digits(shift=0.0),
    fit={"epochs": 40, "batch_size": 100, "learning_rate": 2e-3},
    metrics=pose_metrics,
    figures=figures_posed,
)
