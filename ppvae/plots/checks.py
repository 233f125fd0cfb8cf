"""Figures for checks of a model: covariances, calibration, Pareto k, errors by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import SHARE, above, at_least
from ppvae.plots.style import COLOURS, DIVERGING, MUTED, SEQUENTIAL, TEXT_WIDTH, styled
from ppvae.plots.values import Array, Values, as_array

__all__ = ["calibration", "covariance", "expected_counts", "method_errors", "pareto_k"]


@typed()
@styled
def covariance(
    matrix: Values | Mapping[str, Values],
    *,
    ticks: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    label: str = "covariance",
) -> Figure:
    """A heat map of a covariance or correlation matrix, or several in one scale.

    Up to three are side by side, more in rows of two.

    Arguments:
        matrix: Matrix with shape (Q, Q), or several by title.
        ticks: Labels of the Q rows, or such labels by title; about eight of them are shown.
        label: Label of the colour bar.

    Raises:
        ArgumentError: If a matrix is not square, or the number of ticks differs from its rows.
    """
    given = matrix if isinstance(matrix, Mapping) else {"": matrix}
    matrices = {title: _square(values) for title, values in given.items()}
    names = ticks if isinstance(ticks, Mapping) else dict.fromkeys(matrices, ticks or ())
    wide = TEXT_WIDTH if len(matrices) > 1 else 4.6
    across = len(matrices) if len(matrices) <= 3 else 2
    down = -(-len(matrices) // across)
    height = down * min(4.0, 0.82 * wide / across)
    figure = Figure(figsize=(wide, height), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(matrices) :]:
        axes.remove()
    panels = panels[: len(matrices)]
    # A colour stands for the same number in every panel.
    end = max(*(float(np.abs(array).max()) for array in matrices.values()), 1e-12)
    signed = min(float(array.min()) for array in matrices.values()) < -1e-6 * end
    for axes, (title, array) in zip(panels, matrices.items(), strict=True):
        shown = axes.imshow(
            array,
            cmap=DIVERGING if signed else SEQUENTIAL,
            vmin=-end if signed else 0.0,
            vmax=end,
        )
        axes.set_title(title, loc="left")
        axes.spines[:].set_visible(False)
        _name_rows(axes, list(names.get(title, ())), len(array))
    bar = figure.colorbar(shown, ax=list(panels), label=label, shrink=0.8)
    bar.outline.set_visible(False)
    return figure


def _name_rows(axes: Axes, names: list[str], number: int) -> None:
    if not names:
        return
    if len(names) != number:
        raise ArgumentError(
            f"ticks: expected {number}, one per row; got {len(names)}. Pass as many names."
        )
    places = range(0, number, -(-number // 8))
    axes.set_xticks(places, [names[i] for i in places], rotation=45, ha="right")
    axes.set_yticks(places, [names[i] for i in places])


def _square(values: Values) -> Array:
    array = as_array(values)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise ArgumentError(
            f"covariance: expected a square matrix; got shape {array.shape}. Pass (Q, Q)."
        )
    if not np.isfinite(array).all():
        raise ArgumentError(
            f"covariance: expected finite numbers; got {(~np.isfinite(array)).sum()} that are "
            "not. Leave out the rows and columns that are missing."
        )
    return array


@typed()
@styled
def expected_counts(observed: Values, expected: Values) -> Figure:
    """Observed counts against expected ones: each value, and the mean of each feature.

    On the left, axes are logarithmic in one plus the count, and a colour stands for a number of
    values; on the right, features without a count are left out.

    Arguments:
        observed: Counts with shape (N, D); missing values (nan) are left out.
        expected: Their expectations, with the same shape.

    Raises:
        ArgumentError: If the shapes differ, or are not (N, D).
    """
    x, mean = as_array(observed), as_array(expected)
    if x.ndim != 2 or x.shape != mean.shape or not x.size:
        raise ArgumentError(
            f"expected_counts: expected two arrays with shape (N, D); got {x.shape} and "
            f"{mean.shape}. Pass the decoded means of the same counts."
        )
    there = ~np.isnan(x)
    figure = Figure(figsize=(TEXT_WIDTH, 3.1), layout="constrained")
    values, means = figure.subplots(1, 2)
    pair = np.log1p(mean[there]), np.log1p(x[there])
    end = max(float(pair[0].max()), float(pair[1].max()), 1e-12) * 1.02
    bins = values.hexbin(
        *pair, gridsize=50, bins="log", extent=(0, end, 0, end), cmap=SEQUENTIAL, mincnt=1, lw=0
    )
    places = [0, *(10.0**power for power in range(1 + int(end / np.log(10))))]
    ticks, labels = [np.log1p(place) for place in places], [f"{place:.0f}" for place in places]
    values.set_xticks(ticks, labels)
    values.set_yticks(ticks, labels)
    values.axline((0, 0), slope=1, color=MUTED, lw=1)
    values.set(xlabel="expected count", ylabel="observed count", aspect="equal")
    bar = figure.colorbar(bins, ax=values, label="number of values", shrink=0.8)
    bar.outline.set_visible(False)
    number = np.maximum(there.sum(0), 1)
    by_feature = [np.where(there, array, 0).sum(0) / number for array in (mean, x)]
    shown = (by_feature[0] > 0) & (by_feature[1] > 0)
    means.scatter(*(m[shown] for m in by_feature), s=4, lw=0, alpha=0.5, color=COLOURS[0])
    means.set(
        xscale="log", yscale="log", xlabel="mean expected count", ylabel="mean observed count"
    )
    if shown.any():
        place = float(by_feature[0][shown].min())
        means.axline((place, place), (10 * place, 10 * place), color=MUTED, lw=1)
    return figure


@typed()
@styled
def method_errors(
    mean: Mapping[str, float],
    standard_error: Mapping[str, float] | None = None,
    *,
    references: Mapping[str, float] | None = None,
    label: str = "mean squared error per pixel",
) -> Figure:
    """Errors by method as dots with standard errors; lower is better.

    Arguments:
        mean: Error by method.
        standard_error: Standard error by method, for those that have one.
        references: Errors for comparison by name, drawn as lines across.
        label: Label of the axis of errors.

    Raises:
        ArgumentError: If there is no method, or a standard error without one.
    """
    bars = dict(standard_error or {})
    if not mean or set(bars) - set(mean):
        raise ArgumentError(
            f"methods: expected a mean for each of {sorted(bars) or 'one or more'}; got "
            f"{sorted(mean)}. Pass {{method: error}}."
        )
    figure = Figure(figsize=(TEXT_WIDTH, 0.9 + 0.32 * len(mean)), layout="constrained")
    axes = figure.subplots()
    for place, (name, value) in enumerate(mean.items()):
        error = bars.get(name)
        axes.errorbar(value, place, xerr=error, fmt="o", color=COLOURS[0], capsize=3, ms=5)
        text = f"{value:.4f}" if error is None else f"{value:.4f} \u00b1 {error:.4f}"
        axes.annotate(
            text,
            (value, place),
            (0, 6),
            textcoords="offset points",
            ha="center",
            bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 0.5},
        )
    for name, value in (references or {}).items():
        axes.axvline(value, color=MUTED, ls="--", lw=1)
        axes.annotate(
            name,
            (value, 1),
            (2, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=20,
            color=MUTED,
        )
    axes.set_yticks(range(len(mean)), list(mean))
    axes.set_ylim(len(mean) - 0.5, -0.8)
    axes.set_xlim(left=0.0)
    axes.margins(x=0.12)
    axes.grid(visible=True, axis="x")
    axes.set_xlabel(f"{label} (lower is better)")
    return figure


@typed(bins=at_least(1), interval=SHARE)
@styled
def calibration(pit: Values, *, interval: float | None = 0.9, bins: int = 20) -> Figure:
    r"""Calibration of predictive intervals.

    Left: a histogram of the probability integral transform :math:`F_n(x_n)`, which is flat if
    predictions are calibrated, with peaks at the ends if intervals are too narrow, and a peak in
    the middle if they are too wide. Right: the share of data within the central interval of each
    level, which is on the diagonal if predictions are calibrated.

    Arguments:
        pit: :math:`F_n(x_n)` of any shape, between 0 and 1.
        interval: Level for which the coverage is written in the figure; None for none.
        bins: Number of bins of the histogram.

    Raises:
        ArgumentError: If a value is not between 0 and 1, or there is none.
    """
    values = as_array(pit).ravel()
    if not values.size or not (values.min() >= 0 and values.max() <= 1):
        raise ArgumentError(
            "pit: expected values between 0 and 1, at least one; got "
            f"{f'{values.min():g} to {values.max():g}' if values.size else 'none'}. "
            "Pass the predictive distribution function at the data."
        )
    figure = Figure(figsize=(TEXT_WIDTH, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    weights = np.full(values.size, bins / values.size)
    left.hist(values, bins, range=(0, 1), weights=weights, color=COLOURS[0], alpha=0.8)
    left.axhline(1.0, color="black", ls="--", lw=1, label="calibrated")
    left.set(
        xlabel="share of the prediction below the datum",
        ylabel="density of the data",
        xlim=(0, 1),
    )
    left.legend(loc="lower center")
    levels = np.linspace(0, 1, 101)
    coverage = np.searchsorted(np.sort(2 * np.abs(values - 0.5)), levels + 1e-12) / values.size
    right.plot(levels, levels, color="black", ls="--", lw=1, label="calibrated")
    right.plot(levels, coverage, color=COLOURS[0], label="this model")
    if interval is not None:
        share = float(np.mean(2 * np.abs(values - 0.5) <= interval + 1e-12))
        right.plot([interval], [share], "o", color=COLOURS[2])
        text = f"{100 * interval:.0f} % intervals\ncontain {100 * share:.1f} % of the data"
        right.text(0.97, 0.05, text, transform=right.transAxes, ha="right", color=COLOURS[2])
    right.set(xlabel="level of the interval", ylabel="data inside", xlim=(0, 1), ylim=(0, 1.02))
    right.legend(loc="upper left")
    return figure


@typed(threshold=above(0))
@styled
def pareto_k(k: Values, *, threshold: float = 0.7) -> Figure:
    """A histogram of the Pareto shape of each datum's importance weights, of those with one.

    Up to the threshold, the guide covers the posterior well enough for importance weighting; above
    one, the weights have no finite mean.

    Arguments:
        k: Pareto shapes, of any shape; those that are not finite are left out.
        threshold: Largest good value.

    Raises:
        ArgumentError: If no value is finite.
    """
    values = as_array(k).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        raise ArgumentError("pareto_k: expected a finite value; got none. Draw more weights.")
    edges = np.linspace(min(0.0, values.min()), max(1.2, values.max()), 41).tolist()
    ranges = (
        ("good", -np.inf, threshold, COLOURS[0], ""),
        ("doubtful", threshold, 1.0, COLOURS[1], "//"),
        ("bad", 1.0, np.inf, COLOURS[2], "xx"),
    )
    figure = Figure(figsize=(TEXT_WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    for name, low, high, colour, hatch in ranges:
        part = values[(values > low) & (values <= high)]
        share = 100 * part.size / values.size
        bound = f"k > {low:g}" if high == np.inf else f"k \u2264 {high:g}"
        axes.hist(
            part,
            edges,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.3,
            label=f"{name} ({bound}): {share:.1f} %",
        )
    for place in (threshold, 1.0):
        axes.axvline(place, color=MUTED, ls="--", lw=1)
    axes.set(xlabel="Pareto k per datum", ylabel="data")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
