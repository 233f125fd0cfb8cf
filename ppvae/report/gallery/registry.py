"""The figures and metrics of a run, in the order of the report.

One that fails does not stop the others: a report of a long fit is worth having without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from ppvae.plots.files import Failure
from ppvae.report.gallery import controls
from ppvae.report.gallery.listed import FIGURES, METRICS
from ppvae.report.gallery.subject import Figures, Subject
from ppvae.typing import JsonObject

__all__ = ["draw", "interact", "measure"]

logger = logging.getLogger(__name__)
T = TypeVar("T")


def draw(subject: Subject, *, failures: list[Failure] | None = None) -> Figures:
    """All figures that apply, as (file name, caption, figure).

    Arguments:
        subject: The run and its data.
        failures: Takes the figures that raise, with the reason; without it, they raise here.
    """
    return [shown for f in FIGURES for shown in _tried(f, subject, "figure", failures) or ()]


def measure(subject: Subject, *, failures: list[Failure] | None = None) -> dict[str, float]:
    """All metrics that apply, by name.

    Arguments:
        subject: The run and its data.
        failures: Takes the metrics that raise, with the reason; without it, they raise here.
    """
    tried = (_tried(metric, subject, "metric", failures) or {} for metric in METRICS)
    return {name: value for found in tried for name, value in found.items()}


def interact(subject: Subject, *, failures: list[Failure] | None = None) -> JsonObject:
    """The data of the report's controls; empty where none apply.

    Arguments:
        subject: The run and its data.
        failures: Takes them as a figure that fails, with the reason; without it, they raise here.
    """
    return _tried(controls.controls, subject, "figure", failures) or {}


def _tried(
    shown: Callable[[Subject], T], subject: Subject, kind: str, failures: list[Failure] | None
) -> T | None:
    """What a figure or metric returns, or None where it fails and that has been noted."""
    try:
        return shown(subject)
    except Exception as error:
        if failures is None:
            raise
        name = f"{shown.__module__.rpartition('.')[2]}.{shown.__name__}"
        reason = f"{type(error).__name__}: {error}"
        logger.warning("%s %s is left out: %s", kind, name, reason)
        logger.debug("%s", name, exc_info=error)
        failures.append({"kind": kind, "name": name, "reason": reason})
        return None
