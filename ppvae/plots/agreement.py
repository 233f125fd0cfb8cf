"""Estimated factors against known ones."""

from __future__ import annotations

from matplotlib.figure import Figure

from ppvae.errors import ArgumentError
from ppvae.plots.style import COLOURS, MUTED, styled
from ppvae.plots.values import Values, as_matrix, same_rows

__all__ = ["agreement"]


@styled
def agreement(true: Values, found: Values, *, names: tuple[str, ...] = ()) -> Figure:
    """Estimated against true values, one panel per factor, with the line of equality.

    Arguments:
        true: True values, with shape (N) or (N, D).
        found: Estimates, with the same shape.
        names: Names of the D factors, with their units.

    Raises:
        ArgumentError: If shapes or the number of names do not fit.
    """
    known, inferred = as_matrix("true", true), as_matrix("found", found)
    same_rows(true=known, found=inferred)
    count = known.shape[1]
    if inferred.shape[1] != count or len(names) not in (0, count):
        raise ArgumentError(
            f"agreement: expected as many estimates as true values per row, {count}, and a name "
            f"for each or none; got {inferred.shape[1]} and {names}. Pass columns of the same "
            "factors."
        )
    figure = Figure(figsize=(0.4 + 3.0 * count, 3.2), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for k, axes in enumerate(panels):
        middle = float(known[:, k].mean())
        axes.axline((middle, middle), slope=1, color=MUTED, linewidth=0.8)
        axes.scatter(known[:, k], inferred[:, k], s=6, color=COLOURS[0], alpha=0.5, linewidths=0)
        name = names[k] if names else ""
        axes.set(xlabel=f"true {name}".strip(), ylabel=f"estimated {name}".strip())
    return figure
