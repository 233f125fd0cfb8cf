r"""Simulated fluorescence images of cells, drawn from known factors.

Each picture has one cell in three stains: a marker (red), microtubules (green) and the nucleus
(blue). Its class is the location of the marker in the cell, of which sums over pixels say little:
position, size, shape and orientation of the cell vary, and the total of the marker does not depend
on the class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.splits import Splits, split_rows
from ppvae.errors import DataError
from ppvae.expected import at_least

__all__ = ["CELL_CLASSES", "cells"]

CELL_CLASSES = ("diffuse", "vesicles", "fibres", "membrane")
BLOCK = 256
# A fixed dtype: the same cells for a seed, whatever torch's default dtype.
F32 = torch.float32


@typed(seed=at_least(0))
def cells(num_cells: int = 4000, *, size: int = 64, noise: float = 1.0, seed: int = 0) -> Splits:
    r"""Pictures of single cells with four classes and known factors, split 80 / 10 / 10.

    Columns: ``x`` uint8 (N, 3, size, size), red the marker, green microtubules, blue the nucleus;
    ``y`` int64 (N), one of :data:`CELL_CLASSES`; and the factors, float32. Lengths are in half
    image sides, and positions are measured right and up from the image's centre.

    =================== ====== ===========================================================
    column              shape  what
    =================== ====== ===========================================================
    ``cell_size``       (N)    mean radius
    ``cell_place``      (N, 2) its centre
    ``elongation``      (N)    long axis over short axis
    ``orientation``     (N)    of the long axis, radians counter-clockwise, 0 to :math:`\pi`
    ``irregularity``    (N)    depth of the outline's lobes, a share of the radius
    ``nucleus_size``    (N)    mean radius
    ``nucleus_place``   (N, 2) its centre, from that of the cell
    ``intensity``       (N, 3) brightness of each stain, 1 being full scale
    ``texture``         (N)    length over which the stains vary
    ``background``      (N)    brightness where there is no cell
    ``noise``           (N)    standard deviation of the camera's noise
    =================== ====== ===========================================================

    Arguments:
        num_cells: Number of cells in all three parts together.
        size: Height and width in pixels.
        noise: Factor of the camera's noise; 0 for none.
        seed: Random seed; the same seed gives the same cells.

    Raises:
        DataError: If an argument is out of range.
    """
    if num_cells < 10:
        raise DataError(f"num_cells: expected at least 10; got {num_cells}. Use 4000.")
    if size < 16:
        raise DataError(f"size: expected at least 16 pixels; got {size}. Use 64.")
    if noise < 0:
        raise DataError(f"noise: expected a number >= 0; got {noise}. Use 1, or 0 for none.")
    generator = torch.Generator().manual_seed(seed)
    factors = _factors(num_cells, noise, generator)
    blocks = [
        _paint({name: v[start : start + BLOCK] for name, v in factors.items()}, size, generator)
        for start in range(0, num_cells, BLOCK)
    ]
    return split_rows(Dataset({"x": torch.cat(blocks), **factors}), seed=seed)


def _factors(rows: int, noise: float, generator: torch.Generator) -> dict[str, Tensor]:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(rows, *shape, generator=generator, dtype=F32)

    cell_size = uniform(0.42, 0.68)
    direction, distance = uniform(0, 2 * math.pi), uniform(0, 0.22) * cell_size
    return {
        "y": torch.randint(len(CELL_CLASSES), (rows,), generator=generator),
        "cell_size": cell_size,
        "cell_place": uniform(-0.18, 0.18, 2),
        "elongation": uniform(1.0, 1.8),
        "orientation": uniform(0, math.pi),
        "irregularity": uniform(0.02, 0.14),
        "nucleus_size": uniform(0.32, 0.48) * cell_size,
        "nucleus_place": distance[:, None] * torch.stack([direction.cos(), direction.sin()], 1),
        "intensity": uniform(0.45, 0.95, 3),
        "texture": uniform(0.05, 0.11),
        "background": uniform(0.01, 0.06),
        "noise": uniform(0.01, 0.03) * noise,
    }


def _paint(factors: dict[str, Tensor], size: int, generator: torch.Generator) -> Tensor:
    """A block of cells, with shape (B, 3, size, size). All fields within are (B, size, size)."""
    rows = len(factors["y"])
    at = (torch.arange(size, dtype=F32) + 0.5) / size * 2 - 1
    right, up = at.expand(size, size), -at[:, None].expand(size, size)

    def each(value: Tensor) -> Tensor:
        return value[:, None, None]

    def normal() -> Tensor:
        return torch.randn(rows, 1, 1, generator=generator, dtype=F32)

    def speckle(length: Tensor | float) -> Tensor:
        """A random field with correlation length ``length``, mean 0 and deviation about 1."""
        filtered = _gaussian(size, torch.as_tensor(length, dtype=F32).expand(rows))
        half = torch.randn(*filtered.shape, 2, generator=generator, dtype=F32)
        # The mean square of the field, by Parseval: 2 for the two parts, each wave counted twice.
        power = 4 * filtered.square().sum((1, 2), True) / size**4
        waves = torch.view_as_complex(half) * (filtered / power.sqrt())
        field: Tensor = torch.fft.irfft2(waves, s=(size, size))
        return field

    def outline(
        place: Tensor, radius: Tensor, elongation: Tensor, turn: Tensor, lobes: Tensor
    ) -> Tensor:
        """1 at a shape's centre, 0 on its outline, negative outside."""
        x, y = right - each(place[:, 0]), up - each(place[:, 1])
        along = x * turn.cos() + y * turn.sin()
        across = y * turn.cos() - x * turn.sin()
        stretch = each(elongation).sqrt()
        angle = torch.atan2(across * stretch, along / stretch)
        edge = torch.ones_like(angle)
        for wave in (3, 4, 5, 6):
            edge = edge + each(lobes) * normal() * torch.cos(wave * angle + 3 * normal()) / 1.5
        return 1 - torch.hypot(along / stretch, across * stretch) / (each(radius) * edge)

    place, turn, texture = factors["cell_place"], each(factors["orientation"]), factors["texture"]
    size_, long, lobes = factors["cell_size"], factors["elongation"], factors["irregularity"]
    depth = outline(place, size_, long, turn, lobes)
    inside = torch.sigmoid(depth / 0.04)
    centre = place + factors["nucleus_place"]
    core = outline(centre, factors["nucleus_size"], 0.6 + 0.4 * long, turn, 0.2 * lobes)
    nucleus = torch.sigmoid(core / 0.06) * inside
    thick = depth.clamp_min(0).sqrt()
    body = inside * (0.25 + 0.75 * thick) * (1 - 0.75 * nucleus)

    # The marker, by class.
    x, y = right - each(place[:, 0]), up - each(place[:, 1])
    across = (y * turn.cos() - x * turn.sin()) + 0.07 * speckle(0.25)
    stripes = torch.cos(2 * math.pi * across / (2.2 * each(texture)) + 1.5 * speckle(0.15))
    markers = [
        body * (1 + 0.25 * speckle(texture)).clamp_min(0),
        body * (speckle(0.4 * texture) - 1.0).clamp_min(0) * (0.3 + (-4 * core.abs()).exp()),
        inside * (1 - 0.6 * nucleus) * (0.5 + stripes).clamp_min(0).square() * _gate(speckle(0.2)),
        (-(depth / 0.09).square()).exp() * (1 + 0.5 * speckle(texture)).clamp_min(0) + 0.15 * body,
    ]
    # The total depends on the cell's size only, so that brightness does not reveal the class.
    of_class = torch.stack(markers)[factors["y"], torch.arange(rows)]
    marker = _with_total(of_class, 0.27 * inside.sum((1, 2), True))

    # Microtubules leave from a point beside the nucleus.
    away = 2 * math.pi * torch.rand(rows, 1, 1, generator=generator, dtype=F32)
    reach = each(factors["nucleus_size"])
    x = right - each(centre[:, 0]) - reach * away.cos()
    y = up - each(centre[:, 1]) - reach * away.sin()
    angle, far = torch.atan2(y, x), torch.hypot(x, y)
    rays = torch.cos(15 * angle + 2.5 * speckle(0.25)) + torch.cos(24 * angle + 2.5 * speckle(0.2))
    tubules = body * (0.35 + (0.3 + rays).clamp_min(0) / 2) * (0.4 + 0.8 * (-2.5 * far).exp())
    # Chromatin with dark nucleoli.
    holes = torch.sigmoid((speckle(0.08) - 1.4) / 0.15)
    chromatin = nucleus * (0.8 + 0.15 * speckle(0.7 * texture)) * (1 - 0.55 * holes)
    chromatin = chromatin * (0.55 + 0.45 * core.clamp(0, 1).sqrt())
    # A neighbouring cell reaches into about every third picture.
    beside = 2 * math.pi * torch.rand(rows, generator=generator, dtype=F32)
    gap = 1.15 + 2 * (torch.rand(rows, generator=generator, dtype=F32) > 0.35)
    there = place + gap[:, None] * torch.stack([beside.cos(), beside.sin()], 1)
    other = outline(there, 0.9 * size_, long, turn + normal(), lobes)
    other = torch.sigmoid(other / 0.04) * (1 - inside) * (1 + 0.25 * speckle(0.1)).clamp_min(0)

    stains = torch.stack([marker + 0.12 * other, tubules + 0.3 * other, chromatin], 1)
    return _photograph(stains, factors, generator)


def _photograph(stains: Tensor, factors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """The camera's uint8 picture of stains with shape (B, 3, size, size)."""
    stains = stains * factors["intensity"][:, :, None, None]
    light = _seen(stains)
    light = light + 0.05 * light.roll(
        1, 1
    )  # a little of each stain is visible in the next channel
    light = light + factors["background"][:, None, None, None]
    light = _blur(light, 0.02)
    sigma = factors["noise"][:, None, None, None] * (0.5 + 1.5 * light.clamp_min(0).sqrt())
    light = light + sigma * torch.randn(light.shape, generator=generator, dtype=F32)
    return (255 * light).round().clamp(0, 255).to(torch.uint8)


def _with_total(stain: Tensor, total: Tensor) -> Tensor:
    """A stain scaled so that its visible values sum to ``total``, with shape (B, 1, 1)."""
    for _ in range(3):
        stain = stain * (total / _seen(stain).sum((1, 2), True))
    return stain


def _seen(stain: Tensor) -> Tensor:
    """The visible value of a stain, which saturates at full scale."""
    return 1 - (-1.3 * stain).exp()


def _gate(field: Tensor) -> Tensor:
    """A factor between 0.3 and 1, for fibres that begin and end."""
    return 0.3 + 0.7 * torch.sigmoid(2 * field)


def _gaussian(size: int, length: Tensor) -> Tensor:
    """The spectra of blurs by ``length`` (B) half sides, with shape (B, size, size / 2 + 1)."""
    waves = torch.fft.fftfreq(size, dtype=F32) * math.pi * size
    square = waves[:, None].square() + waves[: size // 2 + 1].square()
    return (-0.5 * square * length[:, None, None].square()).exp()


def _blur(field: Tensor, length: float) -> Tensor:
    """A field blurred by a Gaussian of standard deviation ``length``, in half sides."""
    size = field.size(-1)
    kernel = _gaussian(size, torch.tensor([length], dtype=F32))
    blurred: Tensor = torch.fft.irfft2(torch.fft.rfft2(field) * kernel, s=(size, size))
    return blurred
