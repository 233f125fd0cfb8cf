"""How the latents of counts keep known labels and mix batches."""

from __future__ import annotations

import torch

from ppvae.evaluate import batch_mixing, knn_probe
from ppvae.evaluate.probes import is_class
from ppvae.report.gallery.listed import metric
from ppvae.report.gallery.subject import Subject

__all__ = ["metrics"]


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
