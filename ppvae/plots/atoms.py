"""Values at positions of an image, such as the latents of its atoms, drawn over it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppvae.errors import ArgumentError
from ppvae.plots.style import COLOURS, CYCLIC, SEQUENTIAL, TEXT_WIDTH, styled
from ppvae.plots.values import Values, as_array, same_rows

__all__ = ["over_image"]


@styled
def over_image(
    image: Values,
    positions: Values,
    columns: Mapping[str, Values],
    *,
    periods: Mapping[str, float] | None = None,
    classes: Sequence[str] = (),
    crop: tuple[int, int, int, int] | None = None,
) -> Figure:
    """The image, and beside it a map of each column: colours of its values at the positions.

    Whole numbers are classes, each with a colour of its own; other numbers have a colour bar.

    Arguments:
        image: Image with shape (H, W).
        positions: Rows and columns in pixels, with shape (N, 2).
        columns: Name to values, with shape (N), in the order of the panels.
        periods: Period of each column that is an angle, in radians, which is drawn in degrees
            with colours that go around.
        classes: Names of the classes, by number.
        crop: First row, last row, first column and last column that are shown; all by default.

    Raises:
        ArgumentError: If there is no column, or one has another number of rows.
    """
    if not columns:
        raise ArgumentError("columns: expected at least one; got none. Pass run.encode(data).")
    values = {name: as_array(column) for name, column in columns.items()}
    same_rows(positions=positions, **values)
    picture, at, periods = as_array(image), as_array(positions), periods or {}
    top, bottom, left, right = crop or (0, len(picture) - 1, 0, picture.shape[1] - 1)
    inside = ((at >= (top, left)) & (at <= (bottom, right))).all(1)
    across = min(3, 1 + len(columns))
    down = math.ceil((1 + len(columns)) / across)
    figure = Figure(figsize=(TEXT_WIDTH, 2.6 * down), layout="constrained")
    panels = np.ravel(figure.subplots(down, across, squeeze=False))
    shown = (left - 0.5, right + 0.5, bottom + 0.5, top - 0.5)
    panels[0].imshow(picture[top : bottom + 1, left : right + 1], cmap="gray", extent=shown)
    panels[0].set_title("image")
    # Points about as large as the distance between neighbours.
    width = 150 / across / math.sqrt(max(1, int(inside.sum())))
    for axes, (name, column) in zip(panels[1:], values.items(), strict=False):
        place = (at[inside, 1], at[inside, 0])
        if np.issubdtype(np.asarray(columns[name]).dtype, np.integer):
            _classes(axes, place, column[inside], classes, width**2)
        else:
            _numbers(axes, place, column[inside], periods.get(name), width**2)
        axes.set(title=name, xlim=shown[:2], ylim=shown[2:])
    for axes in panels:
        axes.set(xticks=[], yticks=[], aspect="equal")
    for axes in panels[1 + len(columns) :]:
        axes.remove()
    return figure


def _classes(
    axes: Axes,
    place: tuple[np.ndarray, np.ndarray],
    column: np.ndarray,
    classes: Sequence[str],
    size: float,
) -> None:
    for number in np.unique(column).astype(int):
        here = column == number
        label = classes[number] if 0 <= number < len(classes) else str(number)
        colour = COLOURS[number % len(COLOURS)]
        axes.scatter(place[0][here], place[1][here], s=size, color=colour, lw=0, label=label)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncols=4,
        markerscale=6 / size**0.5,
        handletextpad=0.1,
        columnspacing=0.8,
    )


def _numbers(
    axes: Axes,
    place: tuple[np.ndarray, np.ndarray],
    column: np.ndarray,
    period: float | None,
    size: float,
) -> None:
    bar = axes.figure.colorbar
    if period is None:
        low, high = np.nanquantile(column, [0.01, 0.99])
        drawn = axes.scatter(*place, c=column, s=size, lw=0, cmap=SEQUENTIAL, vmin=low, vmax=high)
        bar(drawn, ax=axes, shrink=0.8)
        return
    turned = np.degrees(np.mod(column, period))
    top = math.degrees(period)
    drawn = axes.scatter(*place, c=turned, s=size, lw=0, cmap=CYCLIC, vmin=0, vmax=top)
    bar(drawn, ax=axes, shrink=0.8, ticks=[0, round(top / 2), round(top)], format="%d°")
