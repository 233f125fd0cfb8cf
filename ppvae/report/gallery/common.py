"""Figures and metrics of observed sites, classes and terms."""

from __future__ import annotations

import math
from contextlib import suppress

import torch

from ppvae import plots
from ppvae.errors import ArgumentError
from ppvae.evaluate import clustering_accuracy
from ppvae.evaluate import information as bounds_of
from ppvae.evaluate.predict import Prediction, predict
from ppvae.models import Translation
from ppvae.objectives import MutualInformation
from ppvae.programs import batch_for, decode, encode, evaluating, placement, seeded, signature
from ppvae.report.gallery.listed import figure, metric
from ppvae.report.gallery.subject import Figures, Subject

__all__ = [
    "accuracy",
    "critics",
    "information",
    "loss",
    "reconstructions",
    "translation",
    "translation_errors",
]

SHOWN, MEASURED, PREDICTED = 10, 1024, 500
# Most counts of a datum that can be read as a curve; more are drawn by gallery.counts alone.
CURVE = 200


@figure(50)
def reconstructions(subject: Subject) -> Figures:
    """Each observed site of images or vectors, encoded and decoded."""
    figures: Figures = []
    data = subject.splits.held_out
    rows = torch.linspace(0, data.num_rows - 1, min(SHOWN, data.num_rows)).long()
    part = Subject(subject.run, data.take(rows))
    latents = {name: part.latents[name] for name in part.sites}
    counts = subject.likelihood is not None and subject.likelihood.head.is_count
    for site, value in part.observed.items():
        if counts and value.dim() == 2 and value.size(1) > CURVE:
            continue
        mean = decode(part.run.model, latents, columns=part.batch, site=site)[site]
        if mean.shape != value.shape or mean.dim() not in (2, 4) or not mean.isfinite().all():
            continue
        several = len(part.observed) > 1
        below = mean.dim() == 4
        words = (
            "Data (above) and their reconstructions (below)"
            if below
            else "Data, and their reconstructions"
        )
        caption = f"{words}{several * f' (site {site})'}."
        figures.append(
            (
                f"reconstructions{several * f'_{site}'}.png",
                caption,
                plots.reconstructions(value, mean),
            )
        )
    return figures


@figure(170)
def loss(subject: Subject) -> Figures:
    """The loss and its terms over training."""
    if not len(subject.run.history):
        return []
    caption = "The loss by term over epochs."
    if len(subject.run.history) >= 10:
        caption += " Values of the first tenth of the epochs may lie beyond the axes."
    return [("loss.png", caption, plots.loss_by_term(subject.run.history))]


@metric
def accuracy(subject: Subject) -> dict[str, float]:
    """``accuracy`` of a discrete site on test data that have a column of the same name.

    Classes that were learned without labels are first matched to those of the data
    (:func:`ppvae.evaluate.clustering_accuracy`).
    """
    test, guide = subject.splits.test, subject.run.guide
    scores = {}
    for site in subject.classes:
        if test is None or site not in test or site not in subject.latents:
            continue
        y = torch.as_tensor(test[site])
        if not bool((y >= 0).any()):
            continue
        batch = batch_for(guide, test.take(y >= 0))
        true = batch.pop(site)
        classes = encode(guide, batch)[site]
        if site in signature(guide):
            scores[site] = float((classes == true).double().mean())
        else:
            scores[site] = clustering_accuracy(classes, true)
    return {("accuracy" if s == "y" else f"accuracy/{s}"): v for s, v in scores.items()}


@metric
def information(subject: Subject) -> dict[str, float]:
    """``information`` and ``information_upper``: bounds of what a latent holds about its datum.

    In nats, with ``information_limit``, the logarithm of the number of rows compared
    (:func:`ppvae.evaluate.information`); a slash and the site follow unless there is only ``z``.
    Sites without a posterior of their own per row, such as one given a class that is summed over,
    have none.
    """
    if subject.splits.held_out.num_rows < 2:
        return {}
    bounds = {}
    for site in subject.sites:
        with suppress(ArgumentError):
            bounds[site] = bounds_of(subject.run, subject.splits.held_out, site=site)
    metrics: dict[str, float] = {}
    for site, bound in bounds.items():
        name = "" if subject.sites == ["z"] else f"/{site}"
        metrics |= {f"information{name}": bound.lower, f"information_upper{name}": bound.upper}
        metrics["information_limit"] = bound.limit
    return metrics


@metric
def critics(subject: Subject) -> dict[str, float]:
    """``mutual_information`` in nats, estimated by the trained critics on held-out data.

    Where there are several terms, it is that of the last one, and
    ``mutual_information/FIRST,SECOND`` is that of each.
    """
    run, data = subject.run, subject.splits.held_out
    terms = [term for term in run.objective.terms if isinstance(term, MutualInformation)]
    if not terms or data.num_rows < 2:
        return {}
    batch = batch_for(run.guide, data.take(torch.arange(min(MEASURED, data.num_rows))))
    objective = run.objective(run.model, run.guide, num_data=subject.splits.train.num_rows)
    with evaluating(objective), seeded(0, placement(run.guide)):
        _, context = objective.evaluate(batch)
        found = {f"{term.first},{term.second}": term.measure(context) for term in terms}
    each = {f"mutual_information/{name}": value for name, value in found.items()}
    return {"mutual_information": list(found.values())[-1]} | (each if len(terms) > 1 else {})


def _translated(subject: Subject, number: int) -> tuple[Prediction, torch.Tensor] | None:
    """Predictions from the column ``source`` alone, and x; None if the pair has no source."""
    run = subject.run
    takes_source = set(signature(run.guide)) == {"source"}
    if not takes_source or "x" not in subject.structure.observed:
        return None
    source = subject.batch["source"][:number]
    pair = Translation(run.model, run.guide)
    return predict(pair, {"source": source}, num_draws=100), subject.observed["x"][:number]


@metric
def translation_errors(subject: Subject) -> dict[str, float]:
    """``rmse``, ``predicted_sd`` and ``coverage_90`` of predictions from another modality."""
    found = None if subject.splits.test is None else _translated(subject, PREDICTED)
    if found is None:
        return {}
    prediction, x = found
    seen = ~x.isnan()
    inside = (x >= prediction.lower) & (x <= prediction.upper)
    return {
        "rmse": math.sqrt(float((prediction.mean - x)[seen].square().mean())),
        "predicted_sd": float(prediction.scale.mean()),
        "coverage_90": float(inside[seen].double().mean()),
    }


@figure(40)
def translation(subject: Subject) -> Figures:
    """Predictions from another modality, beside the measurements."""
    found = _translated(subject, SHOWN)
    if found is None:
        return []
    prediction, x = found
    if x.dim() == 4:
        figure = plots.predictions(x, prediction.mean, prediction.scale)
    else:
        figure = plots.reconstructions(
            x.flatten(1), prediction.mean.flatten(1), prediction.scale.flatten(1)
        )
    caption = "Predictions from the source alone, with two standard deviations, and measurements."
    return [("predictions.png", caption, figure)]
