"""A run's report: a verdict first, then pictures, numbers, and the settings to repeat the run."""

from ppvae.report.page import render, write
from ppvae.report.rules import verdict
from ppvae.report.writing import SUMMARY_ROWS, write_all

__all__ = ["SUMMARY_ROWS", "render", "verdict", "write", "write_all"]
