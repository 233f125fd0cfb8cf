r"""Pictures of solids at any rotation, by a small renderer.

A solid is a cloud of surface points with normals and shades. The cloud is rotated and projected
along the third axis; each pixel shows the points nearest to the viewer,

.. math::
    \mathrm{shade} \cdot \left(a + (1 - a) \max(0, n^\top \ell)\right),

under a fixed light from the upper left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.splits import Splits
from ppvae.distributions.rotations import as_rotations, exp_rotation, matrix_of
from ppvae.errors import DataError
from ppvae.expected import ROWS, at_least

__all__ = ["SOLIDS", "Solid", "mesh_solid", "render", "solid", "symmetries", "turned_solids"]

AMBIENT: Final = 0.3
LIGHT: Final = (-0.4, 0.5, 0.768)
# Number of points of one piece; each pixel of an image of 64 x 64 shows several.
COUNT: Final = 4000
CHUNK: Final = 2**20


class Solid(NamedTuple):
    """Surface points, within the unit ball.

    Attributes:
        points: Positions, with shape (P, 3).
        normals: Outward unit vectors, with shape (P, 3).
        shade: Brightness of the surface in [0, 1], with shape (P).
    """

    points: Tensor
    normals: Tensor
    shade: Tensor


def _even(count: int) -> Tensor:
    """Evenly spaced points of the unit sphere (a Fibonacci lattice), with shape (count, 3)."""
    step = torch.arange(count, dtype=torch.float32) + 0.5
    height = 1 - 2 * step / count
    angle = step * (math.pi * (3 - 5**0.5))
    radius = (1 - height.square()).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], 1)


def _ellipsoid(
    centre: tuple[float, float, float], radii: tuple[float, float, float], shade: float
) -> Solid:
    unit, size = _even(COUNT), torch.tensor(radii, dtype=torch.float32)
    normals = unit / size
    normals = normals / normals.norm(dim=1, keepdim=True)
    return Solid(
        unit * size + torch.tensor(centre, dtype=torch.float32),
        normals,
        torch.full((COUNT,), shade),
    )


def _box(half: tuple[float, float, float], shade: float) -> Solid:
    side = math.isqrt(COUNT)
    steps = (torch.arange(side) + 0.5) / side * 2 - 1
    across, up = (value.flatten() for value in torch.meshgrid(steps, steps, indexing="ij"))
    points, normals = [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            face = torch.empty(side * side, 3)
            face[:, axis] = sign
            face[:, (axis + 1) % 3], face[:, (axis + 2) % 3] = across, up
            points.append(face * torch.tensor(half))
            normals.append(sign * torch.eye(3)[axis].expand(side * side, 3))
    joined = torch.cat(points).to(normals[0])
    return Solid(joined, torch.cat(normals), torch.full((len(joined),), shade))


def _joined(*pieces: Solid) -> Solid:
    return Solid(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def _tripod() -> Solid:
    """Three arms of different lengths and shades at right angles, without any symmetry."""
    return _joined(
        _ellipsoid((0.4, 0.0, 0.0), (0.55, 0.2, 0.2), 1.0),
        _ellipsoid((0.0, 0.3, 0.0), (0.22, 0.5, 0.22), 0.65),
        _ellipsoid((0.0, 0.0, 0.25), (0.2, 0.2, 0.4), 0.4),
    )


def _lamp() -> Solid:
    """A foot, a bent arm and a bright head, without any symmetry."""
    return _joined(
        _ellipsoid((0.0, -0.6, 0.0), (0.4, 0.12, 0.3), 0.5),
        _ellipsoid((-0.1, -0.1, 0.1), (0.12, 0.55, 0.12), 0.7),
        _ellipsoid((0.25, 0.45, 0.25), (0.35, 0.25, 0.2), 1.0),
    )


def _propeller() -> Solid:
    """Three equal blades around an axis with a nose; it has three symmetries."""
    blade = _ellipsoid((0.5, 0.0, 0.0), (0.45, 0.2, 0.08), 0.8)
    tilted = exp_rotation(torch.tensor([0.5, 0.0, 0.0], dtype=torch.float32))
    blade = Solid(blade.points @ tilted.mT, blade.normals @ tilted.mT, blade.shade)
    blades = [
        Solid(blade.points @ turn.mT, blade.normals @ turn.mT, blade.shade)
        for turn in _about_third(3)
    ]
    return _joined(*blades, _ellipsoid((0.0, 0.0, 0.2), (0.2, 0.2, 0.4), 1.0))


def _about_third(count: int) -> Tensor:
    """Rotations by multiples of 1 / count turns about the third axis, with shape (count, 3, 3)."""
    turns = torch.zeros(count, 3, dtype=torch.float32)
    turns[:, 2] = torch.arange(count) * 2 * math.pi / count
    return exp_rotation(turns)


def _half_turns() -> Tensor:
    """The identity and the half turns about the axes, with shape (4, 3, 3)."""
    signs = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return torch.diag_embed(signs.float())


def _octahedral() -> Tensor:
    """The 24 rotations of a cube, with shape (24, 3, 3)."""
    orders = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 3)
    matrices = (torch.eye(3)[orders][:, None] * signs[:, None, :]).flatten(0, 1)
    return matrices[torch.linalg.det(matrices) > 0]


_SOLIDS: Final[dict[str, tuple[Callable[[], Solid], Callable[[], Tensor]]]] = {
    "tripod": (_tripod, lambda: torch.eye(3)[None]),
    "lamp": (_lamp, lambda: torch.eye(3)[None]),
    "propeller": (_propeller, lambda: _about_third(3)),
    "brick": (lambda: _box((0.75, 0.5, 0.25), 1.0), _half_turns),
    "cube": (lambda: _box((0.5, 0.5, 0.5), 1.0), _octahedral),
}
SOLIDS: Final = tuple(_SOLIDS)


def _entry(name: str) -> tuple[Callable[[], Solid], Callable[[], Tensor]]:
    if name not in _SOLIDS:
        raise DataError(
            f"solid: expected one of {', '.join(SOLIDS)}; got {name!r}. Name one of them, or pass "
            "ppvae.data.mesh_solid(vertices, faces)."
        )
    return _SOLIDS[name]


def solid(name: str) -> Solid:
    """A solid by its name, one of :data:`SOLIDS`.

    Raises:
        DataError: If there is none of that name.
    """
    return Solid(*(part.float() for part in _entry(name)[0]()))


@typed()
def symmetries(name: str) -> Tensor:
    """The rotations G after which a solid looks the same, with shape (K, 3, 3).

    Arguments:
        name: One of :data:`SOLIDS`.

    Raises:
        DataError: If there is none of that name.
    """
    return _entry(name)[1]().float()


@typed(vertices=ROWS, faces=ROWS, count=at_least(1), seed=at_least(0))
def mesh_solid(vertices: Tensor, faces: Tensor, *, count: int = 4 * COUNT, seed: int = 0) -> Solid:
    """A triangle mesh as a solid, centred and scaled into the unit ball.

    Arguments:
        vertices: Positions, with shape (V, 3).
        faces: Numbers of the vertices of each triangle, counter-clockwise seen from outside, with
            shape (F, 3).
        count: Number P of points, drawn evenly over the surface.
        seed: Random seed of the points.

    Raises:
        DataError: If a shape differs, a number is not finite, or the triangles have no area.
    """
    places, corners = torch.as_tensor(vertices).float(), torch.as_tensor(faces).long()
    if (
        places.dim() != 2
        or corners.dim() != 2
        or not torch.equal(corners.to(faces), torch.as_tensor(faces))
        or (places.size(-1), corners.size(-1)) != (3, 3)
        or not len(corners)
        or not bool(places.isfinite().all())
        or not 0 <= int(corners.min()) <= int(corners.max()) < len(places)
    ):
        raise DataError(
            "mesh_solid: expected finite vertices (V, 3) and whole numbers of them (F, 3); got "
            f"{tuple(places.shape)} and {tuple(corners.shape)}. Triangulate the mesh."
        )
    places = places - (places.amax(0) + places.amin(0)) / 2
    places = places / places.norm(dim=1).amax().clamp_min(torch.finfo(places.dtype).tiny)
    first, second, third = places[corners].unbind(1)
    across = torch.linalg.cross(second - first, third - first, dim=1)
    area = across.norm(dim=1)
    if not float(area.sum()) > 0:
        raise DataError(
            "mesh_solid: expected triangles that have an area; got none. Check the faces."
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.multinomial(area, count, replacement=True, generator=generator)
    u, v = torch.rand(2, count, 1, generator=generator, dtype=places.dtype)
    root = u.sqrt()
    points = (1 - root) * first[chosen] + root * ((1 - v) * second[chosen] + v * third[chosen])
    shade = torch.ones(count, dtype=places.dtype)
    return Solid(points, across[chosen] / area[chosen, None], shade)


@typed(rotations=ROWS, size=at_least(1))
def render(shown: Solid, rotations: Tensor, *, size: int = 32) -> Tensor:
    """Pictures of a solid at these rotations, uint8 with shape (N, 1, size, size).

    Arguments:
        shown: Solid.
        rotations: Rotations with shape (N, 3, 3), acting on column vectors; the axes point right,
            up and to the viewer.
        size: Height and width in pixels, at least 4.

    Raises:
        DataError: If the size is out of range.
        ArgumentError: If the matrices are not rotations.
    """
    if size < 4:
        raise DataError(f"size: expected at least 4 pixels; got {size}. Use 32.")
    rotations = as_rotations(rotations).to(shown.points)
    parts = rotations.split(max(1, CHUNK // len(shown.points)))
    return torch.cat([_rendered(shown, part, 2 * size) for part in parts])


def _rendered(shown: Solid, rotations: Tensor, fine: int) -> Tensor:
    """Pictures at twice the size, averaged down, so that the edges are smooth."""
    points = shown.points @ rotations.mT
    normals = shown.normals @ rotations.mT
    lit = (normals @ normals.new_tensor(LIGHT)).clamp_min(0)
    bright = shown.shade * (AMBIENT + (1 - AMBIENT) * lit)
    column, row = (((s * points[..., i] + 1) / 2 * fine) for i, s in ((0, 1), (1, -1)))
    places = row.long().clamp(0, fine - 1) * fine + column.long().clamp(0, fine - 1)
    depth = points[..., 2].where(normals[..., 2] > 0, points.new_tensor(-math.inf))
    pixels = points.new_full((len(rotations), fine * fine), -math.inf)
    front = pixels.scatter_reduce(1, places, depth, "amax")
    # A surface may be steep across a pixel, so that its points differ in depth.
    seen = (depth >= front.gather(1, places) - 4 / fine) & depth.isfinite()
    nothing = torch.zeros_like(pixels)
    total = nothing.scatter_add(1, places, bright * seen)
    count = nothing.scatter_add(1, places, seen.to(total))
    image = (total / count.clamp_min(1)).unflatten(1, (1, fine, fine))
    image = torch.nn.functional.avg_pool2d(image, 2)
    return (255 * image).round().clamp(0, 255).to(torch.uint8)


@typed(num=at_least(10), size=at_least(4), noise=at_least(0), seed=at_least(0))
def turned_solids(
    *solids: str | Solid, num: int = 3000, size: int = 28, noise: float = 0.0, seed: int = 0
) -> Splits:
    """Pictures of solids at uniformly random rotations, split into 80, 10 and 10 %.

    Columns: ``x``, uint8 with shape (N, 1, size, size); ``orientation``, the rotations, float32
    with shape (N, 3, 3); and, for several solids, ``y``, the number of the solid, int64.

    Arguments:
        solids: Names among :data:`SOLIDS`, or solids such as those of :func:`mesh_solid`; by
            default a tripod, which has no symmetry.
        num: Number of pictures of all solids together, at least 10.
        size: Height and width in pixels, at least 4.
        noise: Standard deviation of a pixel's noise; white is 1.
        seed: Random seed of rotations, solids and noise.

    Raises:
        DataError: If there is no solid of a name, or a number is out of range.
    """
    shown = [solid(s) if isinstance(s, str) else s for s in solids or ("tripod",)]
    generator = torch.Generator().manual_seed(seed)
    quaternions = torch.randn(num, 4, generator=generator, dtype=torch.float32)
    rotations = matrix_of(quaternions / quaternions.norm(dim=1, keepdim=True))
    which = torch.randint(len(shown), (num,), generator=generator)
    x = torch.empty(num, 1, size, size, dtype=torch.uint8)
    for k, one in enumerate(shown):
        x[which == k] = render(one, rotations[which == k], size=size)
    if noise:
        grain = 255 * noise * torch.randn(x.shape, generator=generator)
        x = (x + grain).round().clamp(0, 255).to(torch.uint8)
    columns = {"x": x, "orientation": rotations}
    data = Dataset(columns if len(shown) == 1 else {**columns, "y": which})
    cuts = (0, num - 2 * (num // 10), num - num // 10, num)
    parts = [data.take(torch.arange(*cut)) for cut in zip(cuts, cuts[1:], strict=False)]
    return Splits(*parts)
