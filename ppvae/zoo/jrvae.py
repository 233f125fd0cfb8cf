"""``jrvae``: the joint VAE of images at any angle; classes without names, poses apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from ppvae.data import Splits, posed_digits
from ppvae.objectives import ELBO
from ppvae.report.gallery.pictures import class_figures
from ppvae.runs.run import Run
from ppvae.zoo.entry import Entry, Figures, Spec
from ppvae.zoo.jvae import ENTRY as JVAE
from ppvae.zoo.jvae import JVAEOptions
from ppvae.zoo.observed import Observed
from ppvae.zoo.posed import PoseOptions, at_rest, pose_figures, pose_metrics, posed

__all__ = ["ENTRY", "JRVAEOptions"]


@dataclass(frozen=True)
class JRVAEOptions(PoseOptions, JVAEOptions):
    """Options of ``jrvae``."""


def _build(spec: Spec, options: JRVAEOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    model, guide, objective = JVAE.build(spec, options)
    sizes = [options.latent_dim, *options.classes]
    posed(model, guide, Observed.of(spec, options.likelihood), options, sizes)
    return model, guide, objective


def _metrics(run: Run, splits: Splits) -> dict[str, float]:
    return {**JVAE.metrics(run, splits), **pose_metrics(run, splits)}


def _figures(run: Run, splits: Splits) -> Figures:
    counts: dict[str, int] = run.model.counts  # type: ignore[assignment]
    rest = at_rest(run, splits) | {name: torch.tensor(0) for name in counts if name != "y"}
    made = class_figures(run, splits, classes=counts["y"], rest=rest)
    return made + pose_figures(run, splits)


ENTRY: Entry = replace(
    JVAE,
    name="jrvae",
    summary="joint VAE of images at any angle: classes without labels, poses apart",
    options=JRVAEOptions,
    build=_build,
    default_data=lambda: posed_digits(shift=0.0),
    metrics=_metrics,
    figures=_figures,
)
