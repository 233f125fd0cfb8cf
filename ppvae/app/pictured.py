"""Pictures of predictions: means above standard deviations, each with a scale."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ppvae.evaluate.predict import Prediction
from ppvae.plots.sheet import Row, deviation_row, grey_limits, picture_rows, sheet
from ppvae.plots.style import styled

__all__ = ["first_rows", "grid_of"]

# Number of rows of a table for which predictions are plotted; most labels above the columns.
DRAWN, LABELLED = 12, 12


@styled
def grid_of(prediction: Prediction, columns: Mapping[str, Sequence[float | str]]) -> Figure:
    """Means above standard deviations, a row for each value of the first column.

    Arguments:
        prediction: Predicted images at every combination of the columns.
        columns: Values of each column. Those of all but the first are above the pictures.
    """
    (first, values), *others = columns.items()
    shape = (len(values), -1, *prediction.mean.shape[1:])
    means, scales = (v.cpu().numpy().reshape(shape) for v in (prediction.mean, prediction.scale))
    limits, largest = grey_limits(means), float(scales.max())
    rows = []
    for value, mean, scale in zip(values, means, scales, strict=True):
        rows += _pair(f"{first} {_written(value)}", mean, scale, limits, largest)
    if not others:
        return sheet(rows)
    combined = itertools.product(*[[_written(v) for v in held] for _, held in others])
    labels = ["\n".join(texts) for texts in combined]
    step = math.ceil(len(labels) / LABELLED)
    shown = [label if i % step == 0 else "" for i, label in enumerate(labels)]
    return sheet(rows, column_labels=shown, head=", ".join(name for name, _ in others))


@styled
def first_rows(
    prediction: Prediction, arrays: Mapping[str, np.ndarray], given: Mapping[str, Tensor]
) -> Figure:
    """The first rows of a table: means above standard deviations, with the rows' columns.

    Arguments:
        prediction: Predicted images, one per row of the table.
        arrays: The columns as they are written.
        given: The columns that are shown, by name.
    """
    mean, scale = (v[:DRAWN].cpu().numpy() for v in (prediction.mean, prediction.scale))
    labels = [
        "\n".join(f"{name} {_written(arrays[name][row])}" for name in given)
        for row in range(len(mean))
    ]
    rows = _pair("predicted", mean, scale, grey_limits(mean), float(scale.max()))
    return sheet(rows, column_labels=labels)


def _pair(
    label: str,
    mean: np.ndarray,
    scale: np.ndarray,
    limits: tuple[float, float],
    largest: float,
) -> list[Row]:
    """Means, and their standard deviations with a colour bar; all with the same limits."""
    grey = limits != (0.0, 1.0) and mean.shape[1] != 3
    means = [replace(row, bar=grey) for row in picture_rows(label, mean, limits=limits)]
    return [*means, replace(deviation_row("s.d.", scale), limits=(0.0, max(largest, 1e-12)))]


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
