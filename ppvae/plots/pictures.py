"""Images beside their reconstructions or predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.plots.sheet import deviation_row, difference_row, grey_limits, picture_rows, sheet
from ppvae.plots.style import COLOURS, MUTED, TEXT_WIDTH, styled
from ppvae.plots.values import Array, Values, as_array, as_images, same_rows

__all__ = ["images", "methods_by_object", "predictions", "reconstructions"]


@typed(per_row=at_least(1))
@styled
def images(
    pictures: Values,
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    per_row: int = 10,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A grid of images: one channel in grey, three as RGB, otherwise one row per channel.

    Arguments:
        pictures: Images with shape (R, N, C, H, W), or (N, C, H, W) divided into rows of
            ``per_row``.
        row_labels: Labels of the R rows.
        column_labels: Labels of the N columns.
        per_row: Number of images per row, if ``pictures`` is not divided into rows.
        limits: Values shown as black and white; 0 and 1 for intensities by default.

    Raises:
        ArgumentError: If a shape or a number of labels is wrong.
    """
    array = as_images("images", pictures, dims=(4, 5))
    if array.ndim == 4:
        columns = min(per_row, len(array))
        blanks = np.full((-len(array) % columns, *array.shape[1:]), np.nan)
        array = np.concatenate([array, blanks]).reshape(-1, columns, *array.shape[1:])
    _count("row_labels", row_labels, array.shape[0])
    _count("column_labels", column_labels, array.shape[1])
    limits = grey_limits(array) if limits is None else limits
    labels = [""] * len(array) if row_labels is None else row_labels
    rows = [
        part
        for label, row in zip(labels, array, strict=True)
        for part in picture_rows(label, row, limits=limits)
    ]
    return sheet(rows, column_labels=column_labels)


@typed(number=at_least(1))
@styled
def reconstructions(
    original: Values,
    mean: Values,
    scale: Values | None = None,
    *,
    number: int = 10,
    column_labels: Sequence[str] | None = None,
) -> Figure:
    """Data above their reconstructions.

    Arguments:
        original: Images with shape (N, C, H, W), or rows of numbers (N, D), drawn as curves.
        mean: Decoded means, with the same shape.
        scale: Standard deviations of the data given the latents, with the same shape.
        number: Number of images shown, from the first.
        column_labels: Labels of the columns.

    Raises:
        ArgumentError: If shapes differ.
    """
    triple = _same_shape(original=original, mean=mean, scale=scale, number=number)
    return _beside(*triple, ("Original", "Reconstruction"), column_labels)


@typed(number=at_least(1))
@styled
def predictions(
    true: Values,
    mean: Values,
    scale: Values | None = None,
    *,
    number: int = 10,
    column_labels: Sequence[str] | None = None,
) -> Figure:
    """Rows of true images, predicted means, differences and standard deviations.

    The mean squared error per pixel is written below each column. Over channels, differences are
    averaged, and deviations are root mean squares.

    Arguments:
        true: Held-out images, with shape (N, C, H, W), or rows of numbers (N, D), drawn as
            curves.
        mean: Predictive means, with the same shape.
        scale: Predictive standard deviations, with the same shape.
        number: Number of images shown, from the first.
        column_labels: Labels of the columns.

    Raises:
        ArgumentError: If shapes differ.
    """
    triple = _same_shape(true=true, mean=mean, scale=scale, number=number)
    return _beside(*triple, ("True", "Predicted"), column_labels, difference=True)


@typed(number=at_least(1))
@styled
def methods_by_object(
    true: Values,
    predicted: Mapping[str, Values],
    *,
    number: int = 10,
    column_labels: Sequence[str] | None = None,
) -> Figure:
    """Held-out predictions of several methods, one row per method below the true images.

    The mean squared error per pixel of a method, over all given images, is written below its name.

    Arguments:
        true: True images, with shape (N, C, H, W).
        predicted: Predictions by method, with the same shape.
        number: Number of images shown, from the first.
        column_labels: Labels of the columns.

    Raises:
        ArgumentError: If shapes differ, or there is no method.
    """
    if not predicted:
        raise ArgumentError("methods: expected at least one; got none. Pass {name: predictions}.")
    data = as_images("true", true)
    limits = grey_limits(data)
    rows = picture_rows("True", data[:number], limits=limits)
    for name, values in predicted.items():
        array, _, _ = _same_shape(**{name: values, "true": true}, number=len(data))
        label = f"{name}\nMSE {_short(float(_errors(data, array).mean()))}"
        rows += picture_rows(label, array[:number], limits=limits)
    return sheet(rows, column_labels=_first(column_labels, min(number, len(data))))


def _beside(
    data: Array,
    fitted: Array,
    spread: Array | None,
    names: tuple[str, str],
    column_labels: Sequence[str] | None,
    *,
    difference: bool = False,
) -> Figure:
    """Data above their predictions, with errors below: pictures, or curves."""
    if data.ndim == 2:
        return _curves(data, fitted, spread, (names[0].lower(), names[1].lower()))
    as_images("images", data)
    limits = grey_limits(data)
    gaps = "\n(green: missing)" if np.isnan(data).any() else ""
    rows = picture_rows(names[0] + gaps, data, limits=limits)
    rows += picture_rows(names[1], fitted, limits=limits)
    if difference:
        rows.append(difference_row(f"{names[1]}\nless {names[0].lower()}", fitted - data))
    if spread is not None:
        rows.append(deviation_row("Standard\ndeviation", spread))
    return sheet(
        rows,
        column_labels=_first(column_labels, len(data)),
        feet=[_short(e) for e in _errors(data, fitted)],
        foot="MSE",
    )


def _curves(data: Array, fitted: Array, spread: Array | None, names: tuple[str, str]) -> Figure:
    """One panel per row: the true values, and the prediction with two standard deviations."""
    number = len(data)
    columns = min(2, number)
    lines = -(-number // columns)
    figure = Figure(figsize=(TEXT_WIDTH, 0.5 + 1.2 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    places = np.arange(data.shape[1])
    for axes, x, m, s in zip(
        panels, data, fitted, [None] * number if spread is None else spread, strict=False
    ):
        if s is not None:
            axes.fill_between(
                places,
                m - 2 * s,
                m + 2 * s,
                color=COLOURS[0],
                alpha=0.25,
                lw=0,
                label="\u00b1 2 standard deviations",
            )
        axes.plot(places, x, color=MUTED, lw=1, label=names[0])
        axes.plot(places, m, color=COLOURS[0], label=names[1])
    for axes in panels[number:]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    figure.supxlabel("feature", fontsize=9)
    return figure


def _same_shape(*, number: int, **values: Values | None) -> tuple[Array, Array, Array | None]:
    """The first ``number`` rows of two or three arrays of the same shape."""
    arrays = {name: as_array(value) for name, value in values.items() if value is not None}
    same_rows(**arrays)
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        text = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ArgumentError(f"images: expected one shape; got {text}. Pass the same images.")
    first, second, *third = (array[:number] for array in arrays.values())
    return first, second, third[0] if third else None


def _errors(true: Array, predicted: Array) -> Array:
    """The mean squared error of each row, over its values that are not missing."""
    squares = np.square(true - predicted).reshape(len(true), -1)
    errors: Array = np.nansum(squares, 1) / np.maximum((~np.isnan(squares)).sum(1), 1)
    return errors


def _short(value: float) -> str:
    """A number with three decimals, or in scientific notation if it is small."""
    return f"{value:.3f}" if 0.0005 <= value < 100 else f"{value:.1e}"


def _first(labels: Sequence[str] | None, number: int) -> Sequence[str] | None:
    if labels is None:
        return None
    if len(labels) < number:
        _count("column_labels", labels, number)
    return labels[:number]


def _count(name: str, labels: Sequence[str] | None, number: int) -> None:
    if labels is not None and len(labels) != number:
        raise ArgumentError(
            f"{name}: expected {number}, one for each; got {len(labels)}. Pass as many labels."
        )
