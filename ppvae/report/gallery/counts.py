"""How counts agree with the expected ones, and how their latents keep labels and mix batches."""

from __future__ import annotations

import torch

from ppvae import plots
from ppvae.evaluate import batch_mixing, knn_probe
from ppvae.evaluate.probes import is_class
from ppvae.programs import decode
from ppvae.report.gallery.listed import figure, metric
from ppvae.report.gallery.subject import Figures, Subject

__all__ = ["expected", "metrics"]


@figure(60)
def expected(subject: Subject) -> Figures:
    """Held-out vectors of counts against their reconstructions."""
    likelihood = subject.likelihood
    if likelihood is None or not likelihood.head.is_count:
        return []
    figures: Figures = []
    for site, value in subject.observed.items():
        latents = {name: subject.latents[name] for name in subject.sites}
        mean = decode(subject.run.model, latents, columns=subject.batch, site=site)[site]
        if mean.shape == value.shape and mean.dim() == 2:
            caption = (
                "Held-out counts against those that their reconstructions expect: each value, and "
                "means by feature."
            )
            figures.append(("counts.png", caption, plots.expected_counts(value, mean)))
    return figures


@metric
def metrics(subject: Subject) -> dict[str, float]:
    """``label_knn``, the accuracy of y by neighbours in the latents, and ``batch_mixing``.

    For a likelihood of counts and held-out data with the columns ``y`` and ``batch``.
    """
    data, likelihood = subject.splits.held_out, subject.likelihood
    if likelihood is None or not likelihood.head.is_count or not subject.vectors:
        return {}
    z = torch.cat(list(subject.vectors.values()), -1).cpu()
    columns = {
        name: torch.as_tensor(data[name])[: len(z)] for name in ("y", "batch") if name in data
    }
    known = {name: column >= 0 for name, column in columns.items() if is_class(column)}
    scores = {}
    if "y" in known and columns["y"].dim() == 1 and int(known["y"].sum()) >= 20:
        scores["label_knn"] = knn_probe(z, columns["y"])
    if "batch" in known and columns["batch"].dim() == 1 and int(known["batch"].sum()) >= 2:
        rows = known["batch"]
        scores["batch_mixing"] = batch_mixing(z[rows], columns["batch"][rows])
    return scores
