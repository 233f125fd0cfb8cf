r"""Drawn faces in colour, from known factors: pictures to learn on where none can be shipped."""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.record import Record
from ppvae.data.splits import Splits, split_rows
from ppvae.errors import DataError
from ppvae.expected import at_least

__all__ = ["FACE_CLASSES", "faces"]

FACE_CLASSES = ("no glasses", "glasses")
BLOCK = 128
# A fixed dtype: the same faces for a seed, whatever torch's default dtype.
F32 = torch.float32
SKIN_LIGHT, SKIN_DARK = (0.98, 0.84, 0.74), (0.42, 0.27, 0.19)
HAIR_LIGHT, HAIR_DARK, HAIR_GREY = (0.88, 0.71, 0.42), (0.13, 0.09, 0.08), (0.72, 0.72, 0.74)
LIPS, WHITE, FRAME = (0.70, 0.25, 0.26), (0.96, 0.96, 0.96), (0.08, 0.08, 0.10)


@typed(seed=at_least(0))
def faces(num_faces: int = 1000, *, size: int = 128, noise: float = 0.02, seed: int = 0) -> Splits:
    r"""Drawn faces with twelve known factors, split 80 / 10 / 10.

    Columns: ``x`` uint8 (N, 3, size, size); ``y`` int64 (N), one of :data:`FACE_CLASSES`; and the
    factors, float32. Lengths are in half image sides.

    =============== ====== ===============================================================
    column          shape  what
    =============== ====== ===============================================================
    ``turn``        (N)    of the head to the right of the picture, radians
    ``tilt``        (N)    of the head, radians counter-clockwise
    ``smile``       (N)    -1 for corners of the mouth that hang, 1 for a smile
    ``open_mouth``  (N)    0 to 1
    ``face_width``  (N)    half the width of the face
    ``eye_gap``     (N)    half the distance of the eyes
    ``brow``        (N)    height of the brows above the eyes
    ``hair_length`` (N)    from 0, short, to 1, down to the shoulders
    ``skin``        (N)    0 light, 1 dark
    ``hair``        (N, 2) 0 light, 1 dark; and the share of grey
    ``light``       (N)    direction of the light: -1 from the left, 1 from the right
    ``background``  (N, 3) red, green and blue
    =============== ====== ===============================================================

    Arguments:
        num_faces: Number of faces in all three parts together.
        size: Height and width in pixels.
        noise: Standard deviation of the camera's noise, of full scale.
        seed: Random seed; the same seed gives the same faces.

    Raises:
        DataError: If an argument is out of range.
    """
    if num_faces < 10:
        raise DataError(f"num_faces: expected at least 10; got {num_faces}. Use 1000.")
    if size < 16:
        raise DataError(f"size: expected at least 16 pixels; got {size}. Use 128.")
    if not 0 <= noise < 1:
        raise DataError(f"noise: expected a share from 0 to below 1; got {noise}. Use 0.02.")
    generator = torch.Generator().manual_seed(seed)
    factors = _factors(num_faces, generator)
    blocks = []
    for start in range(0, num_faces, BLOCK):
        light = _paint({n: v[start : start + BLOCK] for n, v in factors.items()}, size)
        light = light + noise * torch.randn(light.shape, generator=generator, dtype=F32)
        blocks.append((255 * light).round().clamp(0, 255).to(torch.uint8))
    record = Record(names={"y": FACE_CLASSES})
    return split_rows(Dataset({"x": torch.cat(blocks), **factors}, record=record), seed=seed)


def _factors(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(rows, *shape, generator=generator, dtype=F32)

    return {
        "y": (uniform(0, 1) < 0.4).long(),
        "turn": uniform(-0.5, 0.5),
        "tilt": uniform(-0.2, 0.2),
        "smile": uniform(-1, 1),
        "open_mouth": uniform(0, 1),
        "face_width": uniform(0.38, 0.50),
        "eye_gap": uniform(0.17, 0.23),
        "brow": uniform(0.11, 0.19),
        "hair_length": uniform(0, 1),
        "skin": uniform(0, 1),
        "hair": torch.stack([uniform(0, 1), uniform(0, 1) ** 3], 1),
        "light": uniform(-1, 1),
        "background": uniform(0.2, 0.8, 3),
    }


def _between(first: tuple[float, ...], second: tuple[float, ...], share: Tensor) -> Tensor:
    """Colours between two, with shape (B, 3)."""
    a, b = torch.tensor(first, dtype=F32), torch.tensor(second, dtype=F32)
    return a + (b - a) * share[:, None]


def _paint(factors: dict[str, Tensor], size: int) -> Tensor:
    """A block of faces, with shape (B, 3, size, size), from back to front."""
    f = {name: value[:, None, None] for name, value in factors.items() if value.dim() == 1}
    at = (torch.arange(size, dtype=F32) + 0.5) / size * 2 - 1
    right, up = at.expand(size, size), -at[:, None].expand(size, size)
    # Upright coordinates of the head, and those of what the turn moves across the face.
    cos, sin = f["tilt"].cos(), f["tilt"].sin()
    x, y = right * cos + (up + 0.5) * sin, (up + 0.5) * cos - right * sin - 0.5
    move, narrow = 0.30 * f["turn"].sin(), f["turn"].cos()
    across = (x - move) / narrow
    width = f["face_width"]
    skin = _between(SKIN_LIGHT, SKIN_DARK, factors["skin"])
    hair = _between(HAIR_LIGHT, HAIR_DARK, factors["hair"][:, 0])
    hair = hair + (torch.tensor(HAIR_GREY, dtype=F32) - hair) * factors["hair"][:, 1:]

    def disc(across: Tensor, along: Tensor, wide: Tensor | float, high: Tensor | float) -> Tensor:
        """Distance into an ellipse, as a share of its radius: 1 at the centre, 0 on the edge."""
        return 1 - torch.hypot(across / wide, along / high)

    def soft(depth: Tensor, edge: float = 0.03) -> Tensor:
        return torch.sigmoid(depth / edge)

    def colour(value: Tensor | tuple[float, ...]) -> Tensor:
        return torch.as_tensor(value, dtype=F32).reshape(-1, 3, 1, 1)

    picture = colour(factors["background"]) * (0.9 + 0.15 * up)

    def lay(mask: Tensor, value: Tensor | tuple[float, ...], shade: Tensor | float = 1.0) -> None:
        nonlocal picture
        lit = colour(value) * (shade[:, None] if isinstance(shade, Tensor) else shade)
        picture = picture + mask[:, None] * (lit - picture)

    shade = (1 + 0.28 * f["light"] * (x / width) - 0.10 * (y / 0.6).square()).clamp(0.4, 1.3)
    low = 0.05 - 0.75 * f["hair_length"]
    back = soft(disc(x + 0.3 * move, y - 0.18, width + 0.15, 0.68), 0.05)
    sides = soft((width + 0.13 - x.abs()) / 0.3) * soft((y - low) / 0.3) * soft((0.2 - y) / 0.3)
    lay(torch.maximum(back, sides), hair, 0.75 * shade)
    lay(soft(disc(x, up + 1.15, 0.75, 0.42)), factors["background"].flip(1), 0.8)  # the shoulders
    lay(
        soft((0.17 - x.abs()) / 0.3) * soft((-0.35 - y) / 0.2) * soft((up + 0.85) / 0.2), skin, 0.8
    )
    for side in (-1, 1):
        lay(soft(disc(x - side * width + 0.4 * move, y + 0.02, 0.07, 0.13)), skin, 0.9 * shade)
    head = soft(disc(x, y, width, 0.58 + 0.1 * y.clamp_min(0)))
    lay(head, skin, shade)
    # Hair down to a line on the forehead.
    fringe = soft((y - 0.30 - 0.25 * (across / 0.5).square().neg() - 0.12) / 0.3)
    lay(torch.maximum(head, back) * fringe * back, hair, shade)

    for side in (-1, 1):
        eye = across - side * f["eye_gap"]
        white = soft(disc(eye, y - 0.08, 0.085, 0.05), 0.1)
        lay(white, WHITE)
        lay(
            white * soft(disc(eye - 0.03 * f["turn"], y - 0.08, 0.042, 0.042), 0.1),
            (0.2, 0.16, 0.13),
        )
        arc = y - 0.08 - f["brow"] + 1.5 * eye.square()
        lay(soft(disc(eye, arc, 0.12, 0.026), 0.15), 0.6 * hair)
    nose = disc(x - 1.35 * move, y + 0.10, 0.05, 0.14)
    lay(0.5 * soft(nose, 0.25), skin, 0.75 * shade)
    lip = (x - 1.1 * move) / narrow
    bent = y + 0.32 - 1.8 * f["smile"] * (lip.square() - 0.02)
    lay(soft(disc(lip, bent, 0.20, 0.035 + 0.05 * f["open_mouth"]), 0.12), LIPS)
    lay(soft(disc(lip, bent, 0.16, 0.055 * f["open_mouth"] + 1e-3), 0.12), (0.25, 0.08, 0.08))

    worn = f["y"].to(F32)
    for side in (-1, 1):
        ring = torch.hypot((across - side * f["eye_gap"]) / 1.1, y - 0.07) - 0.125
        lay(worn * soft((0.016 - ring.abs()) / 0.15, 0.03), FRAME)
    bridge = soft((0.014 - (y - 0.10).abs()) / 0.15) * soft(
        (f["eye_gap"] - 0.12 - across.abs()) / 0.15
    )
    lay(worn * bridge, FRAME)
    return picture
