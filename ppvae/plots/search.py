"""Figures of a search: places in order on the image, maps of a model, curves, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.plots.style import SEQUENTIAL, styled
from ppvae.plots.values import Array, Values, as_array, refuse_infinite, same_rows

__all__ = ["embedding_by_value", "learning_curves", "place_map", "places_in_order", "predicted"]


@styled
def places_in_order(
    positions: Array, places: Sequence[int], *, image: Array | None = None
) -> Figure:
    """The places measured, numbered by the colour from first to last, with the path between.

    Arguments:
        positions: Row and column of each candidate, with shape (N, 2).
        places: Numbers of those measured, in order.
        image: What is shown below, with shape (H, W), in pixels of the positions.
    """
    at = np.asarray(positions)[list(places)]
    figure = Figure(figsize=(4.6, 3.9), layout="compressed")
    axes = figure.subplots()
    if image is not None:
        axes.imshow(image, cmap="gray", interpolation="nearest")
    axes.plot(at[:, 1], at[:, 0], color="0.6", linewidth=0.5, zorder=1)
    drawn = axes.scatter(
        at[:, 1],
        at[:, 0],
        c=np.arange(1, len(at) + 1),
        cmap=SEQUENTIAL,
        s=16,
        edgecolors="white",
        linewidths=0.4,
        zorder=2,
    )
    if image is None:
        axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.set(xlabel="column", ylabel="row")
    figure.colorbar(drawn, ax=axes, label="measurement", ticks=MaxNLocator(integer=True))
    return figure


@styled
def place_map(
    positions: Array, maps: Mapping[str, Array], *, places: Sequence[int] = ()
) -> Figure:
    """Numbers of each candidate at its position, a map side by side for each name.

    Arguments:
        positions: Row and column of each candidate, with shape (N, 2).
        maps: Name to numbers, with shape (N); NaN is not drawn.
        places: Numbers of those measured, marked.

    Raises:
        ArgumentError: If there is no map.
    """
    if not maps:
        raise ArgumentError("maps: expected at least one; got none. Pass the predicted means.")
    at = np.asarray(positions)
    figure = Figure(figsize=(3.4 * len(maps), 3.0), layout="compressed")
    rows, columns = (len(np.unique(at[:, axis])) for axis in range(2))
    size = float(np.clip(150 / max(rows, columns), 1.5, 12)) ** 2
    for axes, (name, values) in zip(
        np.atleast_1d(figure.subplots(1, len(maps))), maps.items(), strict=True
    ):
        drawn = axes.scatter(
            at[:, 1], at[:, 0], c=np.asarray(values), cmap=SEQUENTIAL, s=size, marker="s"
        )
        chosen = at[list(places)]
        ring = {"facecolors": "none", "edgecolors": "red", "linewidths": 0.6}
        marks = axes.scatter(chosen[:, 1], chosen[:, 0], s=9, label="measured", **ring)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set(title=name, xticks=[], yticks=[])
        figure.colorbar(drawn, ax=axes, shrink=0.85)
    if len(places):
        figure.legend(handles=[marks], loc="outside lower center")
    return figure


@typed()
@styled
def learning_curves(curves: Mapping[str, Values], *, ylabel: str = "best so far") -> Figure:
    """Curves over measurements: the mean over seeds, with a band of two standard errors.

    Arguments:
        curves: Name to one curve per seed, with shape (S, M), or to a single one, (M).
        ylabel: What the curves are.

    Raises:
        ArgumentError: If there is no curve.
    """
    if not curves:
        raise ArgumentError("curves: expected at least one; got none. Pass {name: values}.")
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, values in curves.items():
        rows = np.atleast_2d(as_array(values))
        mean, steps = rows.mean(0), np.arange(1, rows.shape[1] + 1)
        (line,) = axes.plot(steps, mean, label=name)
        if len(rows) > 1:
            error = 2 * rows.std(0, ddof=1) / np.sqrt(len(rows))
            axes.fill_between(
                steps, mean - error, mean + error, color=line.get_color(), alpha=0.2, linewidth=0
            )
    axes.set(xlabel="measurements", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


@styled
def embedding_by_value(embedding: Array, values: Array) -> Figure:
    """Two dimensions of an embedding, those of most variance, coloured by what was measured.

    Arguments:
        embedding: With shape (N, D).
        values: With shape (N); NaN, not measured, is drawn in grey below.
    """
    embedding, values = np.asarray(embedding, dtype=float), np.asarray(values, dtype=float)
    if embedding.shape[1] == 1:
        embedding = np.concatenate([embedding, np.zeros_like(embedding)], 1)
    centered = embedding - embedding.mean(0)
    axes_of_most = np.linalg.svd(centered, full_matrices=False)[2][:2]
    at = centered @ axes_of_most.T
    seen = np.isfinite(values)
    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(at[~seen, 0], at[~seen, 1], s=3, color="0.85", label="not measured")
    drawn = axes.scatter(at[seen, 0], at[seen, 1], s=16, c=values[seen], cmap=SEQUENTIAL)
    axes.set(xlabel="first axis of the embedding", ylabel="second axis")
    figure.colorbar(drawn, ax=axes, label="measured")
    return figure


@typed()
@styled
def predicted(y: Values, mean: Values, scale: Values) -> Figure:
    """Measurements against what was predicted before them, with two standard deviations.

    Arguments:
        y: Measurements, with shape (N); NaN where there is none.
        mean: Predicted means, with shape (N).
        scale: Predicted standard deviations, with shape (N).

    Raises:
        ArgumentError: If shapes do not fit, or no measurement is finite.
    """
    y, mean, scale = (as_array(value).reshape(-1) for value in (y, mean, scale))
    same_rows(y=y, mean=mean, scale=scale)
    for name, values in (("y", y), ("mean", mean), ("scale", scale)):
        refuse_infinite(name, values)
    figure = Figure(figsize=(3.8, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(mean, y, xerr=2 * scale, fmt="o", markersize=3, linewidth=0.6, color="C0")
    ends = np.nanmin(y), np.nanmax(y)
    axes.plot(ends, ends, color="0.5", linewidth=0.8)
    axes.set(xlabel="predicted before the measurement", ylabel="measured")
    return figure
