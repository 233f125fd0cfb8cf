"""The style of figures: one width, legible type, and colours for colour-blind readers.

The style applies while a figure is made; ``matplotlib.rcParams`` are restored, and
figures are made without pyplot, so that none stays open and no display is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Final, ParamSpec

import matplotlib.style
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

__all__ = [
    "COLOURS",
    "CYCLIC",
    "DIVERGING",
    "DPI",
    "MARKERS",
    "MISSING",
    "MUTED",
    "SEQUENTIAL",
    "TEXT_WIDTH",
    "style",
    "styled",
]

P = ParamSpec("P")

TEXT_WIDTH: Final = 7.0  # inches; of a journal's text, and of the report's column
DPI: Final = 200

# Petroff, Accessible Color Sequences for Data Visualization (2021), https://arxiv.org/abs/2107.02270
COLOURS: Final = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#832db6",
    "#94a4a2",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
MUTED: Final = "0.45"
MISSING: Final = "#b7d7a8"  # of pixels; a green that no map of pictures or differences has
SEQUENTIAL: Final = "viridis"
DIVERGING: Final = "RdBu_r"
CYCLIC: Final = "twilight_shifted"

_RC: Final[dict[str, object]] = {
    "figure.dpi": DPI,
    "figure.figsize": (TEXT_WIDTH, 3.2),
    "figure.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "image.cmap": SEQUENTIAL,
    "savefig.facecolor": "white",
    "savefig.dpi": "figure",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """Use the library's style for figures made in this scope; settings are restored on exit."""
    with matplotlib.style.context(["default", _RC]):
        yield


def styled(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function's figure in the library's style, its tick labels included."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style():
            figure = function(*args, **kwargs)
            # matplotlib makes the first tick label of an axis when it is asked for it, with the
            # settings at that time, and further ones like it.
            for axis in figure.findobj(Axis):
                assert isinstance(axis, Axis)
                axis.get_major_ticks()
            return figure

    return wrapper
