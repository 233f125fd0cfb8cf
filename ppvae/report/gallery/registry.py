"""The lists of figures and metrics, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ppvae.report.gallery import additive, common, latent, pose, spheres, unseen
from ppvae.report.gallery.subject import Figures, Subject

__all__ = ["FIGURES", "METRICS", "draw", "measure"]

FIGURES: Final[tuple[Callable[[Subject], Figures], ...]] = (
    unseen.predictions,
    unseen.turn,
    additive.share_figure,
    common.translation,
    common.reconstructions,
    latent.by_class,
    latent.manifolds,
    latent.traversals,
    latent.scatters,
    spheres.maps,
    spheres.walks,
    spheres.errors,
    spheres.paths,
    pose.figures,
    unseen.covariances,
    latent.densities,
    common.loss,
)

METRICS: Final[tuple[Callable[[Subject], dict[str, float]], ...]] = (
    unseen.unseen_metrics,
    additive.metrics,
    common.accuracy,
    pose.metrics,
    spheres.metrics,
    common.translation_errors,
    common.information,
)


def draw(subject: Subject) -> Figures:
    """All figures that apply, as (file name, caption, figure)."""
    return [shown for figure in FIGURES for shown in figure(subject)]


def measure(subject: Subject) -> dict[str, float]:
    """All metrics that apply, by name."""
    return {name: value for metric in METRICS for name, value in metric(subject).items()}
