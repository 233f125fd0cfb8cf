"""A run's report: a verdict first, then pictures, numbers, and how to do it again."""

from ppvae.report.page import render, write

__all__ = ["render", "write"]
