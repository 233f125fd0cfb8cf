r"""Scalars of spectra: an area, a peak, a ratio, or a function of your own.

Each is a function of the axis (S) and of spectra (..., S) that returns one number per spectrum; a
function of your own with these two arguments can be used in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np

from ppvae.errors import ArgumentError

__all__ = ["Scalar", "band_ratio", "log_loop_area", "loop_area", "peak", "scalar_named"]

Scalar: TypeAlias = "Callable[[np.ndarray, np.ndarray], np.ndarray]"


def loop_area(axis: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    r"""The area within a closed loop, :math:`\left| \oint R \, dV \right|`, by trapezoids.

    Arguments:
        axis: Voltage V, which rises and falls, with shape (S).
        spectra: Response R, with shape (..., S); the last point is joined to the first.
    """
    axis, spectra = _checked(axis, spectra)
    steps = np.roll(axis, -1) - axis
    return np.asarray(np.abs(0.5 * ((spectra + np.roll(spectra, -1, -1)) * steps).sum(-1)))


def log_loop_area(axis: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """The logarithm of :func:`loop_area`; NaN where the area is zero, as if not measured."""
    area = loop_area(axis, spectra)
    return np.asarray(np.log(area, out=np.full_like(area, np.nan), where=area > 0))


def peak(
    axis: np.ndarray, spectra: np.ndarray, *, low: float = -np.inf, high: float = np.inf
) -> np.ndarray:
    """The largest value in a band of the axis.

    Arguments:
        axis: With shape (S).
        spectra: With shape (..., S).
        low: Lower end of the band.
        high: Upper end of the band.

    Raises:
        ArgumentError: If no point of the axis is in the band.
    """
    axis, spectra = _checked(axis, spectra)
    return np.asarray(spectra[..., _band(axis, low, high)].max(-1))


def band_ratio(
    axis: np.ndarray,
    spectra: np.ndarray,
    *,
    above: tuple[float, float],
    below: tuple[float, float],
) -> np.ndarray:
    """The mean in one band over the mean in another; NaN where the latter is zero.

    Arguments:
        axis: With shape (S).
        spectra: With shape (..., S).
        above: Ends of the numerator's band.
        below: Ends of the denominator's band.

    Raises:
        ArgumentError: If no point of the axis is in a band.
    """
    axis, spectra = _checked(axis, spectra)
    top, bottom = (spectra[..., _band(axis, *band)].mean(-1) for band in (above, below))
    gap = np.full_like(top, np.nan)
    return np.asarray(np.divide(top, bottom, out=gap, where=bottom != 0))


def scalar_named(text: str) -> Scalar:
    """A scalariser by its name on the command line.

    Arguments:
        text: ``area``, ``log-area``, ``peak``, ``peak:LOW:HIGH`` or
            ``ratio:LOW:HIGH:LOW:HIGH``.

    Raises:
        ArgumentError: If ``text`` is none of these.
    """
    name, *rest = text.split(":")
    try:
        numbers = [float(part) for part in rest]
    except ValueError:
        numbers = [np.nan]
    finite = all(np.isfinite(numbers))
    if name == "area" and not rest:
        return loop_area
    if name == "log-area" and not rest:
        return log_loop_area
    if name == "peak" and not rest:
        return peak
    if name == "peak" and len(numbers) == 2 and finite:
        return partial(peak, low=numbers[0], high=numbers[1])
    if name == "ratio" and len(numbers) == 4 and finite:
        top, bottom = (numbers[0], numbers[1]), (numbers[2], numbers[3])
        return partial(band_ratio, above=top, below=bottom)
    raise ArgumentError(
        f"scalar: expected area, log-area, peak, peak:LOW:HIGH or ratio:LOW:HIGH:LOW:HIGH; got "
        f"{text!r}. Name one: --scalar area."
    )


def _checked(axis: np.ndarray, spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    axis, spectra = np.asarray(axis, np.float64), np.asarray(spectra, np.float64)
    if axis.ndim != 1 or spectra.ndim < 1 or spectra.shape[-1] != len(axis):
        raise ArgumentError(
            f"spectra: expected shape (..., S) with an axis (S); got {spectra.shape} and "
            f"{axis.shape}. Pass one value of the axis for each number of a spectrum."
        )
    return axis, spectra


def _band(axis: np.ndarray, low: float, high: float) -> np.ndarray:
    inside = (axis >= low) & (axis <= high)
    if not inside.any():
        raise ArgumentError(
            f"band: expected points of the axis from {low:g} to {high:g}; got an axis from "
            f"{axis.min():g} to {axis.max():g}. Choose a band within it."
        )
    return inside
