"""The embedded handwritten digits: unchanged, rotated, and posed at random."""

from __future__ import annotations

import math
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.splits import Splits
from ppvae.errors import DataError
from ppvae.expected import at_least, between

__all__ = ["digit_spectra", "digits", "posed_digits", "rotated_digits"]


def _asset(name: str) -> dict[str, np.ndarray]:
    with (files("ppvae.data") / "assets" / name).open("rb") as stream, np.load(stream) as arrays:
        return {key: arrays[key] for key in arrays.files}


def digits() -> Splits:
    """A stratified sample of MNIST that comes with the package: 5,000 / 500 / 1,000 images.

    Columns: ``x`` uint8 (N, 1, 28, 28), ``y`` int64 (N), 0 to 9. Test images are from MNIST's
    test file. :func:`ppvae.data.mnist` reads all of MNIST.

    References:
        | MNIST (LeCun, Cortes and Burges, 1998), CC BY-SA 3.0
        | http://yann.lecun.com/exdb/mnist/
    """
    arrays = _asset("digits.npz")
    dataset = Dataset({"x": arrays["x"][:, None], "y": arrays["y"].astype(np.int64)})
    split = torch.from_numpy(arrays["split"])
    return Splits(*(dataset.take(split == part) for part in range(3)))


@typed(num_angles=at_least(2), held_out=at_least(0), order=between(0, 5), seed=at_least(0))
def rotated_digits(
    *,
    num_angles: int = 16,
    held_out: int = 7,
    drop: float = 0.25,
    validation: float = 0.1,
    num_objects: int = 400,
    order: int = 3,
    clip: bool = False,
    seed: int = 0,
) -> Splits:
    r"""Handwritten threes at evenly spaced angles, one of which is not in the training data.

    The published protocol: 400 threes at 16 angles, 22.5 degrees apart, with a quarter of the
    images dropped at random, a tenth of the rest for validation, and one angle held out. There are
    4,050 training images at 15 angles, 270 test images at the held-out angle, and 450 validation
    images at the training angles. No image is in two parts; every object has training images.

    The published baselines (mean squared error of the training mean 0.0780, of the test view's
    mean 0.0551, of a copy of the nearest view 0.0882) are met with cubic splines and pixels left
    unclipped, from -0.21 to 1.28, as here by default, and not with linear interpolation.

    Columns: ``x`` float32 (N, 1, 28, 28), ``object`` int64 (N) from 0, ``view`` float32 (N), the
    angle in radians, counter-clockwise.

    Arguments:
        num_angles: Number of angles Q over the full turn.
        held_out: Number of the angle that only the test data have, from 0; 7 is 157.5 degrees.
        drop: Share of images dropped at random at each angle.
        validation: Share of the remaining images at each angle that are for validation.
        num_objects: Number of threes P, at most 400.
        order: Order of the interpolating spline.
        clip: Whether pixels are clipped to [0, 1].
        seed: Random seed of the choice of dropped images.

    Raises:
        DataError: If an argument is out of range.

    References:
        | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
        | https://arxiv.org/abs/1810.11738
    """
    from scipy import ndimage

    if not 1 <= num_objects <= 400:
        raise DataError(f"num_objects: expected 1 to 400; got {num_objects}. Use 400.")
    if num_angles < 3 or not 0 <= held_out < num_angles:
        raise DataError(
            f"held_out: expected an angle from 0 to {num_angles - 1} of at least 3; got "
            f"{held_out}. Use num_angles=16, held_out=7."
        )
    if not (0 <= drop < 1 and 0 <= validation < 1):
        raise DataError(
            f"drop and validation: expected shares from 0 to below 1; got {drop}, {validation}. "
            "Use 0.25 and 0.1."
        )
    threes = _asset("threes.npz")["x"][:num_objects].astype(np.float32) / 255
    degrees = np.arange(num_angles) * 360 / num_angles
    turned = [
        ndimage.rotate(threes, angle, axes=(2, 1), reshape=False, order=order) for angle in degrees
    ]
    images = np.stack(turned)[:, :, None]
    if clip:
        images = images.clip(0, 1)

    generator = torch.Generator().manual_seed(seed)
    kept = max(1, round(num_objects * (1 - drop)))
    aside = round(kept * validation)
    rows: dict[str, list[Tensor]] = {"train": [], "validation": [], "test": []}
    for angle in range(num_angles):
        order_of = torch.randperm(num_objects, generator=generator)[:kept]
        chosen, spare = order_of[aside:], order_of[:aside]
        cells = torch.stack([torch.full_like(chosen, angle), chosen], 1)
        if angle == held_out:
            rows["test"].append(cells)
        else:
            rows["train"].append(cells)
            rows["validation"].append(torch.stack([torch.full_like(spare, angle), spare], 1))
    radians = torch.from_numpy(np.deg2rad(degrees).astype(np.float32))

    def gather(cells: list[Tensor]) -> Dataset | None:
        angle, item = torch.cat(cells).T
        if len(angle) == 0:
            return None
        x = torch.from_numpy(images[angle.numpy(), item.numpy()])
        return Dataset({"x": x, "object": item, "view": radians[angle]})

    train, valid, test = (gather(rows[name]) for name in ("train", "validation", "test"))
    assert train is not None
    assert test is not None
    unseen = ~torch.isin(torch.as_tensor(test["object"]), torch.as_tensor(train["object"]))
    if unseen.any():
        raise DataError(
            f"rotated_digits: expected a training image of each test object; got none of "
            f"{int(unseen.sum())}. Drop fewer images, or use more angles."
        )
    return Splits(train, valid, test)


@typed(seed=at_least(0))
def posed_digits(
    digit: int | None = None,
    *,
    source: Splits | None = None,
    rotation: float = math.pi / 3,
    shift: float = 0.1,
    scale: float = 0.0,
    seed: int = 0,
) -> Splits:
    r"""Digits rotated, shifted and resized at random by known amounts.

    Columns: those of the source, and ``angle`` (N), radians counter-clockwise, uniform on
    :math:`\pm` ``rotation``; ``shift`` (N, 2), right and up in half image sides, normal with
    standard deviation ``shift`` (clipped at two); ``scale`` (N), the factor of size,
    log-normal with standard deviation ``scale``.

    Arguments:
        digit: Digit to select; all digits by default.
        source: Images uint8 with their classes, such as :func:`ppvae.data.mnist`; by default the
            embedded :func:`digits`.
        rotation: Half-width of the range of angles, in radians; pi is the full turn.
        shift: Standard deviation of the shifts, in half image sides.
        scale: Standard deviation of the logarithm of the size.
        seed: Random seed of the poses.

    Raises:
        DataError: If a width is negative.
    """
    if rotation < 0 or shift < 0 or scale < 0:
        raise DataError(
            f"posed_digits: expected widths >= 0; got rotation {rotation}, shift {shift}, scale "
            f"{scale}. Use 0 for none."
        )
    generator = torch.Generator().manual_seed(seed)
    parts: list[Dataset | None] = []
    for part in digits() if source is None else source:
        if part is None:
            parts.append(None)
            continue
        chosen = part if digit is None else part.take(torch.as_tensor(part["y"]) == digit)
        n = chosen.num_rows
        f32 = torch.float32
        angle = (2 * torch.rand(n, generator=generator, dtype=f32) - 1) * rotation
        moves = torch.randn(n, 2, generator=generator, dtype=f32).clamp(-2, 2) * shift
        size = (torch.randn(n, generator=generator, dtype=f32).clamp(-2, 2) * scale).exp()
        x = _pose(torch.as_tensor(chosen["x"]), angle, moves, size)
        parts.append(chosen.with_columns(x=x, angle=angle, shift=moves, scale=size))
    train, *rest = parts
    assert train is not None
    return Splits(train, *rest)


@typed(noise=at_least(0), seed=at_least(0))
def digit_spectra(*, noise: float = 0.1, seed: int = 0) -> Splits:
    """Posed digits, with the ink per column of each image as a noisy spectrum.

    Columns: ``source`` uint8 (N, 1, 28, 28), the image of :func:`posed_digits`; ``x`` float32
    (N, 1, 28), four times the mean of a column's pixels in [0, 1], plus normal noise; ``y``,
    ``angle`` and ``shift`` of :func:`posed_digits`.

    Arguments:
        noise: Standard deviation of the noise.
        seed: Random seed of the poses and the noise.

    Raises:
        ArgumentError: If a number is negative.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for part in posed_digits(seed=seed):
        assert part is not None
        image = torch.as_tensor(part["x"])
        ink = 4 * image.float().mean(-2) / 255
        ink = ink + noise * torch.randn(ink.shape, generator=generator)
        kept = part.select("y", "angle", "shift")
        parts.append(kept.with_columns(source=image, x=ink))
    return Splits(*parts)


def _pose(images: Tensor, angle: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Images uint8 (N, C, H, W), resized, rotated counter-clockwise, then shifted right and up."""
    cos, sin = angle.cos() / scale, angle.sin() / scale
    # grid_sample takes, for each output position (x right, y down), the position in the input.
    right, down = shift[:, 0], -shift[:, 1]
    theta = torch.stack(
        [
            torch.stack([cos, -sin, -(cos * right - sin * down)], 1),
            torch.stack([sin, cos, -(sin * right + cos * down)], 1),
        ],
        1,
    )
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    posed = torch.nn.functional.grid_sample(
        images.to(grid.dtype), grid, mode="bilinear", align_corners=False
    )
    return posed.round().clamp(0, 255).to(torch.uint8)
