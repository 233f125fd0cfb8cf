"""Correlations with intervals, a line per pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.plots.style import COLOURS, MUTED, TEXT_WIDTH, styled
from ppvae.plots.values import Array, Values, as_array

__all__ = ["correlation_intervals"]

# Most lines of a figure.
LINES = 60


@typed()
@styled
def correlation_intervals(
    mean: Values,
    lower: Values,
    upper: Values,
    *,
    ticks: Sequence[str] | None = None,
    truth: Values | None = None,
    label: str = "correlation",
) -> Figure:
    """Each pair of variables as a line: its interval, its mean, and where it is known its truth.

    Pairs are in order of their means, the largest on top; of more than 60, those whose means are
    furthest from zero are shown.

    Arguments:
        mean: Means, with shape (Q, Q), as of :func:`ppvae.evaluate.view_correlation`.
        lower: Lower ends of the intervals, with shape (Q, Q).
        upper: Upper ends, with shape (Q, Q).
        ticks: Names of the Q variables; their numbers by default.
        truth: Correlations that the data were drawn with, with shape (Q, Q).
        label: Label of the axis.

    Raises:
        ArgumentError: If the matrices are not square, with two or more rows and of one shape, or
            the number of ticks differs from their rows.
    """
    given = {"mean": mean, "lower": lower, "upper": upper, "truth": truth}
    matrices = {name: as_array(value) for name, value in given.items() if value is not None}
    size = len(matrices["mean"]) if matrices["mean"].ndim else 0
    wrong = [n for n, a in matrices.items() if a.shape != (size, size) or not np.isfinite(a).all()]
    if wrong or size < 2:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in matrices.items())
        raise ArgumentError(
            f"correlation_intervals: expected finite matrices (Q, Q) of one Q >= 2; got {shapes}. "
            "Pass those that view_correlation returns."
        )
    names = tuple(map(str, range(size))) if ticks is None else tuple(ticks)
    if len(names) != size:
        raise ArgumentError(
            f"ticks: expected {size}, one per row; got {len(names)}. Pass as many names."
        )
    i, j = np.triu_indices(size, 1)
    values = {name: array[i, j] for name, array in matrices.items()}
    kept = np.argsort(-np.abs(values["mean"]), kind="stable")[:LINES]
    kept = kept[np.argsort(values["mean"][kept], kind="stable")]
    height = 0.7 + 0.21 * len(kept)
    figure = Figure(figsize=(TEXT_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(kept))
    lines: dict[str, Array] = {name: value[kept] for name, value in values.items()}
    axes.axvline(0.0, color=MUTED, lw=0.6)
    axes.hlines(places, lines["lower"], lines["upper"], color=COLOURS[0], lw=2.2, label="interval")
    axes.plot(lines["mean"], places, "o", color=COLOURS[0], ms=5, label="mean")
    if "truth" in lines:
        axes.plot(lines["truth"], places, "D", color=COLOURS[2], ms=4, mfc="none", label="drawn")
    axes.set_yticks(places, [f"{names[i[n]]}, {names[j[n]]}" for n in kept])
    axes.set(xlabel=label, ylim=(-0.7, len(kept) - 0.3))
    axes.grid(visible=True, axis="x")
    if len(kept) < len(i):
        axes.set_title(f"{len(kept)} of {len(i)} pairs, those furthest from zero", loc="left")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure
