"""Training as curves."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ppvae.errors import ArgumentError
from ppvae.plots.style import COLOURS, TEXT_WIDTH, styled
from ppvae.runs.history import History

__all__ = ["loss_by_term"]

_NOT_TERMS = ("epoch", "step", "learning_rate", "seconds")
_TITLES = {"elbo": "ELBO (every weight one)", "loss": "Loss (what is minimised)"}


@styled
def loss_by_term(history: History) -> Figure:
    """One panel per term, in nats per datum; training data as a line, validation data dashed.

    The ELBO comes first, then the loss and each term. The limits of a panel are those of the
    epochs after the first tenth, as the first few have a much larger range.

    Raises:
        ArgumentError: If there is no epoch.
    """
    if not len(history):
        raise ArgumentError("history: expected at least one epoch; got none. Fit the model first.")
    names = [n for n in history.columns if n not in _NOT_TERMS and not n.startswith("val_")]
    names.sort(key=lambda name: name != "elbo")
    columns = min(2, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(TEXT_WIDTH, 0.5 + 1.75 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _curve(axes, history, name)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(names) - columns) : len(names)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("epoch")
    if any(name.startswith("val_") for name in history.columns):
        longest = max(panels[: len(names)], key=lambda axes: len(axes.lines))
        figure.legend(handles=longest.lines, loc="outside upper center", ncols=2)
    figure.supylabel("nats per datum", fontsize=9)
    return figure


def _curve(axes: Axes, history: History, name: str) -> None:
    epochs = np.array([row.get("epoch", i + 1) for i, row in enumerate(history)])
    late: list[float] = []
    kinds = ((name, "training", "-", COLOURS[0]), (f"val_{name}", "validation", "--", COLOURS[2]))
    for key, label, dashes, colour in kinds:
        if key not in history.columns:
            continue
        values = np.array([np.nan if v is None else v for v in history.column(key)], float)
        there = np.isfinite(values)
        marker = "o" if there.sum() == 1 else None
        axes.plot(epochs[there], values[there], dashes, color=colour, label=label, marker=marker)
        late += values[there & (np.arange(len(values)) >= len(values) // 10)].tolist()
    axes.set_title(_TITLES.get(name, _title(name)), loc="left")
    axes.grid(visible=True, axis="y")
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if late:
        low, high = min(late), max(late)
        margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
        axes.set_ylim(low - margin, high + margin)


def _title(name: str) -> str:
    kind, _, site = name.partition("/")
    words = {"log_likelihood": f"Log likelihood of {site}", "kl": f"KL of {site}"}
    return words.get(kind, name.replace("_", " ").replace("/", " "))
