"""Pictures read by Pillow, with the values of the file and an explicit scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppvae.data.headers import ORIENTATION, Headers, any_size, headers_of, is_reduced
from ppvae.data.pages import Page, Plan
from ppvae.data.paths import UNREADABLE
from ppvae.data.stacks import STACKS, is_deep, stack_of
from ppvae.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ["PICTURES", "pages_of", "read"]

PICTURES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".webp",
    ".pbm",
    ".pgm",
    ".ppm",
    ".pnm",
    *STACKS,
)
COLOUR = {"RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "RGBa"}
DEEP = {"I;16", "I;16L", "I;16B", "I;16N"}
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def pages_of(path: Path) -> list[Page]:
    """The headers of a file's pictures.

    Raises:
        DataError: If the file cannot be read, or has values that Pillow would shorten.
    """
    headers = headers_of(path)
    if path.name.lower().endswith(STACKS) or is_deep(path) or (headers and headers.altered):
        return _stacked(path, headers)
    with _opened(path) as picture:
        count = getattr(picture, "n_frames", 1) if picture.format != "MPO" else 1
        pages = []
        for number in range(count):
            picture.seek(number)
            if is_reduced(getattr(picture, "tag_v2", {}), number):
                continue
            pages.append(_page(path, number if count > 1 else None, picture))
    notes = []
    if len(pages) < count:
        notes.append(f"x: {count - len(pages)} reduced copies or masks in {path.name} left out")
    if headers is not None:
        notes.append(headers.note(path, len(pages)))
    pages[0] = replace(pages[0], note="; ".join(filter(None, notes)))
    return pages


def _stacked(path: Path, headers: Headers | None) -> list[Page]:
    """The pages of a file that is read as an array."""
    stack = stack_of(path)
    rows, bands, *shape = stack.values.shape
    note = stack.note
    if headers is not None:
        more = headers.note(path, stack.values.size // headers.size)
        note = "; ".join(filter(None, (note, more)))
    size = (shape[0], shape[1])
    pages = []
    for number, dtype in enumerate(stack.dtypes):
        kind = {"uint8": "byte", "uint16": "word"}.get(dtype, "number")
        place = number if rows > 1 else None
        pages.append(Page(path, place, dtype, size, kind, False, False, False, bands, note))
    return pages


@contextmanager
def _opened(path: Path) -> Iterator[Picture]:
    """An open picture of any size; errors in reading become DataError."""
    from PIL import Image

    try:
        with any_size(), Image.open(path) as picture:
            yield picture
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path.name}: expected a picture; it cannot be read ({error}). Remove the file."
        ) from error


def _page(path: Path, number: int | None, picture: Picture) -> Page:
    mode = picture.mode
    tiles = getattr(picture, "tile", None) or []
    # The mode of the pixels in the file; further numbers, such as the length of a line, follow it.
    layout = tiles[0][3] if tiles else ""
    raw = str(layout if isinstance(layout, str) or not layout else layout[0])
    if mode not in DEEP and mode[0] not in "IF" and "16" in raw and mode != "1":
        raise DataError(
            f"{path.name}: expected 8 bits per channel, or 16 in one channel; got {mode} with 16 "
            "bits per channel, of which Pillow keeps 8. Save the pictures as an array: .npz."
        )
    if mode == "LAB":
        raise DataError(
            f"{path.name}: expected grey or colour as red, green, blue; got Lab. Save it as RGB."
        )
    if mode in DEEP or (mode == "I" and picture.format == "PNG"):
        kind = "word"
    else:
        kind = "number" if mode in ("I", "F") else "byte"
    colour, alpha = mode in COLOUR, False
    if mode in ("P", "PA") or "transparency" in picture.info or mode in ("LA", "La", "RGBA"):
        full = picture.convert("RGBA")
        alpha = bool((np.asarray(full.getchannel("A")) < 255).any())
        if mode in ("P", "PA"):
            pixels = np.asarray(full)
            colour = bool((pixels[..., :1] != pixels[..., 1:3]).any())
    turned = picture.getexif().get(ORIENTATION, 1) not in (0, 1)
    width, height = (_upright(picture) if turned else picture).size
    return Page(path, number, mode, (height, width), kind, colour, alpha, turned)


def _upright(picture: Picture) -> Picture:
    """The picture, turned by its orientation, which Pillow may do itself where it loads a TIFF."""
    from PIL import ImageOps

    picture.load()
    return ImageOps.exif_transpose(picture)


def read(plan: Plan, pages: Sequence[Page]) -> np.ndarray:
    """The pages as one array (N, C, H, W), uint8 or float32.

    Raises:
        DataError: If a picture cannot be read.
    """
    dtype = np.uint8 if plan.keeps_bytes else np.float32
    x = np.empty((len(pages), plan.channels, *plan.size), dtype)
    row = 0
    while row < len(pages):
        path = pages[row].path
        if pages[row].bands is not None:
            stack = stack_of(path).values
            while row < len(pages) and pages[row].path == path:
                x[row] = _scaled(plan, pages[row], stack[pages[row].number or 0])
                row += 1
            continue
        with _opened(path) as picture:
            while row < len(pages) and pages[row].path == path:
                picture.seek(pages[row].number or 0)
                x[row] = _pixels(plan, pages[row], picture)
                row += 1
    return x


def _pixels(plan: Plan, page: Page, picture: Picture) -> np.ndarray:
    """One page with shape (C, H, W)."""
    upright = _upright(picture) if page.turned else picture
    if page.kind == "byte":
        upright = _resized(plan, upright.convert(MODES[plan.channels]))
        values = np.asarray(upright)
        values = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
        return _scaled(plan, page, values, fits=True)
    return _scaled(plan, page, np.asarray(upright)[None])


def _scaled(plan: Plan, page: Page, values: np.ndarray, *, fits: bool = False) -> np.ndarray:
    """An array (C, H, W) with the plan's size, number of channels and scale."""
    top = {"byte": 255.0, "word": 65535.0}.get(page.kind, 1.0)
    if not fits and plan.resize:
        values = np.stack([_resized_band(plan, band) for band in values.astype(np.float32)])
        values = values.round().astype(np.uint8) if plan.keeps_bytes else values
    if len(values) != plan.channels:
        values = np.repeat(values, plan.channels, 0)
        if plan.channels in (2, 4):
            values[-1] = top
    if plan.keeps_bytes:
        return values
    values = values.astype(np.float64 if plan.asked else np.float32)
    if plan.scale is not None:
        low, high = plan.scale
        return (values.astype(np.float64) - low) / (high - low)
    return values / np.float32(top) if top != 1 else values


def _resized_band(plan: Plan, band: np.ndarray) -> np.ndarray:
    """One channel (H, W) resized, within its range; NaN where half of what is below it is NaN."""
    from PIL import Image

    def sized(numbers: np.ndarray) -> np.ndarray:
        return np.asarray(_resized(plan, Image.fromarray(numbers, "F")))

    known = ~np.isnan(band)
    if np.isinf(band).any() or not known.any():
        # The dataset refuses infinity, which must not become NaN here.
        return np.full(plan.size, np.inf if known.any() else np.nan, np.float32)
    values = sized(np.where(known, band, np.float32(0)))
    if not known.all():
        share = sized(known.astype(np.float32))
        values = np.where(share > 0.5, values / share.clip(0.5), np.float32(np.nan))
    return values.clip(band[known].min(), band[known].max())


def _resized(plan: Plan, picture: Picture) -> Picture:
    from PIL import Image, ImageOps

    if not plan.resize or (picture.height, picture.width) == plan.size:
        return picture
    height, width = plan.size
    if plan.crop:
        return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
