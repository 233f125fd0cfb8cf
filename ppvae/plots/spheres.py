"""Directions on the sphere and on its map; errors of rotations, and their steps along paths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.plots.style import COLOURS, MARKERS, MUTED, TEXT_WIDTH, styled
from ppvae.plots.values import Array, Values, as_array, as_matrix, same_rows

__all__ = ["directions", "rotation_errors", "rotation_paths"]


@typed()
@styled
def directions(points: Values, *, classes: Values | None = None, name: str = "class") -> Figure:
    """Unit vectors on an equal-area map of the sphere (Hammer's projection) and on hemispheres.

    Vectors with more than three dimensions are projected on their three main axes and scaled to
    unit length; those with two dimensions lie on the equator.

    Arguments:
        points: Directions, with shape (N, D), D at least 2.
        classes: Classes, any numbers, with shape (N).
        name: Name of the classes, for the legend.

    Raises:
        ArgumentError: If shapes do not fit, or a vector is zero.
    """
    vectors = as_matrix("directions", points)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if vectors.shape[1] < 2 or not (length > 0).all():
        raise ArgumentError(
            f"directions: expected nonzero vectors (N, D), D at least 2; got "
            f"{vectors.shape} with {int((length == 0).sum())} zero vectors. Leave these rows out."
        )
    shade = None if classes is None else as_array(classes).reshape(-1)
    same_rows(directions=vectors, classes=shade)
    places = _in_space(vectors / length)
    figure = Figure(figsize=(TEXT_WIDTH, 5.4), layout="constrained")
    parts = figure.subplot_mosaic([["map", "map"], ["front", "back"]], height_ratios=(1.15, 1))
    _map(parts["map"], places, shade)
    for key, sign in (("front", 1.0), ("back", -1.0)):
        _hemisphere(parts[key], places, shade, sign)
    if shade is not None:
        handles, labels = parts["map"].get_legend_handles_labels()
        figure.legend(handles, labels, title=name, loc="outside right center", markerscale=1.6)
    return figure


def _in_space(unit: Array) -> Array:
    """Unit vectors (N, D) as unit vectors (N, 3)."""
    if unit.shape[1] == 2:
        return np.concatenate([unit, np.zeros((len(unit), 1))], 1)
    if unit.shape[1] == 3:
        return unit
    _, _, axes = np.linalg.svd(unit, full_matrices=False)
    shown = unit @ axes[:3].T
    return np.asarray(shown / np.linalg.norm(shown, axis=1, keepdims=True).clip(1e-12))


def _hammer(places: Array) -> Array:
    """Unit vectors (N, 3) on Hammer's map (N, 2), the first axis in its centre."""
    longitude = np.arctan2(places[:, 1], places[:, 0])
    latitude = np.arcsin(places[:, 2].clip(-1, 1))
    scale = np.sqrt(1 + np.cos(latitude) * np.cos(longitude / 2))
    across = 2 * math.sqrt(2) * np.cos(latitude) * np.sin(longitude / 2) / scale
    return np.stack([across, math.sqrt(2) * np.sin(latitude) / scale], 1)


def _lines() -> list[Array]:
    """Meridians and parallels at distances of 30 degrees."""
    long, lat = np.linspace(-math.pi, math.pi, 121), np.linspace(-math.pi / 2, math.pi / 2, 61)
    edge = math.pi - 1e-6
    meridians = [(np.full_like(lat, at), lat) for at in np.linspace(-edge, edge, 13)]
    parallels = [(long.clip(-edge, edge), np.full_like(long, at)) for at in lat[10:51:10]]
    return [
        np.stack([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)], 1)
        for a, b in (*meridians, *parallels)
    ]


def _map(axes: Axes, places: Array, shade: Array | None) -> None:
    for line in _lines():
        axes.plot(*_hammer(line).T, color="0.88", lw=0.6, zorder=0)
    _points(axes, _hammer(places), shade)
    axes.set_title("Hammer projection", loc="left")


def _hemisphere(axes: Axes, places: Array, shade: Array | None, sign: float) -> None:
    """The front or the back half of the sphere, slightly tilted."""
    tilt = math.radians(20)
    turn = np.array(
        [
            [0.0, sign, 0.0],
            [-sign * math.sin(tilt), 0.0, math.cos(tilt)],
            [sign * math.cos(tilt), 0.0, math.sin(tilt)],
        ]
    )
    circle = np.linspace(0, 2 * math.pi, 181)
    axes.plot(np.cos(circle), np.sin(circle), color=MUTED, lw=0.8, zorder=0)
    for line in _lines():
        seen = line @ turn.T
        seen[seen[:, 2] < 0] = np.nan
        axes.plot(seen[:, 0], seen[:, 1], color="0.88", lw=0.6, zorder=0)
    seen = places @ turn.T
    near = seen[:, 2] >= 0
    _points(axes, seen[near, :2], None if shade is None else shade[near])
    axes.set_title("front" if sign > 0 else "back", loc="left")


def _points(axes: Axes, places: Array, shade: Array | None) -> None:
    size = min(16.0, max(5.0, 8000 / max(1, len(places))))
    draw = partial(axes.scatter, s=size, alpha=0.7, linewidths=0)
    if shade is None:
        draw(*places.T, color=COLOURS[0])
    else:
        for value in np.unique(shade):
            some, k = places[shade == value], int(value)
            colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
            draw(*some.T, label=f"{value:g}", color=colour, marker=marker)
    axes.set_aspect("equal")
    axes.set_axis_off()


@styled
def rotation_errors(errors: Values, turned: Values | None = None) -> Figure:
    """Errors of rotations in degrees: their distribution, and their dependence on the true angle.

    Arguments:
        errors: Errors in radians, with shape (N).
        turned: Angles of the true rotations in radians, with shape (N).

    Raises:
        ArgumentError: If shapes do not fit.
    """
    degrees = np.degrees(as_matrix("errors", errors)[:, 0])
    far = None if turned is None else np.degrees(as_array(turned).reshape(-1))
    same_rows(errors=degrees, turned=far)
    figure = Figure(figsize=(TEXT_WIDTH, 2.8), layout="constrained")
    left, *rest = figure.subplots(1, 1 if far is None else 2, squeeze=False)[0]
    left.hist(degrees, bins=np.linspace(0, 180, 46), color=COLOURS[0])
    middle = float(np.median(degrees))
    left.axvline(middle, color=COLOURS[2], ls="--", lw=1, label=f"median {middle:.1f}\u00b0")
    quarters = range(0, 181, 45)
    left.set(xlabel="error (degrees)", ylabel="number of data", xlim=(0, 180), xticks=quarters)
    left.legend()
    for axes in rest:
        axes.scatter(far, degrees, s=9, color=COLOURS[0], alpha=0.6, linewidths=0)
        axes.set(xlabel="turned from upright (degrees)", ylabel="error (degrees)")
        axes.set(xlim=(0, 180), ylim=(0, 180), xticks=quarters, yticks=quarters)
    return figure


@styled
def rotation_paths(paths: Mapping[str, Values], ratios: Mapping[str, float]) -> Figure:
    """Steps of codes along closed paths of images; a high one shows a discontinuity.

    Arguments:
        paths: Codes along each path by name, with shape (T, ...).
        ratios: Values of :func:`ppvae.evaluate.path_ratio` by name.

    Raises:
        ArgumentError: If a path has fewer than two codes.
    """
    figure = Figure(figsize=(TEXT_WIDTH, 2.6), layout="constrained")
    axes = figure.subplots()
    for i, (name, codes) in enumerate(paths.items()):
        rows = as_array(codes)
        if len(rows) < 2:
            raise ArgumentError(
                f"path {name!r}: expected at least two codes; got {len(rows)}. Encode a path."
            )
        steps = np.linalg.norm(np.diff(rows.reshape(len(rows), -1), axis=0), axis=1)
        place = 360 * (np.arange(len(steps)) + 0.5) / len(steps)
        label = f"{name}: ratio {ratios[name]:.1f}"
        axes.plot(place, steps, color=COLOURS[i % len(COLOURS)], label=label)
    axes.set(xlabel="turned by (degrees)", ylabel="change of the code a step", xlim=(0, 360))
    axes.set_ylim(bottom=0)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
