"""Latents on spheres and rotations in space: maps, walks and errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppvae import plots
from ppvae.distributions import as_rotations, exp_rotation, rotation_angle
from ppvae.errors import ArgumentError
from ppvae.evaluate.orientations import align_rotations, credible_angle, path_ratio
from ppvae.programs import batch_for, encode, signature
from ppvae.report.gallery.listed import figure, metric
from ppvae.report.gallery.subject import ROWS, Figures, Subject

__all__ = ["errors", "maps", "metrics", "paths", "walks"]

# Number of pictures of a walk, of steps of a path, and of directions of a walk.
SHOWN, STEPS, WAYS = 13, 120, 4
TRUTH = "orientation"
AXES = ("right", "up", "viewer's")


@figure(100)
def maps(subject: Subject) -> Figures:
    """Posterior mean directions on the sphere, by class."""
    figures: Figures = []
    held_out = subject.splits.held_out
    y = held_out["y"] if "y" in held_out else None
    for name, (start, end) in subject.directions.items():
        points = subject.latents[name][:, start:end]
        known = torch.ones(len(points), dtype=torch.bool)
        classes = None
        if y is not None:
            classes = torch.as_tensor(y)[: len(points)].cpu()
            known = classes >= 0
            classes = classes[known]
        if int(known.sum()) < 2:
            continue
        caption = f"Posterior mean directions of {name}"
        caption += "." if classes is None else ", by class."
        caption += " Above, a map of the whole sphere; below, its two halves."
        if end - start > 3:
            caption += (
                f" Of {end - start} dimensions, the three with the longest components are shown."
            )
        figure = plots.directions(points[known.to(points.device)].cpu(), classes=classes)
        figures.append((_named("sphere", name, figures), caption, figure))
    return figures


@figure(110)
def walks(subject: Subject) -> Figures:
    """Decoded geodesics of the sphere, and decoded turns about the axes."""
    figures: Figures = []
    images = subject.images[:1]
    for site in images:
        for name, (start, end) in subject.directions.items():
            rows = [
                subject.decoder(name, site)(_great_circle(subject, name, (start, end), way))
                for way in range(min(WAYS, end - start - 1))
            ]
            figure = plots.images(torch.stack(rows), column_labels=_degrees())
            caption = (
                f"Decoded means along great circles of {name} through a typical datum, one row "
                "per direction, in the order of the data's variance."
            )
            figures.append((_named("geodesics", name, figures), caption, figure))
        for name in subject.rotations:
            rows = [subject.decoder(name, site)(_turns(axis, SHOWN)) for axis in range(3)]
            figure = plots.images(
                torch.stack(rows),
                row_labels=[f"{axis} axis" for axis in AXES],
                column_labels=_degrees(),
            )
            caption = f"Decoded means along turns of {name} about the three axes of the viewer."
            figures.append((_named("turns", name, figures), caption, figure))
    return figures


def _degrees() -> list[str]:
    return [f"{360 * i / (SHOWN - 1):.0f}\u00b0" for i in range(SHOWN)]


def _turns(axis: int, number: int) -> Tensor:
    """A full turn about one axis, with shape (number, 3, 3)."""
    angle = torch.linspace(0, 2 * math.pi, number)
    return exp_rotation(angle[:, None] * torch.eye(3)[axis])


def _great_circle(subject: Subject, name: str, block: tuple[int, int], way: int) -> Tensor:
    """Values of a site along a great circle through a typical datum."""
    means = subject.latents[name].cpu()
    part = slice(*block)
    rest = subject.typical[name].cpu()
    start = rest[part] / rest[part].norm()
    across = means[:, part] - (means[:, part] @ start)[:, None] * start
    _, _, axes = torch.linalg.svd(across - across.mean(0), full_matrices=True)
    aim = axes[way] - (axes[way] @ start) * start
    angle = torch.linspace(0, 2 * math.pi, SHOWN)[:, None]
    values = rest.expand(SHOWN, -1).clone()
    values[:, part] = angle.cos() * start + angle.sin() * aim / aim.norm().clamp_min(1e-6)
    return values


@figure(130)
def paths(subject: Subject) -> Figures:
    """Encoded rotations along turns of decoded pictures."""
    turns = _paths(subject)
    if not turns:
        return []
    codes = {name: code for name, (_, code) in turns.items()}
    figure = plots.rotation_paths(codes, {n: path_ratio(*pair) for n, pair in turns.items()})
    caption = (
        "Steps of the encoded rotation along turns of decoded pictures about the viewer's axes. "
        "The steps of a continuous encoder are even; those of a discontinuous one jump, and their "
        "ratio, the largest step over the 90 % quantile, is far above 1."
    )
    return [("paths.png", caption, figure)]


def _paths(subject: Subject) -> dict[str, tuple[Tensor, Tensor]]:
    """Decoded pictures along turns about each axis, and their encoded rotations."""
    if "rotation" not in subject.rotations or "x" not in subject.images:
        return {}
    if set(signature(subject.run.guide)) != {"x"}:
        return {}
    turns = {}
    for axis, name in enumerate(AXES):
        pictures = subject.decoder("rotation", "x")(_turns(axis, STEPS))
        codes = encode(subject.run.guide, {"x": pictures})["rotation"]
        turns[f"{name} axis"] = (pictures.cpu(), codes.cpu())
    return turns


def _against_truth(subject: Subject) -> tuple[Tensor, Tensor] | None:
    """Errors at test data with the column ``orientation``, and the angle of each true rotation."""
    test = subject.splits.test
    if test is None or TRUTH not in test or "rotation" not in subject.rotations:
        return None
    test = test.take(torch.arange(min(ROWS, test.num_rows)))
    estimate = encode(subject.run.guide, batch_for(subject.run.guide, test))["rotation"].cpu()
    try:
        true = as_rotations(torch.as_tensor(test[TRUTH]))
    except ArgumentError:  # A column of that name that holds something else.
        return None
    groups = torch.as_tensor(test["y"]) if "y" in test else torch.zeros(test.num_rows)
    angles = torch.zeros(test.num_rows)
    for kind in groups.unique():
        rows = groups == kind
        angles[rows] = align_rotations(estimate[rows], true[rows])[1]
    return angles, rotation_angle(true, torch.eye(3).expand_as(true))


@figure(120)
def errors(subject: Subject) -> Figures:
    """Errors of encoded rotations."""
    angles = _against_truth(subject)
    if angles is None:
        return []
    caption = (
        "Errors of encoded rotations of test data, after one change of frame per kind of object, "
        "as the orientation that the model represents by the identity is arbitrary. The "
        "symmetries of an object count as errors here."
    )
    return [("rotations.png", caption, plots.rotation_errors(*angles))]


@metric
def metrics(subject: Subject) -> dict[str, float]:
    """``rotation_error`` in degrees, the median; ``rotation_spread``, the mean resultant angle of
    encoded rotations; ``path_ratio``, the largest of three turns; and ``cone_90/SITE``, the median
    angle in degrees that contains 90 % of a posterior.
    """
    scores: dict[str, float] = {}
    errors_and_angles = _against_truth(subject)
    if errors_and_angles is not None:
        scores["rotation_error"] = math.degrees(float(errors_and_angles[0].median()))
    ratios = [path_ratio(*pair) for pair in _paths(subject).values()]
    if ratios:
        scores["path_ratio"] = max(ratios)
    for name, rotations in subject.rotations.items():
        half = rotations[: len(rotations) // 2]
        angles = rotation_angle(half, rotations[-len(half) :]) if len(half) else half.new_zeros(1)
        scores[f"rotation_spread/{name}"] = math.degrees(float(angles.median()))
    for name in (*subject.directions, *subject.rotations):
        q = subject.posteriors[name]
        if name in subject.rotations or subject.directions[name] == (0, q.event_shape[0]):
            angle = credible_angle(q)
            scores[f"cone_90/{name}"] = math.degrees(float(angle.median()))
    return scores


def _named(file: str, site: str, drawn: Figures) -> str:
    """A file's name; the site is added for all but the first of that kind."""
    first = not any(name.startswith(file) for name, _, _ in drawn)
    return f"{file}.png" if first else f"{file}_{site}.png"
