"""Predictions of a model with a GP prior at unseen views: metrics and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ppvae import plots
from ppvae.data import Dataset
from ppvae.evaluate.predict import Prediction, predict
from ppvae.programs import placement
from ppvae.report.gallery.listed import figure, metric
from ppvae.report.gallery.subject import Figures, Subject

# Predictions that the figures are drawn from; views and objects that a matrix shows.
SHOWN, MATRIX = 100, 40
TEN = 10  # pictures of a sheet
# Number of distances between views that are in memory at once.
BUDGET = 2**24

__all__ = [
    "as_column",
    "covariances",
    "errors",
    "mean_of",
    "nearest_view",
    "predictions",
    "scores",
    "turn",
    "unseen",
    "unseen_metrics",
]


def unseen(subject: Subject) -> Dataset | None:
    """Held-out data at views without training data; None for models without a GP over views."""
    if subject.gp is None or not {"object", "view"} <= set(subject.splits.train):
        return None
    return subject.splits.test or subject.splits.validation


def _period(subject: Subject) -> float | None:
    period: float | None = getattr(getattr(subject.gp, "views", None), "period", None)
    return period


def nearest_view(train: Dataset, rows: Dataset, *, period: float | None) -> Tensor:
    """For each row, the training datum of its object at the nearest view, with shape (N, ...).

    Objects without training data get the mean of the training data.
    """
    views, objects = (torch.as_tensor(train[name]) for name in ("view", "object"))
    nearest, found = [], []
    for some in torch.arange(rows.num_rows).split(max(1, BUDGET // train.num_rows)):
        distance = (torch.as_tensor(rows["view"])[some][:, None] - views).abs()
        if period is not None:
            distance = torch.minimum(distance % period, -distance % period)
        same = torch.as_tensor(rows["object"])[some][:, None] == objects
        nearest.append(distance.where(same, torch.inf).argmin(1))
        found.append(same.any(1))
    x = train.batch(torch.cat(nearest))["x"]
    x = x.where(~x.isnan(), mean_of(train).to(x))
    known = torch.cat(found).reshape(-1, *[1] * (x.dim() - 1))
    return x.where(known, mean_of(train).to(x))


def mean_of(train: Dataset) -> Tensor:
    """The mean of each element of x over the rows in which it was seen."""
    total = seen = torch.zeros(())
    for rows in torch.arange(train.num_rows).split(4096):
        x = train.batch(rows)["x"].double()
        total, seen = total + x.nansum(0), seen + (~x.isnan()).sum(0)
    return total / seen.clamp_min(1)


@metric
def unseen_metrics(subject: Subject) -> dict[str, float]:
    """Errors, density and coverage at held-out views, and the error of the nearest view."""
    data = unseen(subject)
    if data is None or subject.predicted is None:
        return {}
    metrics, x = scores(subject, *subject.predicted), as_column(*subject.predicted)
    if x is None or subject.train is None:
        return metrics
    nearest = nearest_view(subject.train, data, period=_period(subject))
    return {**metrics, "mse_nearest_view": float(errors(nearest.to(x), x).mean())}


def as_column(batch: Mapping[str, Tensor], prediction: Prediction) -> Tensor | None:
    """The data that were predicted if they are the column x; None if computed or masked.

    The training data's column is then no measure of them.

    Arguments:
        batch: The rows that are predicted.
        prediction: Their prediction, with the data of x.
    """
    column, x = batch.get("x"), prediction.truth
    if column is None or x is None or column.shape != x.shape:
        return None
    return x if torch.equal(column.nan_to_num(), x.nan_to_num()) else None


def scores(
    subject: Subject, batch: Mapping[str, Tensor], prediction: Prediction
) -> dict[str, float]:
    """Errors, density and coverage of predictions; of the data of the fit, of its mean too.

    Arguments:
        subject: The run and its data.
        batch: The rows that are predicted.
        prediction: Their prediction, with the data of x and their density.
    """
    x, train, column = prediction.truth, subject.splits.train, as_column(batch, prediction)
    assert prediction.log_density is not None
    assert x is not None
    each = errors(prediction.mean, x)
    counted = _compared(x, column, train)
    inside = (x >= prediction.lower) & (x <= prediction.upper)
    metrics = {
        "test_mse": float(each.mean()),
        "test_mse_se": float(each.std() / len(each) ** 0.5) if len(each) > 1 else math.nan,
        "test_log_likelihood": float(prediction.log_density.mean()),
        "coverage_90": float(inside[counted].double().mean()),
    }
    if column is not None and subject.train is not None:
        mean = mean_of(subject.train).to(x).expand_as(x)
        metrics["mse_train_mean"] = float(errors(mean, x).mean())
    return metrics


def errors(mean: Tensor, x: Tensor) -> Tensor:
    """Mean squared error per datum over its observed elements, for data that have any."""
    seen = (~x.isnan()).flatten(1)
    count = seen.sum(1)
    each = (mean - x).square().flatten(1).nansum(1) / count.clamp_min(1)
    return each[count > 0]


def _compared(x: Tensor, column: Tensor | None, train: Dataset) -> Tensor:
    """The elements of x that were seen and, if x is the column, vary in training (no border)."""
    if column is None:
        return ~x.isnan()
    rows = train.batch(torch.arange(min(4096, train.num_rows)))["x"]
    varies = (rows - rows.nanmean(0)).square().nanmean(0) > 1e-4
    return varies.to(x.device).expand_as(x) & ~x.isnan()


@figure(10)
def predictions(subject: Subject) -> Figures:
    """Pictures of held-out rows, and a check of their predicted spread."""
    if subject.predicted is None:
        return []
    batch, prediction = subject.predicted
    column, ranks = as_column(batch, prediction), prediction.ranks
    assert prediction.truth is not None
    assert ranks is not None
    x = prediction.truth[:SHOWN]
    figures: Figures = []
    what = "Unseen views of ten objects" if subject.additive is None else "Ten held-out rows"
    if x.dim() == 4:
        caption = (
            f"{what}: truth, prediction from the training data and the row's columns, their "
            "difference, and the predicted standard deviation."
        )
        # Rows of one subject follow each other: those that are shown are spread over several.
        rows = torch.arange(len(x))
        if subject.additive is not None:
            rows = torch.linspace(0, len(x) - 1, min(TEN, len(x))).long()
        figure = plots.predictions(
            x[rows],
            prediction.mean[rows],
            prediction.scale[rows],
            column_labels=_headings(subject, batch, rows),
        )
        figures.append(("predictions.png", caption, figure))
    varies = _compared(x, column, subject.splits.train)
    if varies.any():
        caption = (
            "Ranks of the true values among predictions of held-out rows (varying elements only)."
        )
        # No coverage here: the report has one only, that of all held-out data, among the metrics.
        figure = plots.calibration(ranks[:SHOWN][varies], interval=None)
        figures.append(("calibration.png", caption, figure))
    return figures


def _headings(subject: Subject, batch: Mapping[str, Tensor], rows: Tensor) -> list[str] | None:
    """What each picture is of: its object, or its subject and what orders the visits."""
    prior = subject.additive
    name, order = ("object", None) if prior is None else (prior.subject or "", prior.order)
    if name not in batch:
        return None
    words = subject.splits.train.names.get(name) or ()
    numbers = [int(p) for p in batch[name][rows.to(batch[name].device)]]
    each = [f"{name} {words[p] if 0 <= p < len(words) else p}" for p in numbers]
    if order is None or order not in batch:
        return each
    times = batch[order][rows.to(batch[order].device)].tolist()
    return [f"{label}\n{order} {t:.3g}" for label, t in zip(each, times, strict=True)]


@figure(150)
def covariances(subject: Subject) -> Figures:
    """The kernel between the training views, and between the first objects."""
    prior, train = subject.gp, subject.splits.train
    if prior is None or unseen(subject) is None or "object" not in train:
        return []
    like, period = placement(subject.run.model), _period(subject)
    views = torch.unique(torch.as_tensor(train["view"]), dim=0)
    views = views[torch.linspace(0, len(views) - 1, min(MATRIX, len(views))).long()]
    objects = torch.arange(
        min(MATRIX, int(train.spec["object"]["classes"] or 0)), device=like.device
    )
    with torch.no_grad():
        matrices = {"objects": prior.objects.covariance(objects).cpu()}
        if len(views) > 1:
            matrices = {"views": prior.views.covariance(views.to(like)).cpu(), **matrices}
    ticks = {}
    if "views" in matrices and views.dim() == 1:
        shown, unit = (views, "") if period is None else (views * (360 / period), "\u00b0")
        ticks = {"views": [f"{v:.4g}{unit}" for v in shown.tolist()]}
    figure = plots.covariance(matrices, ticks=ticks, label="correlation")
    caption = "Learned correlations of the latents between views and between objects."
    return [("covariances.png", caption, figure)]


@figure(20)
def turn(subject: Subject) -> Figures:
    """A few objects predicted over the full circle of views, with and without training data."""
    period, train = _period(subject), subject.splits.train
    if period is None or unseen(subject) is None or subject.images != ("x",):
        return []
    like = placement(subject.run.model)
    objects = torch.unique(torch.as_tensor(train["object"]))[:4].to(like.device)
    views = torch.arange(12).to(like) * period / 12
    columns = {
        "object": objects.repeat_interleave(len(views)),
        "view": views.repeat(len(objects)),
    }
    mean = predict(subject.run.model, columns, num_draws=20).mean
    figure = plots.images(
        mean.reshape(len(objects), len(views), *mean.shape[1:]),
        row_labels=[f"object {int(p)}" for p in objects],
        column_labels=[f"{360 * i / len(views):.0f}\u00b0" for i in range(len(views))],
    )
    caption = "Predictions over a full turn, at the views of training images and between them."
    return [("turn.png", caption, figure)]
