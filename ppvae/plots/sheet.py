"""A sheet of pictures: rows with labels, columns with headings and footers, and colour bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ppvae.plots.style import DIVERGING, MISSING, SEQUENTIAL, TEXT_WIDTH
from ppvae.plots.values import Array

__all__ = ["Row", "deviation_row", "difference_row", "grey_limits", "picture_rows", "sheet"]

_GAP = 0.05  # between pictures, as a share of a picture
_TILE = 0.95  # inches, the largest
_LINE = 0.17  # inches, a line of text
_LETTER = 0.075  # inches, a letter of 9 pt


@dataclass(frozen=True)
class Row:
    """Pictures side by side; missing pixels (nan) are green, a picture of them alone is blank.

    Attributes:
        label: Label to the left.
        pictures: Pictures with shape (N, H, W) for a colour map, (N, H, W, 3) for RGB.
        limits: Values at the two ends of the colour map.
        cmap: Name of the colour map.
        bar: Whether there is a colour bar to the right.
    """

    label: str
    pictures: Array
    limits: tuple[float, float] = (0.0, 1.0)
    cmap: str = "gray"
    bar: bool = False


def grey_limits(images: Array) -> tuple[float, float]:
    """0 and 1 for intensities, with a margin allowed; otherwise the range of the data."""
    low, high = float(np.nanmin(images)), float(np.nanmax(images))
    if low >= -0.5 and high <= 1.5:
        return 0.0, 1.0
    return low, max(high, low + 1e-12)


def picture_rows(
    label: str, images: Array, *, limits: tuple[float, float] | None = None
) -> list[Row]:
    """Images (N, C, H, W) as rows: one channel grey, three RGB, otherwise one row per channel."""
    limits = grey_limits(images) if limits is None else limits
    low, high = limits
    channels = images.shape[1]
    if channels == 3:
        rgb = np.clip((images - low) / (high - low), 0.0, 1.0)
        return [Row(label, np.moveaxis(rgb, 1, -1))]
    if channels == 1:
        return [Row(label, images[:, 0], limits)]
    labels = [f"{label}\nchannel {k + 1}".strip() for k in range(channels)]
    return [Row(labels[k], images[:, k], limits) for k in range(channels)]


def difference_row(label: str, difference: Array) -> Row:
    """Signed values (N, C, H, W), averaged over channels, with zero in white."""
    mean = difference.mean(1)
    largest = max(float(np.nanmax(np.abs(mean))), 1e-12)
    return Row(label, mean, (-largest, largest), DIVERGING, bar=True)


def deviation_row(label: str, scale: Array) -> Row:
    """Standard deviations (N, C, H, W), root mean square over channels."""
    spread = np.sqrt(np.square(scale).mean(1))
    return Row(label, spread, (0.0, max(float(np.nanmax(spread)), 1e-12)), SEQUENTIAL, bar=True)


def sheet(
    rows: Sequence[Row],
    *,
    column_labels: Sequence[str] | None = None,
    feet: Sequence[str] | None = None,
    head: str = "",
    foot: str = "",
) -> Figure:
    """A figure with one axes per row and one picture per column, all of the same size.

    Arguments:
        rows: Rows from top to bottom, with equal numbers of pictures.
        column_labels: Labels above the first row.
        feet: Texts below the last row.
        head: Title of the column labels.
        foot: Title of the texts below.
    """
    columns = len(rows[0].pictures)
    height, width = rows[0].pictures.shape[1:3]
    labels = [line for row in rows for line in row.label.split("\n")]
    longest = max([*map(len, labels), len(foot) if feet else 0])
    left = 0.1 + _LETTER * longest
    right = 0.75 if any(row.bar for row in rows) else 0.1
    tile = min((TEXT_WIDTH - left - right) / columns, _TILE)
    tall = tile * height / width
    column_labels, feet = _fitting(column_labels, tile), _fitting(feet, tile)
    top = 0.08 + _LINE * (_lines(column_labels) + bool(head))
    bottom = 0.06 + _LINE * _lines(feet)
    figure_width, figure_height = left + columns * tile + right, top + len(rows) * tall + bottom
    figure = Figure(figsize=(figure_width, figure_height))
    strips = []
    for i, row in enumerate(rows):
        y = figure_height - top - (i + 1) * tall
        axes = figure.add_axes(
            (
                left / figure_width,
                y / figure_height,
                columns * tile / figure_width,
                tall * (1 - _GAP) / figure_height,
            )
        )
        _fill(axes, row)
        strips.append(axes)
        if row.bar:
            place = (
                (left + columns * tile + 0.06) / figure_width,
                (y + 0.12 * tall) / figure_height,
                0.09 / figure_width,
                tall * 0.71 / figure_height,
            )
            bar = figure.colorbar(axes.images[0], cax=figure.add_axes(place))
            low, high = row.limits
            marks = (low, (low + high) / 2, high) if tall > 0.6 else (low, high)
            bar.set_ticks(list(marks), labels=[f"{v:.2g}".replace("-", "\u2212") for v in marks])
            bar.ax.tick_params(labelsize=8, length=2)
            bar.outline.set_visible(False)
    centres = [i + (1 - _GAP) / 2 for i in range(columns)]
    if column_labels is not None:
        axis = strips[0].secondary_xaxis("top")
        axis.set_xticks(centres, list(column_labels))
        axis.tick_params(length=0, pad=2)
        axis.spines["top"].set_visible(False)
        if head:
            axis.set_xlabel(head)
    if feet is not None:
        strips[-1].set_xticks(centres, list(feet))
        strips[-1].tick_params(length=0, pad=2)
        strips[-1].text(
            -0.06 / (columns * tile),
            -2 / (72 * tall),
            foot,
            transform=strips[-1].transAxes,
            ha="right",
            va="top",
            fontsize=8.5,
        )
    return figure


def _fill(axes: Axes, row: Row) -> None:
    for i, picture in enumerate(row.pictures):
        missing = np.isnan(picture)
        colour = "white" if missing.all() else MISSING
        if picture.ndim == 3:
            picture = np.where(missing.any(-1, keepdims=True), to_rgb(colour), picture)
        axes.imshow(
            picture,
            cmap=colormaps[row.cmap].with_extremes(bad=colour),
            vmin=row.limits[0],
            vmax=row.limits[1],
            extent=(i, i + 1 - _GAP, 0, 1),
            aspect="auto",
        )
    axes.set_xlim(0, len(row.pictures))
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_ylabel(row.label, rotation=0, ha="right", va="center", multialignment="right")


def _fitting(labels: Sequence[str] | None, width: float) -> list[str] | None:
    """Labels with one word per line where they would overlap."""
    if labels is None:
        return None
    wide = any(_LETTER * len(line) > width for label in labels for line in label.split("\n"))
    return [label.replace(" ", "\n") if wide else label for label in labels]


def _lines(labels: Sequence[str] | None) -> int:
    return 0 if labels is None else max(label.count("\n") + 1 for label in labels)
