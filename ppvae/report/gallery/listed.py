"""The lists of figures and metrics, to which a decorator adds a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ppvae.report.gallery.subject import Figures, Subject

__all__ = ["FIGURES", "METRICS", "figure", "metric", "named"]

DrawsFigures = Callable[[Subject], Figures]
Measures = Callable[[Subject], dict[str, float]]
F = TypeVar("F", bound=DrawsFigures)
M = TypeVar("M", bound=Measures)

FIGURES: list[DrawsFigures] = []
METRICS: list[Measures] = []
_PLACES: dict[DrawsFigures, int] = {}


def figure(place: int = 1000) -> Callable[[F], F]:
    """Add a function to the figures of every report.

    Arguments:
        place: Number by which figures are ordered; those of ppvae are multiples of ten, from 10
            for predictions to 170 for the loss.
    """

    def decorate(function: F) -> F:
        _PLACES[function] = place
        FIGURES.append(function)
        FIGURES.sort(key=_PLACES.__getitem__)
        return function

    return decorate


def metric(function: M) -> M:
    """Add a function to the metrics of every report."""
    METRICS.append(function)
    return function


def named(file: str, site: str, first: bool) -> str:
    """The name of a picture's file; the site is added for all but the first."""
    return f"{file}.png" if first else f"{file}_{site}.png"
