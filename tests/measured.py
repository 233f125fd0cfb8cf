"""Metrics of a run that belong to its kind."""

from __future__ import annotations

from ppvae.report.gallery import Subject, measure
from ppvae.runs import Run


def measured(run: Run, data: object) -> dict[str, float]:
    """All metrics but the bounds of information, which every run has."""
    metrics = measure(Subject(run, data))
    return {name: value for name, value in metrics.items() if not name.startswith("information")}
