"""Estimated angles and shifts, against the true ones."""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae import plots
from ppvae.distributions import wrap
from ppvae.evaluate.scores import circular_correlation, linear_r2, resultant_length, shift_r2
from ppvae.programs import batch_for, encode
from ppvae.report.gallery.listed import figure, metric
from ppvae.report.gallery.subject import POSE, ROWS, Figures, Subject

__all__ = ["figures", "metrics"]

COLUMNS = ("angle", "shift")
Part = tuple[dict[str, Tensor], dict[str, Tensor]]


def _parts(subject: Subject) -> list[Part]:
    """Latents and true columns of the test data, separately per class where classes are known."""
    test = subject.splits.test
    if test is None or not subject.poses or not set(COLUMNS) & set(test):
        return []
    test = test.take(torch.arange(min(ROWS, test.num_rows)))
    batch = batch_for(subject.run.guide, test)
    latents = {name: value.cpu() for name, value in encode(subject.run.guide, batch).items()}
    columns = {name: torch.as_tensor(test[name]) for name in COLUMNS if name in test}
    y = torch.as_tensor(test["y"]) if "y" in test else torch.zeros(test.num_rows)
    classes = (torch.nonzero(y == k)[:, 0] for k in y.unique())
    return [
        ({n: v[rows] for n, v in latents.items()}, {n: v[rows] for n, v in columns.items()})
        for rows in classes
        if len(rows) > 1
    ]


@metric
def metrics(subject: Subject) -> dict[str, float]:
    """Means over the classes of ``angle_correlation``, ``angle_resultant_length``, ``shift_r2``
    and ``angle_from_content_r2``, for test data with the columns ``angle`` and ``shift``.
    """
    scores: dict[str, list[float]] = {}
    for latents, true in _parts(subject):
        part: dict[str, float] = {}
        content = [latents[name] for name in subject.vectors if name not in POSE]
        if "angle" in true and content:
            part["angle_from_content_r2"] = linear_r2(torch.cat(content, -1), true["angle"])
        if "angle" in true and _in_plane(latents):
            angle = latents["rotation"]
            part["angle_correlation"] = circular_correlation(angle, true["angle"])
            part["angle_resultant_length"] = resultant_length(angle - true["angle"])
        if "translation" in latents and "shift" in true:
            part["shift_r2"] = shift_r2(latents["translation"], true["shift"], true.get("angle"))
        for name, value in part.items():
            scores.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in scores.items()}


def _in_plane(latents: dict[str, Tensor]) -> bool:
    """Whether there is a rotation by one angle."""
    return "rotation" in latents and latents["rotation"].dim() == 1


@figure(140)
def figures(subject: Subject) -> Figures:
    """Estimated angles and shifts, drawn against the true ones."""
    shown: Figures = []
    parts = [p for p in _parts(subject) if _in_plane(p[0]) and "angle" in p[1]]
    if parts:
        true = torch.cat([columns["angle"] for _, columns in parts])
        # One offset for each class: which way up a class is drawn is the model's to choose.
        estimate = torch.cat([_aligned(z["rotation"], columns["angle"]) for z, columns in parts])
        caption = "Estimated angles against true ones, up to one offset per class."
        figure = plots.agreement(true, estimate, names=("angle (radians)",))
        shown.append(("angles.png", caption, figure))
    parts = [p for p in _parts(subject) if "translation" in p[0] and "shift" in p[1]]
    if parts:
        true = torch.cat([columns["shift"] for _, columns in parts])
        estimate = torch.cat([z["translation"] for z, _ in parts])
        names = ("right", "up")[: true.size(-1)]
        caption = "Estimated shifts against true ones, in half image sides."
        shown.append(("shifts.png", caption, plots.agreement(true, estimate, names=names)))
    return shown


def _aligned(estimate: Tensor, true: Tensor) -> Tensor:
    """The estimated angles minus their mean offset, wrapped to within pi of the true ones."""
    gap = estimate - true
    offset = torch.atan2(gap.sin().mean(), gap.cos().mean())
    return true + wrap(gap - offset)
