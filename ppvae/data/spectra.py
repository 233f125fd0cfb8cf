r"""Images with spectra at positions in them: patches, a simulated lattice, NSID files.

A microscope records an entire image, and measures spectra at a few positions in it: the columns
are ``x``, the patch around a position, ``position``, its row and column in pixels, and
``spectrum``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.hdf5 import refuse_outside
from ppvae.data.paths import UNREADABLE, PathLike, existing
from ppvae.data.quantities import refuse_names
from ppvae.data.record import Record
from ppvae.data.scalars import loop_area, scalar_named
from ppvae.errors import DataError
from ppvae.expected import ROWS, at_least

if TYPE_CHECKING:
    import h5py

    from ppvae.typing import Spec

__all__ = ["image_spectra", "patches", "spectral_image", "targets_of"]

# Pixels between two neighbours of the simulated lattice, and side of a patch (two cells).
CELL = 8
PATCH = 16
VOLTAGES = 64


@typed(image=ROWS, positions=ROWS, size=at_least(1))
def patches(image: Tensor | np.ndarray, positions: Tensor | np.ndarray, size: int) -> Tensor:
    """Square patches of an image around positions; the image is mirrored beyond its edges.

    Arguments:
        image: Image with shape (H, W) or (C, H, W).
        positions: Rows and columns in pixels, rounded, with shape (N, 2).
        size: Side of a patch. The position in an even patch is half a pixel down and right of its
            centre.

    Returns:
        Patches with shape (N, C, size, size), in the dtype of the image.

    Raises:
        DataError: If a position is outside the image, or a patch is larger than the image.
    """
    image, positions = torch.as_tensor(image), torch.as_tensor(positions)
    image = image[None] if image.dim() == 2 else image
    if image.dim() != 3 or positions.dim() != 2 or positions.size(1) != 2:
        raise DataError(
            f"patches: expected an image (H, W) or (C, H, W) and positions (N, 2); got shapes "
            f"{tuple(image.shape)} and {tuple(positions.shape)}. Give row and column."
        )
    height, width = image.shape[1:]
    if not 1 <= size <= min(height, width):
        raise DataError(
            f"patches: expected a size from 1 to {min(height, width)}, the image's side; got "
            f"{size}. Use a smaller one."
        )
    at = positions.double().round().long()
    outside = (at < 0).any(1) | (at >= torch.tensor([height, width])).any(1)
    if not torch.isfinite(positions.double()).all() or outside.any():
        row = int(outside.nonzero()[0]) if outside.any() else 0
        raise DataError(
            f"patches: expected rows from 0 to {height - 1} and columns from 0 to {width - 1}; "
            f"got {positions[row].tolist()} in position {row}. Give row, then column, in pixels."
        )
    around = torch.arange(size) - size // 2
    rows, columns = (
        _mirrored(at[:, axis, None] + around, side) for axis, side in ((0, height), (1, width))
    )
    return image[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1).contiguous()


def _mirrored(index: Tensor, length: int) -> Tensor:
    """Indices beyond an axis reflected about its first or last element."""
    index = index.abs()
    return torch.where(index >= length, 2 * (length - 1) - index, index)


@typed(side=at_least(2), noise=at_least(0), seed=at_least(0))
def image_spectra(*, side: int = 55, noise: float = 0.02, seed: int = 0) -> Dataset:
    r"""A simulated image of a lattice with domains and vacancies, and a loop at each atom.

    Each cell of a square lattice holds a bright atom at its corner and a weak one near its centre,
    displaced along the polarisation P of its domain, one of four directions. The response is a
    loop over a voltage that rises and falls,

    .. math::
        R(V) = A \tanh\frac{V \mp V_c}{w} + \epsilon, \qquad
        A = 0.6 + 0.8 \, c + 0.25 \, P_\mathrm{up}, \qquad
        V_c = 2 + 2.5 \, c \, e^{-1.2 d} - 1.2 (1 - c) d

    where c in [0, 1] is the charge of a domain wall, the part of :math:`-\nabla \cdot P` above
    zero (walls where polarisations meet head to head), and d the vacancies about the atom,
    weighted by distance. The area is largest at charged walls without a vacancy, a few per cent of
    all positions. Both can be seen in a patch of two by two cells; the position says little.

    Columns: ``x`` float32 (N, 1, 16, 16) from 0 to about 1, ``position`` float32 (N, 2),
    ``spectrum`` float32 (N, 64), ``area`` float32 (N), that of the loop without noise. The names
    of ``spectrum`` are its voltages.

    Arguments:
        side: Number of atoms along a side; N is its square.
        noise: Standard deviation of the noise of a response; that of the image is 2.5 times it.
        seed: Random seed of the draws.

    Raises:
        DataError: If ``side`` is below 4, or ``noise`` below zero.
    """
    if side < 4 or noise < 0:
        raise DataError(
            f"image_spectra: expected side >= 4 and noise >= 0; got {side} and {noise}. Use 55 "
            "and 0.02."
        )
    rng = np.random.default_rng(seed)
    polar = _domains(rng, side)
    vacant = rng.random((side + 1, side + 1)) < 0.06
    image = _drawn(rng, polar, vacant, 2.5 * noise)
    # Atom (i, j) is between the cells (i - 1, j - 1) to (i, j), which its patch shows.
    after, before = (
        [0.5 * (part + np.roll(part, 1, 1 - axis)) for axis, part in enumerate(shifted)]
        for shifted in (polar, [np.roll(polar[axis], 1, axis) for axis in range(2)])
    )
    charge = np.clip(0.5 * (before[0] - after[0] + before[1] - after[1]), 0, 1)
    up = -0.5 * (before[0] + after[0])
    defects = _smooth(vacant[:side, :side].astype(float), 0.8) * 4
    amplitude = 0.6 + 0.8 * charge + 0.25 * up
    coercive = 2 + 2.5 * charge * np.exp(-1.2 * defects) - 1.2 * (1 - charge) * defects.clip(0, 1)
    voltage = 8 * np.concatenate(
        [np.linspace(-1, 1, VOLTAGES // 2), np.linspace(1, -1, VOLTAGES // 2)]
    )
    shift = np.where(np.arange(VOLTAGES) < VOLTAGES // 2, 1.0, -1.0)
    curve = np.tanh((voltage - coercive.reshape(-1, 1) * shift) / 1.5)
    loops = amplitude.reshape(-1, 1) * curve
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1)
    positions = (grid.reshape(-1, 2) + 1) * CELL
    return Dataset(
        {
            "x": patches(image, positions, PATCH),
            "position": positions.astype(np.float32),
            "spectrum": (loops + noise * rng.standard_normal(loops.shape)).astype(np.float32),
            "area": loop_area(voltage, loops).astype(np.float32),
        },
        record=Record(names={"spectrum": tuple(f"{v:.3f} V" for v in voltage)}),
    )


def _smooth(field: np.ndarray, width: float) -> np.ndarray:
    """Gaussian smoothing on a torus, by the Fourier transform."""
    waves = [
        np.fft.fftfreq(n)[:, None] if i == 0 else np.fft.fftfreq(n)[None]
        for i, n in enumerate(field.shape)
    ]
    gain = np.exp(-2 * (np.pi * width) ** 2 * (waves[0] ** 2 + waves[1] ** 2))
    return np.asarray(np.fft.ifft2(np.fft.fft2(field) * gain).real)


def _domains(rng: np.random.Generator, side: int) -> np.ndarray:
    """The polarisation of each cell, down and right, one of four directions: (2, side, side)."""
    fields = np.stack([_smooth(rng.standard_normal((side, side)), side / 14) for _ in range(4)])
    directions = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    return np.asarray(np.moveaxis(directions[fields.argmax(0)], -1, 0).astype(float))


def _drawn(
    rng: np.random.Generator, polar: np.ndarray, vacant: np.ndarray, noise: float
) -> np.ndarray:
    """The image of bright atoms, some of them missing, and weak ones displaced along P."""
    side = polar.shape[1]
    length = (side + 2) * CELL
    at = np.arange(length)
    image = np.zeros((length, length))
    for i in range(side + 1):
        for j in range(side + 1):
            corner = (i + 1) * CELL, (j + 1) * CELL
            atoms = [] if vacant[i, j] else [(corner, 0.85, 1.3)]
            if i < side and j < side:
                center = tuple(c + CELL / 2 + 1.6 * polar[a, i, j] for a, c in enumerate(corner))
                atoms.append((center, 0.5, 1.1))
            for (row, column), height, width in atoms:
                rows, columns = (np.flatnonzero(np.abs(at - place) < 5) for place in (row, column))
                bump = np.exp(-0.5 * ((at[rows] - row) / width) ** 2)[:, None] * np.exp(
                    -0.5 * ((at[columns] - column) / width) ** 2
                )
                image[np.ix_(rows, columns)] += height * bump
    return np.asarray((image + noise * rng.standard_normal(image.shape)).astype(np.float32))


@typed(size=at_least(1), channel=at_least(0))
def spectral_image(
    path: PathLike,
    *,
    size: int = 7,
    channel: int = 0,
    missing_ok: Sequence[str] = (),
    like: Spec | None = None,
) -> Dataset:
    """Read a spectral image from an NSID file (.h5): patch, position and spectrum of each pixel.

    The patches show one channel of the spectra, centred and in units of the channel's standard
    deviation over the image, which is mirrored beyond its edges.

    Columns: ``x`` float32 (N, 1, size, size), ``position`` float32 (N, 2), ``spectrum`` float32
    (N, S). The names of ``spectrum`` are the values of its axis.

    Arguments:
        path: Path of the file; the first data set with three named dimensions is read, the last of
            which is that of the spectrum.
        size: Side of a patch in pixels.
        channel: Channel of the spectra that the image shows.
        missing_ok: Not used: places without finite numbers are refused.
        like: Not used: these columns have no classes.

    Raises:
        DataError: If there is no such data set, or no such channel.
    """
    import h5py

    path = existing(path)
    try:
        refuse_outside(path)
        with h5py.File(path, "r") as file:
            cube, axis, unit = _cube(file, path.name)
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path.name}: expected an HDF5 file; it cannot be read ({error}). Copy it again."
        ) from error
    if not 0 <= channel < cube.shape[2]:
        raise DataError(
            f"channel: expected a number from 0 to {cube.shape[2] - 1}; got {channel}. Choose one "
            "of the spectrum's numbers."
        )
    image = cube[:, :, channel]
    image = (image - image.mean()) / max(float(image.std()), 1e-12)
    rows, columns = image.shape
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
    positions = grid.reshape(-1, 2).astype(np.float32)
    note = (
        f"x: patches of {size} x {size} places of channel {channel} ({axis[channel]:g} {unit}), "
        "centred, in units of its standard deviation, mirrored at the edges"
    )
    return Dataset(
        {
            "x": patches(image.astype(np.float32), positions, size),
            "position": positions,
            "spectrum": cube.reshape(-1, cube.shape[2]).astype(np.float32),
        },
        record=Record(
            names={"spectrum": tuple(f"{v:.3f} {unit}".strip() for v in axis)}, notes=(note,)
        ),
    )


def _cube(file: h5py.File, name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """The spectra (H, W, S), the values of their axis, and its unit."""
    import h5py

    sets: dict[str, h5py.Dataset] = {}
    file.visititems(
        lambda key, item: (
            sets.update({key: item}) if isinstance(item, h5py.Dataset) and item.ndim else None
        )
    )
    # Without names of its axes, an array may be anything, such as pictures.
    named = [
        v for v in sets.values() if v.ndim == 3 and v.attrs.get("DIMENSION_LABELS") is not None
    ]
    if not named:
        raise DataError(
            f"{name}: expected a data set x, or one with shape (H, W, S) and named axes "
            f"(NSID); got {list(sets)[:8]}. Save the columns with numpy.savez(path, x=...)."
        )
    cube = named[0]
    axis, unit = np.arange(cube.shape[2]), ""
    labels = cube.attrs.get("DIMENSION_LABELS")
    if labels is not None and str(labels[2]) in cube.parent:
        scale = cube.parent[str(labels[2])]
        axis, unit = np.asarray(scale), str(scale.attrs.get("units", ""))
    return np.asarray(cube, dtype=np.float64), axis, unit


def targets_of(data: Dataset, scalar: str) -> Tensor:
    """What is looked for, (N): the column ``target``, or a scalar of the column ``spectrum``.

    Arguments:
        data: Columns.
        scalar: Name of a scalariser (:func:`ppvae.data.scalars.scalar_named`); the axis is that in
            the names of ``spectrum``, or the column's numbers from 0.

    Raises:
        DataError: If there is neither column, or ``target`` has more than one number a row, or
            names.
    """
    if "target" in data:
        refuse_names(data, "target", "the regression", "")
        target = torch.as_tensor(data["target"]).double()
        target = target[:, 0] if target.dim() == 2 and target.size(1) == 1 else target
        if target.dim() != 1:
            raise DataError(
                f"target: expected one number a row; got shape {tuple(target.shape)}. Choose one "
                "of its columns."
            )
        return target
    if "spectrum" not in data:
        raise DataError(
            f"data: expected a column 'target' or 'spectrum'; got {list(data)}. Add what is "
            "measured at each place."
        )
    spectra = torch.as_tensor(data["spectrum"]).double().numpy()
    names = data.names.get("spectrum")
    axis = np.arange(spectra.shape[-1], dtype=float)
    if names is not None:
        axis = np.array([float(name.split()[0]) for name in names])
    elif "axis" in data:
        axis = torch.as_tensor(data["axis"])[0].double().numpy()
    return torch.from_numpy(scalar_named(scalar)(axis, spectra))
