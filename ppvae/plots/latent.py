"""Positions of data in latent space, and images decoded from positions there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.plots.sheet import grey_limits, picture_rows, sheet
from ppvae.plots.style import COLOURS, CYCLIC, MARKERS, MUTED, SEQUENTIAL, TEXT_WIDTH, styled
from ppvae.plots.values import (
    Array,
    Values,
    as_array,
    as_images,
    as_matrix,
    refuse_infinite,
    same_rows,
)

__all__ = ["densities", "latents", "manifold", "prior_range", "traversals"]

Decode: TypeAlias = Callable[[Tensor], Values]
Kind: TypeAlias = Literal["class", "cyclic", "continuous"]


@typed()
@styled
def latents(
    z: Values,
    *,
    colour: Values | None = None,
    kind: Kind | None = None,
    name: str = "",
    labels: tuple[str, str] | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """A scatter plot of latents: two dimensions directly, more by their principal components.

    Arguments:
        z: Latents, with shape (N, Z); with Z = 1, drawn against ``colour``.
        colour: Classes, angles in radians, or any numbers, with shape (N); where it is NaN,
            nothing is drawn.
        kind: Kind of ``colour``; by default a class if the numbers are integers, else continuous.
        name: Name of the colour.
        labels: Labels of the two axes, if z is not a latent but, for example, an embedding of it.
        classes: Names of the classes 0, 1, ...; a class without one has its number.

    Raises:
        ArgumentError: If shapes do not fit.
    """
    points = as_matrix("latents", z)
    shade = None if colour is None else as_array(colour).reshape(-1)
    same_rows(latents=points, colour=shade)
    if shade is not None:
        refuse_infinite("colour", shade)
    if kind is None:
        integral = shade is not None and np.array_equal(shade, np.round(shade))
        kind = "class" if integral else "continuous"
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.subplots()
    if points.shape[1] == 1 and shade is None:
        axes.hist(points[:, 0], bins=40, color=COLOURS[0])
        axes.set(xlabel="z", ylabel="data")
        return figure
    if points.shape[1] == 1:
        assert shade is not None
        points, names = np.stack([points[:, 0], shade], 1), ("z", name)
    elif points.shape[1] == 2:
        names = ("z 1", "z 2")
        axes.set_aspect("equal", adjustable="datalim")
    else:
        points, names = _principal(points)
        axes.set_aspect("equal", adjustable="datalim")
    across, up = names if labels is None else labels
    axes.set(xlabel=across, ylabel=up)
    _scatter(figure, axes, points, shade, kind, name, dict(enumerate(classes)))
    return figure


def _principal(points: Array) -> tuple[Array, tuple[str, str]]:
    centred = points - points.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    shares = 100 * values**2 / max(float((values**2).sum()), 1e-300)
    labels = tuple(f"principal component {i + 1} ({shares[i]:.0f} % of variance)" for i in (0, 1))
    return centred @ directions[:2].T, (labels[0], labels[1])


def _scatter(
    figure: Figure,
    axes: Axes,
    points: Array,
    shade: Array | None,
    kind: Kind,
    name: str,
    names: Mapping[float, str],
) -> None:
    x, y = points.T
    size = min(22.0, max(9.0, 12000 / len(points)))
    if shade is None:
        axes.scatter(x, y, s=size, color=COLOURS[0], alpha=0.7, linewidths=0)
    elif kind == "class":
        for i, value in enumerate(np.unique(shade)):
            axes.scatter(
                x[shade == value],
                y[shade == value],
                s=size,
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                alpha=0.7,
                linewidths=0,
                label=names.get(value, f"{value:g}"),
            )
        axes.legend(
            title=name or None, loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.6
        )
    else:
        cyclic = kind == "cyclic"
        dots = axes.scatter(
            x,
            y,
            c=np.degrees(np.mod(shade, 2 * math.pi)) if cyclic else shade,
            cmap=CYCLIC if cyclic else SEQUENTIAL,
            vmin=0.0 if cyclic else None,
            vmax=360.0 if cyclic else None,
            s=size,
            edgecolors=MUTED,
            linewidths=0.2,
        )
        bar = figure.colorbar(dots, ax=axes, label=f"{name} (degrees)" if cyclic else name)
        if cyclic:
            bar.set_ticks(list(range(0, 361, 90)))
        bar.outline.set_visible(False)


def prior_range(number: int = 15, *, coverage: float = 0.95) -> Array:
    r"""Evenly spaced values that span the central part of N(0, 1): by default -1.96 to 1.96.

    Raises:
        ArgumentError: If ``number`` is below two, or ``coverage`` is not between 0 and 1.
    """
    if number < 2 or not 0 < coverage < 1:
        raise ArgumentError(
            f"traversal: expected at least 2 values and a coverage between 0 and 1; got {number} "
            f"and {coverage}. Use 15 and 0.95."
        )
    end = math.sqrt(2) * float(torch.erfinv(torch.tensor(coverage, dtype=torch.float64)))
    return np.linspace(-end, end, number)


@styled
def traversals(
    decode: Decode,
    latent_dim: int,
    *,
    dims: Sequence[int] | None = None,
    at: Tensor | None = None,
    number: int = 15,
    coverage: float = 0.95,
    by_channel: bool = False,
) -> Figure:
    """Images decoded along each latent dimension, with the others fixed: a row per dimension.

    Arguments:
        decode: From z, with shape (K, Z), to images (K, C, H, W).
        latent_dim: Number of dimensions Z.
        dims: Numbers of the dimensions, from zero; all by default.
        at: Values of the fixed dimensions, with shape (Z); zero by default.
        number: Number of steps across the prior.
        coverage: Probability mass of the prior that the steps cover.
        by_channel: Whether to add one row per channel.

    Raises:
        ArgumentError: If an argument is out of range or ``decode`` returns no images.
    """
    dims = tuple(range(latent_dim)) if dims is None else tuple(dims)
    values = prior_range(number, coverage=coverage)
    rows = []
    walks = [_decoded(decode, _places(latent_dim, at, {d: values}), number) for d in dims]
    limits = grey_limits(np.concatenate(walks))
    for d, walk in zip(dims, walks, strict=True):
        for label, part in _channels(walk, by_channel):
            rows += picture_rows(f"z {d + 1}{label and f', {label}'}", part, limits=limits)
    shown = [
        f"{v:.1f}".replace("-", "\u2212") if i % 2 == 0 or number < 12 else ""
        for i, v in enumerate(values)
    ]
    return sheet(rows, feet=shown, foot="value")


@styled
def manifold(
    decode: Decode | Mapping[str, Decode],
    latent_dim: int = 2,
    *,
    dims: tuple[int, int] = (0, 1),
    at: Tensor | None = None,
    number: int = 15,
    coverage: float = 0.95,
    by_channel: bool = False,
) -> Figure:
    """A grid of images decoded over two dimensions of latent space.

    Arguments:
        decode: Function from z, with shape (K, Z), to images (K, C, H, W); or several by name,
            such as one per class, with a panel each.
        latent_dim: Number of dimensions Z.
        dims: Numbers of the two dimensions, across and up, from zero.
        at: Values of the fixed dimensions, with shape (Z); zero by default.
        number: Number of steps across the prior in each of the two.
        coverage: Probability mass of the prior that the steps cover.
        by_channel: Whether to add one panel per channel.

    Raises:
        ArgumentError: If an argument is out of range or ``decode`` returns no images.
    """
    values = prior_range(number, coverage=coverage)
    across, up = np.meshgrid(values, values)
    places = _places(latent_dim, at, {dims[0]: across.ravel(), dims[1]: up.ravel()})
    named = decode if isinstance(decode, Mapping) else {"": decode}
    grids = {name: _decoded(one, places, number**2) for name, one in named.items()}
    limits = grey_limits(np.concatenate(list(grids.values())))
    panels = [
        (row.label.replace("\n", ", "), row)
        for name, grid in grids.items()
        for label, part in _channels(grid, by_channel)
        for row in picture_rows(", ".join(filter(None, (name, label))), part, limits=limits)
    ]
    columns = min(len(panels), 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3)
    lines = math.ceil(len(panels) / columns)
    side = 5.0 if columns == 1 else TEXT_WIDTH / columns
    figure = Figure(figsize=(columns * side, lines * side), layout="constrained")
    shape = figure.subplots(lines, columns, squeeze=False).ravel()
    half = (values[1] - values[0]) / 2
    ends = (values[0] - half, values[-1] + half)
    for axes, (title, row) in zip(shape, panels, strict=False):
        low, high = row.limits
        axes.imshow(_tiled(row.pictures, number), row.cmap, vmin=low, vmax=high, extent=2 * ends)
        axes.set(xlabel=f"z {dims[0] + 1}", ylabel=f"z {dims[1] + 1}")
        axes.set_title(title, loc="left")
        axes.spines[:].set_visible(False)
    for axes in shape[len(panels) :]:
        axes.set_visible(False)
    return figure


def _tiled(pictures: Array, number: int) -> Array:
    """Pictures (number^2, H, W, ...), rows from the bottom up, as one picture."""
    rows = pictures.reshape(number, number, *pictures.shape[1:])[::-1]
    return np.concatenate(np.concatenate(rows, axis=1), axis=1)


def _places(latent_dim: int, at: Tensor | None, moved: Mapping[int, Array]) -> Tensor:
    """Latents (K, Z) that vary in the given dimensions and are fixed in the others."""
    rest = torch.zeros(latent_dim) if at is None else at.detach()
    if rest.shape != (latent_dim,) or not all(0 <= d < latent_dim for d in moved):
        raise ArgumentError(
            f"latents: expected dimensions from 0 to {latent_dim - 1} about a place of shape "
            f"({latent_dim},); got {sorted(moved)} about {tuple(rest.shape)}. Name others."
        )
    places = rest.repeat(len(next(iter(moved.values()))), 1)
    for d, values in moved.items():
        places[:, d] = torch.as_tensor(values).to(places)
    return places


def _decoded(decode: Decode, places: Tensor, number: int) -> Array:
    images = as_images("decode", decode(places))
    if len(images) != number:
        raise ArgumentError(
            f"decode: expected {number} images for as many latents; got {len(images)}. "
            "Return one image per row."
        )
    return images


def _channels(images: Array, by_channel: bool) -> list[tuple[str, Array]]:
    """All channels together and, if requested, each alone."""
    alone = range(images.shape[1]) if by_channel and images.shape[1] == 3 else ()
    return [
        ("RGB" if alone else "", images),
        *((f"channel {k + 1}", images[:, k : k + 1]) for k in alone),
    ]


def _violin(values: Array, place: float, *, width: float = 0.85, number: int = 100) -> Array:
    """Outline of a kernel density estimate (Scott's bandwidth) on both sides of a place.

    All violins as one collection take a fifth of the time of matplotlib's ``violinplot``.
    """
    ends = np.linspace(values.min(), values.max(), number)
    bandwidth = values.std(ddof=1) * len(values) ** -0.2
    # A single value is a density of one at it, and of zero elsewhere.
    apart = (ends[:, None] - values) / (bandwidth or 1.0)
    density = np.exp(-0.5 * apart**2).sum(1) if bandwidth else (apart == 0).sum(1)
    half = 0.5 * width * density / density.max()
    sides = np.concatenate([place - half, (place + half)[::-1]])
    return np.stack([sides, np.concatenate([ends, ends[::-1]])], 1)


@styled
def densities(mean: Values, log_variance: Values) -> Figure:
    r"""Distributions, over all data, of posterior means and log variances by latent dimension.

    A dimension with all means and all log variances at zero is unused: its posterior is the prior.

    Arguments:
        mean: With shape (N, Z).
        log_variance: :math:`\\log \\sigma^2`, with shape (N, Z).

    Raises:
        ArgumentError: If shapes differ.
    """
    tables = [as_matrix("mean", mean), as_matrix("log_variance", log_variance)]
    if tables[0].shape != tables[1].shape:
        raise ArgumentError(
            f"densities: expected one shape; got means {tables[0].shape} and log variances "
            f"{tables[1].shape}. Pass both of the same data."
        )
    figure = Figure(figsize=(TEXT_WIDTH, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    places = np.arange(1, tables[0].shape[1] + 1)
    for axes, table, colour in ((above, tables[0], COLOURS[0]), (below, tables[1], COLOURS[6])):
        bodies = [_violin(column, place) for column, place in zip(table.T, places, strict=True)]
        axes.add_collection(PolyCollection(bodies, facecolor=colour, alpha=0.75))
        axes.plot(places, np.median(table, 0), "_", color="black", ms=6, label="median")
    above.axhspan(-1.96, 1.96, color="0.93", zorder=0, label="central 95 % of the prior")
    above.set_ylabel("mean")
    below.axhline(0.0, color=MUTED, ls="--", lw=1, label="the prior's")
    below.set(xlabel="latent dimension", ylabel="log variance")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure
