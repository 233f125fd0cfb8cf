"""Predictions of a model with a GP prior at unseen views: metrics and pictures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppvae import plots
from ppvae.data import Dataset
from ppvae.evaluate import pit
from ppvae.evaluate.predict import predict
from ppvae.programs import batch_for, placement
from ppvae.report.gallery.subject import Figures, Subject

# Predictions that the figures are drawn from; views and objects that a matrix shows.
SHOWN, MATRIX = 100, 40
# Number of distances between views that are in memory at once.
BUDGET = 2**24

__all__ = ["covariances", "nearest_view", "predictions", "turn", "unseen", "unseen_metrics"]


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
    x = x.where(~x.isnan(), _mean(train).to(x))
    known = torch.cat(found).reshape(-1, *[1] * (x.dim() - 1))
    return x.where(known, _mean(train).to(x))


def _mean(train: Dataset) -> Tensor:
    """The mean of each element of x over the rows in which it was seen."""
    total = seen = torch.zeros(())
    for rows in torch.arange(train.num_rows).split(4096):
        x = train.batch(rows)["x"].double()
        total, seen = total + x.nansum(0), seen + (~x.isnan()).sum(0)
    return total / seen.clamp_min(1)


def unseen_metrics(subject: Subject) -> dict[str, float]:
    """Errors, density and coverage at held-out views, and the errors of two baselines."""
    data, train, model = unseen(subject), subject.splits.train, subject.run.model
    if data is None or "x" not in subject.structure.observed:
        return {}
    batch = batch_for(model, data)
    prediction = predict(model, batch)
    assert prediction.log_density is not None
    x = batch["x"]
    rows = len(x)
    seen = ~x.isnan()
    errors = _errors(prediction.mean, x)
    baselines = {
        "mse_train_mean": _mean(train).to(x).expand_as(x),
        "mse_nearest_view": nearest_view(train, data, period=_period(subject)).to(x),
    }
    varies = _varies(train).to(x.device).expand_as(x)
    inside = (x >= prediction.lower) & (x <= prediction.upper)
    return {
        "test_mse": float(errors.mean()),
        "test_mse_se": float(errors.std() / rows**0.5) if rows > 1 else math.nan,
        "test_log_likelihood": float(prediction.log_density.mean()),
        "coverage_90": float(inside[varies & seen].double().mean()),
        **{name: float(_errors(mean, x).mean()) for name, mean in baselines.items()},
    }


def _errors(mean: Tensor, x: Tensor) -> Tensor:
    """Mean squared error per datum over its observed elements, for data that have any."""
    seen = (~x.isnan()).flatten(1)
    count = seen.sum(1)
    errors = (mean - x).square().flatten(1).nansum(1) / count.clamp_min(1)
    return errors[count > 0]


def _varies(train: Dataset) -> Tensor:
    """Mask of the elements of x that vary over the training data (not a constant border)."""
    x = train.batch(torch.arange(min(4096, train.num_rows)))["x"]
    return (x - x.nanmean(0)).square().nanmean(0) > 1e-4


def predictions(subject: Subject) -> Figures:
    """Pictures at held-out views, and a check of their predicted spread."""
    data = unseen(subject)
    if data is None or "x" not in subject.structure.observed:
        return []
    shown = data.take(torch.arange(min(SHOWN, data.num_rows)))
    batch = batch_for(subject.run.model, shown)
    prediction = predict(subject.run.model, batch, keep_draws=True)
    assert prediction.draws is not None
    x = batch["x"]
    figures: Figures = []
    if x.dim() == 4:
        objects = [f"object {int(p)}" for p in batch["object"]]
        caption = (
            "Unseen views of ten objects: true, predicted from the other views, their "
            "difference, and the predicted standard deviation."
        )
        figure = plots.predictions(x, prediction.mean, prediction.scale, column_labels=objects)
        figures.append(("predictions.png", caption, figure))
    ranks = pit(prediction.draws, x.nan_to_num(nan=0.0))
    varies = _varies(subject.splits.train).to(x.device).expand_as(x)
    varies = varies & ~x.isnan()
    if varies.any():
        caption = (
            "Ranks of the true values among predictions of unseen views (varying elements only)."
        )
        # No coverage here: the report has one only, that of all held-out data, among the metrics.
        figure = plots.calibration(ranks[varies], interval=None)
        figures.append(("calibration.png", caption, figure))
    return figures


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
