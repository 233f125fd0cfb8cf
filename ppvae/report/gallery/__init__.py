"""Figures and metrics of runs: each a function that applies where the pair has what it is about.

A figure is a function from a :class:`Subject` to (file name, caption, figure) tuples, a metric is
a function to numbers by name; both return nothing where the run lacks the sites, columns, prior
or terms that they need. To add one, write the function, decorated by :func:`figure` or
:func:`metric`, in any module of this folder, or in one of your own that is imported before the
report is written.
"""

import importlib
import pkgutil

from ppvae.report.gallery.listed import FIGURES, METRICS, figure, metric
from ppvae.report.gallery.registry import draw, interact, measure
from ppvae.report.gallery.subject import Figures, Subject

__all__ = [
    "FIGURES",
    "METRICS",
    "Figures",
    "Subject",
    "draw",
    "figure",
    "interact",
    "measure",
    "metric",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
