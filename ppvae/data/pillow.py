"""Pictures through Pillow, with the values that are in the file and a scale that is stated."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppvae.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ["PICTURES", "Page", "Plan", "pages_of", "read"]

PICTURES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".webp",
    ".pgm",
    ".ppm",
    ".pnm",
)
COLOUR = {"RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "RGBa"}
DEEP = {"I;16", "I;16L", "I;16B", "I;16N"}
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Page:
    """A picture in a file, as its header says.

    Attributes:
        path: The file.
        number: Its number in the file; None where the file has one picture.
        mode: Pillow's mode.
        shape: Height and width as it is seen, after its orientation.
        kind: ``"byte"``, ``"word"`` (16 bits) or ``"number"`` (32 bits or floating-point).
        colour: Whether it has colour.
        alpha: Whether it has transparent parts.
        turned: Whether it has an orientation other than upright.
    """

    path: Path
    number: int | None
    mode: str
    shape: tuple[int, int]
    kind: str
    colour: bool
    alpha: bool
    turned: bool

    def name(self, folder: Path) -> str:
        """Path in the folder, and the page's number."""
        text = self.path.relative_to(folder).as_posix()
        return text if self.number is None else f"{text}[{self.number}]"


def pages_of(path: Path) -> list[Page]:
    """What the headers of a file's pictures say.

    Raises:
        DataError: If the file cannot be read, or has values that Pillow would shorten.
    """
    with _opened(path) as picture:
        count = getattr(picture, "n_frames", 1) if picture.format != "MPO" else 1
        pages = []
        for number in range(count):
            picture.seek(number)
            pages.append(_page(path, number if count > 1 else None, picture))
    return pages


@contextmanager
def _opened(path: Path) -> Iterator[Picture]:
    """An open picture of any size; errors of reading in words."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    try:
        # Sizes are checked by `Plan`, which knows whether the picture will be made smaller.
        Image.MAX_IMAGE_PIXELS = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(path) as picture:
                yield picture
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path.name}: expected a picture; it cannot be read ({error}). Remove the file."
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _page(path: Path, number: int | None, picture: Picture) -> Page:
    mode = picture.mode
    tiles = getattr(picture, "tile", None) or []
    raw = str(tiles[0][3]) if tiles else ""
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
    width, height = picture.size
    orientation = picture.getexif().get(ORIENTATION, 1)
    shape = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
    return Page(path, number, mode, shape, kind, colour, alpha, orientation not in (0, 1))


@dataclass(frozen=True)
class Plan:
    """How all pictures of a folder become one array.

    Attributes:
        size: Height and width.
        resize: Whether they are resized to it.
        crop: Whether the middle is cut out first.
        channels: C.
        scale: The values that become 0 and 1; None for bytes as they are, and for numbers.
        kind: That of the pages with the widest values.
        asked: Whether the user gave the scale.
    """

    size: tuple[int, int]
    resize: bool
    crop: bool
    channels: int
    scale: tuple[float, float] | None
    kind: str
    asked: bool = field(default=False)

    @classmethod
    def of(
        cls,
        source: str,
        pages: Sequence[Page],
        *,
        size: tuple[int, int] | None,
        crop: bool,
        channels: int | None,
        scale: tuple[float, float] | None,
    ) -> Plan:
        """The plan for these pages.

        Raises:
            DataError: If sizes or kinds of numbers differ, or an argument is out of range.
        """
        if size is None:
            _refuse_sizes(source, pages)
        elif len(size) != 2 or min(size) < 1:
            raise DataError(f"size: expected height and width; got {size}. Use (64, 64).")
        if channels not in (None, 1, 2, 3, 4):
            raise DataError(f"channels: expected 1, 2, 3 or 4; got {channels}. Use 1 or 3.")
        if scale is not None and not scale[0] < scale[1]:
            raise DataError(
                f"range: expected a lower and a higher number; got {scale}. "
                "Name the values that become 0 and 1: --range 0 4095."
            )
        kinds = {page.kind for page in pages}
        if "number" in kinds and len(kinds) > 1 and scale is None:
            raise DataError(
                f"{source}: expected pictures with one kind of number; got some with 8 or 16 bits "
                "and some with 32 bits or floating-point. State their range: --range LOW HIGH."
            )
        kind = next(k for k in ("number", "word", "byte") if k in kinds)
        if channels is None:
            colour, alpha = any(p.colour for p in pages), any(p.alpha for p in pages)
            channels = (3 if colour else 1) + alpha
        return cls(
            size or pages[0].shape,
            size is not None,
            crop,
            channels,
            scale,
            kind,
            scale is not None,
        )

    @property
    def keeps_bytes(self) -> bool:
        """Whether the result is uint8."""
        return self.kind == "byte" and not self.asked

    def notes(self, pages: Sequence[Page]) -> list[str]:
        """What is done to the pictures, in words."""
        modes = Counter(page.mode for page in pages)
        shown = ", ".join(f"{count} {mode}" for mode, count in sorted(modes.items()))
        notes = [f"x: {len(pages)} pictures ({shown}), {self.channels} channels"]
        if self.asked and self.scale is not None:
            notes.append(f"x: {self.scale[0]:g} to {self.scale[1]:g} scaled to [0, 1]")
        elif self.kind == "word":
            notes.append("x: 16 bits, 0 to 65535 scaled to [0, 1]; --range states another range")
        elif self.kind == "number":
            notes.append("x: values as they are in the files; --range scales them to [0, 1]")
        else:
            notes.append("x: 8 bits, 0 to 255 scaled to [0, 1]")
        stacks = len({page.path for page in pages if page.number is not None})
        if stacks:
            notes.append(f"x: each page of {stacks} files with several pages is a row")
        turned = sum(page.turned for page in pages)
        if turned:
            notes.append(f"x: {turned} pictures turned as their EXIF orientation says")
        others = Counter(page.shape for page in pages if page.shape != self.size)
        if self.resize and others:
            how = "cut to its proportions and resized" if self.crop else "stretched"
            notes.append(f"x: {sum(others.values())} pictures {how} to {self.size}")
        if any(p.colour for p in pages) and self.channels < 3:
            notes.append("x: colour turned to grey (luminance)")
        opaque = [p for p in pages if p.mode in ("LA", "RGBA", "PA") and not p.alpha]
        if opaque and self.channels in (1, 3):
            notes.append(f"x: the alpha channel of {len(opaque)} pictures, opaque, left out")
        if any(p.alpha for p in pages) and self.channels in (1, 3):
            notes.append("x: transparency left out")
        if any(p.mode == "CMYK" for p in pages):
            notes.append("x: CMYK turned to red, green, blue")
        return notes


def _refuse_sizes(source: str, pages: Sequence[Page]) -> None:
    from PIL import Image

    first = pages[0]
    for page in pages:
        if page.shape != first.shape:
            raise DataError(
                f"{source}: expected pictures of one size; {first.path.name} has {first.shape} "
                f"and {page.path.name} {page.shape}. Pass size=(height, width), or on the command "
                "line --size HEIGHT WIDTH; --crop cuts the middle instead of stretching."
            )
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and first.shape[0] * first.shape[1] > limit:
        raise DataError(
            f"{source}: expected pictures of at most {limit:,} pixels; got {first.path.name} with "
            f"{first.shape}. Pass size=(height, width), on the command line --size HEIGHT WIDTH."
        )


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
        with _opened(path) as picture:
            while row < len(pages) and pages[row].path == path:
                picture.seek(pages[row].number or 0)
                x[row] = _pixels(plan, pages[row], picture)
                row += 1
    return x


def _pixels(plan: Plan, page: Page, picture: Picture) -> np.ndarray:
    """One page with shape (C, H, W)."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture) if page.turned else picture
    if page.kind == "byte":
        upright = upright.convert(_mode(upright, plan.channels))
        values = np.asarray(_resized(plan, upright))
        top = 255.0
    else:
        numbers = np.asarray(upright)
        numbers = numbers.astype(np.float64 if plan.asked else np.float32)
        top = 65535.0 if page.kind == "word" else 1.0
        if plan.resize:
            least, most = float(numbers.min()), float(numbers.max())
            small = _resized(plan, Image.fromarray(numbers.astype(np.float32), "F"))
            numbers = np.asarray(small).clip(least, most)
        values = np.repeat(numbers[..., None], plan.channels, -1)
        if plan.channels in (2, 4):
            values[..., -1] = top
    values = values[..., None] if values.ndim == 2 else values
    values = values.transpose(2, 0, 1)
    if plan.keeps_bytes:
        return values
    if plan.scale is not None:
        low, high = plan.scale
        return (values.astype(np.float64) - low) / (high - low)
    return values / np.float32(top) if top != 1 else values


def _mode(picture: Picture, channels: int) -> str:
    return {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]


def _resized(plan: Plan, picture: Picture) -> Picture:
    from PIL import Image, ImageOps

    if not plan.resize or (picture.height, picture.width) == plan.size:
        return picture
    height, width = plan.size
    if plan.crop:
        return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
