"""Figures and metrics of runs."""

__all__: list[str] = []
