"""What a GP-prior VAE predicts at views it has not seen: numbers and pictures."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ppvae import plots
from ppvae.data import Dataset, Splits
from ppvae.evaluate import pit
from ppvae.evaluate.predict import Prediction, predict
from ppvae.gp import GPPrior
from ppvae.programs import batch_for, placement, posterior
from ppvae.runs.run import Run
from ppvae.zoo.entry import Figures

# How many predictions the figures are drawn from, and how many views and objects a matrix shows.
SHOWN, MATRIX = 100, 40
# Distances between views held at once.
BUDGET = 2**24

__all__ = [
    "covariance_figure",
    "encoding_figures",
    "nearest_view",
    "unseen_figures",
    "unseen_metrics",
]


def _prior(run: Run) -> GPPrior:
    prior: Any = run.model.prior
    assert isinstance(prior, GPPrior)
    return prior


def _held_out(splits: Splits) -> Dataset | None:
    return splits.test or splits.validation


def _predicted(
    run: Run, held_out: Dataset, *, keep_draws: bool = False
) -> tuple[dict[str, Tensor], Prediction]:
    """The held-out columns, and the predictions of their x."""
    batch = batch_for(run.model, held_out)
    return batch, predict(run.model, batch, keep_draws=keep_draws)


def nearest_view(train: Dataset, rows: Dataset, *, period: float | None) -> Tensor:
    """For each row its object's training datum at the nearest view, with shape (N, ...).

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
    known = torch.cat(found).reshape(-1, *[1] * (x.dim() - 1))
    return x.where(known, _mean(train).to(x))


def _mean(train: Dataset) -> Tensor:
    chunks = torch.arange(train.num_rows).split(4096)
    return torch.stack([train.batch(rows)["x"].double().sum(0) for rows in chunks]).sum(0) / float(
        train.num_rows
    )


def unseen_metrics(run: Run, splits: Splits) -> dict[str, float]:
    """Errors, density and coverage of the held-out views, beside two baselines; none if none."""
    held_out = _held_out(splits)
    if held_out is None:
        return {}
    batch, prediction = _predicted(run, held_out)
    assert prediction.log_density is not None
    x = batch["x"]
    rows = len(x)
    errors = (prediction.mean - x).square().flatten(1).mean(1)
    baselines = {
        "mse_train_mean": _mean(splits.train).to(x).expand_as(x),
        "mse_nearest_view": nearest_view(
            splits.train, held_out, period=getattr(_prior(run).views, "period", None)
        ).to(x),
    }
    varies = _varies(splits.train).to(x.device).expand_as(x)
    inside = (x >= prediction.lower) & (x <= prediction.upper)
    return {
        "test_mse": float(errors.mean()),
        "test_mse_se": float(errors.std() / rows**0.5) if rows > 1 else math.nan,
        "test_log_likelihood": float(prediction.log_density.mean()),
        "coverage_90": float(inside[varies].double().mean()),
        **{name: float((mean - x).square().mean()) for name, mean in baselines.items()},
    }


def _varies(train: Dataset) -> Tensor:
    """Which elements of x vary over the training data: a border that never does is no test."""
    x = train.batch(torch.arange(min(4096, train.num_rows)))["x"]
    return x.var(0) > 1e-4


def unseen_figures(run: Run, splits: Splits) -> Figures:
    """What a GP-prior VAE predicts at held-out views, and what its GP has learned."""
    held_out, train = _held_out(splits), splits.train
    made = [] if held_out is None else _predictions(run, held_out, train)
    turned = _all_views(run, train)
    if turned is not None:
        made.insert(1, turned)
    made.append(covariance_figure(run, train))
    return [*made, *encoding_figures(run, train)]


def _predictions(run: Run, held_out: Dataset, train: Dataset) -> Figures:
    """Pictures at held-out views, and whether their spread is right."""
    shown = held_out.take(torch.arange(min(SHOWN, held_out.num_rows)))
    batch, prediction = _predicted(run, shown, keep_draws=True)
    assert prediction.draws is not None
    x = batch["x"]
    made: Figures = []
    if x.dim() == 4:
        objects = [f"object {int(p)}" for p in batch["object"]]
        made.append(
            (
                "predictions.png",
                "The unseen view of ten objects: true, predicted from the other views, their "
                "difference, and the predicted standard deviation.",
                plots.predictions(x, prediction.mean, prediction.scale, column_labels=objects),
            )
        )
    ranks = pit(prediction.draws, x)
    varies = _varies(train).to(x.device).expand_as(x)
    if varies.any():
        caption = "Predictions of the unseen view against what was there, by element that varies."
        # The one coverage that is told is that of all held-out data, among the metrics.
        figure = plots.calibration(ranks[varies], interval=None)
        made.append(("calibration.png", caption, figure))
    return made


def covariance_figure(run: Run, train: Dataset) -> tuple[str, str, Figure]:
    """The view kernel at the training views, and the object kernel of the first objects."""
    prior, like = _prior(run), placement(run.model)
    views = torch.unique(torch.as_tensor(train["view"]), dim=0)
    views = views[torch.linspace(0, len(views) - 1, min(MATRIX, len(views))).long()]
    objects = torch.arange(min(MATRIX, int(train.spec["object"]["classes"])), device=like.device)
    with torch.no_grad():
        matrices = {"objects": prior.objects.covariance(objects).cpu()}
        if len(views) > 1:
            matrices = {"views": prior.views.covariance(views.to(like)).cpu(), **matrices}
    period = getattr(prior.views, "period", None)
    ticks = {}
    if "views" in matrices and views.dim() == 1:
        shown = views if period is None else views * (360 / period)
        ticks = {"views": [f"{v:.4g}{'' if period is None else '°'}" for v in shown.tolist()]}
    caption = "Learned correlations of the latents between views and between objects."
    return (
        "covariances.png",
        caption,
        plots.covariance(matrices, ticks=ticks, label="correlation"),
    )


def encoding_figures(run: Run, train: Dataset) -> Figures:
    """Encoder means by view, and the densities of means and log variances."""
    some = train.take(torch.linspace(0, train.num_rows - 1, min(2000, train.num_rows)).long())
    batch = batch_for(run.guide, some)
    q = posterior(run.guide, batch)["z"]
    view = torch.as_tensor(some["view"])
    made: Figures = []
    if view.dim() == 1:
        period = getattr(_prior(run).views, "period", None)
        figure = plots.latents(
            q.mean.cpu(),
            colour=view if period is None else view * (2 * torch.pi / period),
            kind="continuous" if period is None else "cyclic",
            name="view",
        )
        made.append(("latents.png", "Latent means of training data by their view.", figure))
    made.append(
        (
            "densities.png",
            "What the encoder says of training data: means and log variances by dimension of z.",
            plots.densities(q.mean.cpu(), q.variance.log().cpu()),
        )
    )
    return made


def _all_views(run: Run, train: Dataset) -> tuple[str, str, Figure] | None:
    """A few objects over the whole circle of views, seen and unseen."""
    period = getattr(_prior(run).views, "period", None)
    if period is None or len(train.spec["x"]["shape"]) != 3:
        return None
    like = placement(run.model)
    objects = torch.unique(torch.as_tensor(train["object"]))[:4].to(like.device)
    views = torch.arange(12).to(like) * period / 12
    columns = {
        "object": objects.repeat_interleave(len(views)),
        "view": views.repeat(len(objects)),
    }
    mean = predict(run.model, columns, num_draws=20).mean
    figure = plots.images(
        mean.reshape(len(objects), len(views), *mean.shape[1:]),
        row_labels=[f"object {int(p)}" for p in objects],
        column_labels=[f"{360 * i / len(views):.0f}°" for i in range(len(views))],
    )
    caption = "Predicted over a whole turn, at angles of the training images and between."
    return ("turn.png", caption, figure)
