"""Figures and metrics of runs: each a function that applies where the pair has what it is about.

A figure is a function from a :class:`Subject` to (file name, caption, figure) tuples, a metric is
a function to numbers by name; both return nothing where the run lacks the sites, columns, prior
or terms that they need. To add one, write the function and list it in :data:`FIGURES` or
:data:`METRICS`.
"""

from ppvae.report.gallery.registry import FIGURES, METRICS, draw, interact, measure
from ppvae.report.gallery.subject import Figures, Subject

__all__ = ["FIGURES", "METRICS", "Figures", "Subject", "draw", "interact", "measure"]
