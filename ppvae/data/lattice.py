r"""A simulated atomic-resolution image of a honeycomb lattice, with everything in it known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ppvae.data.dataset import Dataset
from ppvae.data.record import Record
from ppvae.data.spectra import patches
from ppvae.errors import DataError

__all__ = ["SPECIES", "Micrograph", "lattice"]

SPECIES = ("light", "heavy", "dopant")
# Brightness of a column of each species.
BRIGHTNESS = np.array([0.45, 0.8, 1.1])
# Of the support, in the same units.
BACKGROUND = 0.05
WAVES = 3


class Micrograph(NamedTuple):
    """An image of atoms, and what is true of it.

    Attributes:
        image: Image float32 with shape (H, W), about 0 to 1.
        atoms: A row for each atom whose patch lies within the image, with the columns of
            :func:`lattice`.
        vacancies: Rows and columns of the missing atoms, in pixels, with shape (V, 2).
    """

    image: Tensor
    atoms: Dataset
    vacancies: Tensor


def lattice(
    *,
    size: int = 512,
    spacing: float = 14.0,
    angles: Sequence[float] = (0.0, 0.35, 0.8),
    vacancies: float = 0.03,
    dopants: float = 0.1,
    strain: float = 0.01,
    drift: float = 1.0,
    noise: float = 0.1,
    patch: int = 24,
    seed: int = 0,
) -> Micrograph:
    r"""Atoms of a honeycomb lattice with two sublattices, as a scanning microscope records them.

    The image is divided into domains, each with a lattice at another angle. One sublattice is of
    light atoms, some of which are missing; the other of heavy ones, some of which are replaced by
    a dopant. A smooth field displaces the atoms, and the specimen drifts while the image is
    recorded row by row:

    .. math::
        I(p) = b + \sum_a b_{s_a} \exp\left(-\frac{|p - r_a|^2}{2 w^2}\right), \qquad
        r_a = R_{\gamma_a} \ell_a + u(\ell_a) + d(\text{row}), \qquad
        x \sim \sigma^2 \, \mathrm{Poisson}(I / \sigma^2)

    with the root mean square of :math:`\nabla u` equal to ``strain``, and w a seventh of the
    spacing.

    Columns of ``atoms``: ``x`` float32 (N, 1, patch, patch), the patch around the atom;
    ``position`` float32 (N, 2), its row and column in pixels; ``y`` int64, the species, one of
    :data:`SPECIES`; ``angle`` float32, that of the lattice, radians counter-clockwise, with what
    the strain adds to it (the lattice has it modulo a third of a turn); ``dilation`` float32,
    half of :math:`\nabla \cdot u`; ``missing`` int64, how many of its three nearest neighbours
    are vacancies; ``domain`` int64.

    Arguments:
        size: Side of the image, in pixels.
        spacing: Lattice constant, in pixels; nearest neighbours are at 0.58 of it.
        angles: Angle of the lattice in each domain, in radians.
        vacancies: Share of the light atoms that are missing.
        dopants: Share of the heavy atoms that are dopants.
        strain: Root mean square of the gradient of the displacement.
        drift: Standard deviation of the drift of a row, in pixels.
        noise: Standard deviation of the noise where the image is 1; it is the noise of counts.
        patch: Side of a patch, in pixels.
        seed: Random seed of the draws.

    Raises:
        DataError: If an argument is out of range.
    """
    rates = {"vacancies": vacancies, "dopants": dopants, "strain": strain}
    low = {name: value for name, value in rates.items() if not 0 <= value < 1}
    if low or min(drift, noise) < 0 or spacing < 4 or not angles:
        raise DataError(
            "lattice: expected shares and strain in [0, 1), drift and noise >= 0, spacing >= 4 "
            f"and at least one angle; got {rates}, drift {drift}, noise {noise}, spacing "
            f"{spacing} and {len(angles)} angles. Leave them out for the defaults."
        )
    if not 4 <= patch <= size or size < 4 * spacing:
        raise DataError(
            f"lattice: expected a patch from 4 pixels to the image's size, at least four "
            f"spacings; got patch {patch}, size {size} and spacing {spacing}. Use a larger image."
        )
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(seed)
    place, species, domain = _crystal(rng, size, spacing, np.asarray(angles, dtype=float))
    shift, gradient = _displaced(rng, place, size, strain)
    drifts = _drifts(rng, size, drift)
    seen = place + shift
    # Right, not down: a row is recorded as a line scan.
    seen[:, 1] += drifts[np.clip(seen[:, 0].round().astype(int), 0, size - 1)]
    vacant = (species == 0) & (rng.random(len(species)) < vacancies)
    species = np.where((species == 1) & (rng.random(len(species)) < dopants), 2, species)
    near = cKDTree(place).query_ball_point(place, 0.75 * spacing)
    missing = np.array([int(vacant[around].sum()) for around in near])
    image: np.ndarray = (
        _drawn(seen[~vacant], BRIGHTNESS[species[~vacant]], size, spacing / 7) + BACKGROUND
    )
    if noise:
        image = rng.poisson(image / noise**2) * noise**2
    half = patch / 2
    inside = (seen >= half).all(1) & (seen <= size - 1 - half).all(1)
    kept, frame = inside & ~vacant, image.astype(np.float32)
    # Columns of the gradient: (down, right) of the displacement, by (down, right).
    turn = 0.5 * (gradient[:, 1, 0] - gradient[:, 0, 1])
    columns = {
        "x": patches(frame, seen[kept], patch),
        "position": seen[kept].astype(np.float32),
        "y": species[kept],
        "angle": (np.asarray(angles)[domain] + turn)[kept].astype(np.float32),
        "dilation": (0.5 * np.trace(gradient, axis1=1, axis2=2))[kept].astype(np.float32),
        "missing": missing[kept],
        "domain": domain[kept],
    }
    atoms = Dataset(columns, record=Record(names={"y": SPECIES}))
    gone = torch.from_numpy(seen[inside & vacant].astype(np.float32))
    return Micrograph(torch.from_numpy(frame), atoms, gone)


def _crystal(
    rng: np.random.Generator, size: int, spacing: float, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (row, column) of all sites, their sublattice 0 or 1, and their domain."""
    from scipy.spatial import cKDTree

    reach = int(2 * size / spacing) + 2
    steps = np.arange(-reach, reach + 1)
    first, second = (part.reshape(-1, 1) for part in np.meshgrid(steps, steps))
    cells = spacing * (first * np.array([1.0, 0.0]) + second * np.array([0.5, math.sqrt(0.75)]))
    bond = spacing / math.sqrt(3)
    flat = np.concatenate([cells, cells + bond * np.array([0.0, 1.0])])  # right, up
    kind = np.repeat([0, 1], len(cells))
    # A domain is what is nearest to its seed.
    seeds = size * np.stack([rng.uniform(0.15, 0.85, len(angles)) for _ in range(2)], 1)
    places, kinds, domains = [], [], []
    for number, angle in enumerate(angles):
        cos, sin = math.cos(angle), math.sin(angle)
        right, up = flat[:, 0] * cos - flat[:, 1] * sin, flat[:, 0] * sin + flat[:, 1] * cos
        place = np.stack([-up, right], 1) + size / 2 + spacing * rng.uniform(-0.5, 0.5, 2)
        near = ((place[:, None] - seeds) ** 2).sum(-1).argmin(1) == number
        inside = near & (place > -spacing).all(1) & (place < size + spacing).all(1)
        places.append(place[inside])
        kinds.append(kind[inside])
        domains.append(np.full(int(inside.sum()), number))
    place, kind, domain = (np.concatenate(part) for part in (places, kinds, domains))
    # Where two domains meet, one of two atoms closer than a bond is left out.
    close = cKDTree(place).query_pairs(0.9 * bond, output_type="ndarray")
    kept = np.ones(len(place), dtype=bool)
    kept[close.max(1)] = False
    return place[kept], kind[kept], domain[kept]


def _displaced(
    rng: np.random.Generator, place: np.ndarray, size: int, strain: float
) -> tuple[np.ndarray, np.ndarray]:
    """A smooth displacement u of places (N, 2), and its gradient (N, 2, 2), u by place."""
    waves = rng.uniform(0.5, 1.5, (2, WAVES, 2)) * rng.choice([-1, 1], (2, WAVES, 2))
    phase = rng.uniform(0, 2 * math.pi, (2, WAVES))
    turns = 2 * math.pi * waves / size
    inner = np.einsum("nj,ukj->nuk", place, turns) + phase
    gradient = np.einsum("nuk,ukj->nuj", np.cos(inner), turns)
    scale = strain / max(float(np.sqrt((gradient**2).mean())), 1e-12)
    return scale * np.sin(inner).sum(-1), scale * gradient


def _drifts(rng: np.random.Generator, size: int, drift: float) -> np.ndarray:
    """The shift of each row, a random walk about zero with this standard deviation."""
    walk = np.cumsum(rng.standard_normal(size))
    walk -= walk.mean()
    return np.asarray(drift * walk / max(float(walk.std()), 1e-12))


def _drawn(place: np.ndarray, bright: np.ndarray, size: int, width: float) -> np.ndarray:
    """The image of Gaussian columns at these places."""
    reach = math.ceil(4 * width)
    # A margin for the atoms outside the image that reach into it.
    image = np.zeros((size + 4 * reach,) * 2)
    around = np.arange(-reach, reach + 1)
    for (row, column), height in zip(place, bright, strict=True):
        top, left = round(row), round(column)
        if not (-reach <= top < size + reach and -reach <= left < size + reach):
            continue
        down = np.exp(-0.5 * ((top + around - row) / width) ** 2)
        across = np.exp(-0.5 * ((left + around - column) / width) ** 2)
        image[np.ix_(top + around + 2 * reach, left + around + 2 * reach)] += (
            height * down[:, None] * across
        )
    inside = slice(2 * reach, 2 * reach + size)
    return image[inside, inside]
