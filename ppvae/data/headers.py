"""What the headers of a TIFF file state of its pictures, beyond what Pillow reads of them.

ImageJ, OME-TIFF, ``tifffile`` and MetaMorph describe the pictures of a file in its first header.
Only there are the names of axes; and where all pictures share one header, only there is their
number, of which Pillow takes the first.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ppvae.data.cut_off import refuse_cut_off
from ppvae.data.paths import UNREADABLE
from ppvae.errors import DataError

__all__ = ["Headers", "Stated", "any_size", "headers_of", "is_reduced", "stated_in"]

TIFF = (".tif", ".tiff")
# Tags of a page.
WIDTH, HEIGHT, BITS, COMPRESSION, WHITE, TEXT = 256, 257, 258, 259, 262, 270
SAMPLES, FORMAT, ORIENTATION, DEPTH, PLANES = 277, 339, 274, 32997, 33629
LENGTHS = (279, 325)
# Tag, and its bits for a reduced copy of another page, and for a mask.
SUBFILE, REDUCED = 254, 0b101
OME = re.compile(r"<(?:\w+:)?OME\b")


@dataclass(frozen=True)
class Stated:
    """What the description in a header states.

    Attributes:
        pictures: Number of pictures, each with the size and samples of the page; 0 if it states
            none.
        named: Whether axes have names by which pages are other things than pictures in order,
            such as channels.
    """

    pictures: int = 0
    named: bool = False


@dataclass(frozen=True)
class Headers:
    """What the headers of a TIFF file state.

    Attributes:
        altered: Whether Pillow would change or leave out values, channels or pictures.
        size: Count of numbers in the first page.
        present: Number of pages, without reduced copies and masks.
        stated: Number of pictures that there are by the descriptions; ``present`` if fewer.
        stored: Whether the file is long enough for more pictures than it has pages.
    """

    altered: bool
    size: int
    present: int
    stated: int
    stored: bool

    def note(self, path: Path, found: int) -> str:
        """A note where fewer pictures are in the file than its description states; else empty.

        Tools that take a page out of a stack leave its description as it was.

        Arguments:
            path: Path of the file.
            found: Number of pictures of the size of the first page that were read.

        Raises:
            DataError: If the file has more numbers than those of the pictures that were read.
        """
        if found >= self.stated:
            return ""
        if self.stored:
            raise DataError(
                f"{path.name}: expected {self.stated} pictures, as its description states; got "
                f"{found} that can be read, and a part of others. Copy the file again, or save "
                "the pictures as an array: .npz."
            )
        return (
            f"x: {path.name} has {found} picture{'s' * (found != 1)}, where its description "
            f"states {self.stated}; check whether the file is complete"
        )


def headers_of(path: Path) -> Headers | None:
    """What the headers of a file state; None if it is no TIFF file that Pillow can open.

    Arguments:
        path: Path of the file.

    Raises:
        DataError: If the file is cut off.
    """
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() not in TIFF or not path.is_file() or not path.stat().st_size:
        return None
    refuse_cut_off(path)
    try:
        with any_size(), Image.open(path) as picture:
            pages = []
            for number in range(getattr(picture, "n_frames", 1)):
                picture.seek(number)
                tags = dict(getattr(picture, "tag_v2", {}))
                if not is_reduced(tags, number):
                    pages.append((tags, len(picture.getbands())))
    except UnidentifiedImageError:
        known = path.read_bytes()[:2] in (b"II", b"MM")
        return Headers(True, 1, 1, 1, False) if known else None
    except UNREADABLE:
        return None  # Said in words where it is read.
    return _joined(path, pages)


def is_reduced(tags: Mapping[int, object], number: int) -> bool:
    """Whether a page, by its tags and its number, is a reduced copy of another, or a mask."""
    subfile = tags.get(SUBFILE, 0)
    return bool(number) and isinstance(subfile, int) and bool(subfile & REDUCED)


def _joined(path: Path, pages: list[tuple[dict[int, object], int]]) -> Headers:
    owed, lacking, altered, size = 0, 0, False, 0
    is_ome = bool(OME.search(str(pages[0][0].get(TEXT, ""))))
    for number, (tags, bands) in enumerate(pages):
        samples = _number(tags, SAMPLES)
        shape = _number(tags, HEIGHT), _number(tags, WIDTH)
        text = str(tags.get(TEXT, ""))
        stated = stated_in(text, shape, samples)
        if number and not text.lstrip().startswith(("{", "shape=")):
            stated = Stated(0, stated.named)  # A copy of the first page's.
        elif not number and isinstance(planes := tags.get(PLANES), tuple):
            stated = Stated(len(planes))
        altered |= stated.named or _loses(tags, bands)
        # Pages follow the one with the description of all of them.
        if stated.pictures:
            lacking, owed = lacking + owed, stated.pictures - 1
        else:
            owed = max(0, owed - 1)
        size = max(size, math.prod(shape) * samples * _most(tags, BITS) // 8)
    lacking += owed
    # Pictures without headers of their own are never compressed.
    plain = all(_number(tags, COMPRESSION) == 1 for tags, _ in pages)
    known = 8 + sum(_total(tags) for tags, _ in pages)
    rest = path.stat().st_size - known if plain else 0
    complete = lacking > 0 and 0 < lacking * size <= rest
    return Headers(
        altered or complete or (is_ome and lacking > 0),
        math.prod(_number(pages[0][0], tag) for tag in (HEIGHT, WIDTH, SAMPLES)),
        len(pages),
        len(pages) + lacking,
        complete or (lacking > 0 and len(pages) == 1 and 0 < size <= rest),
    )


def _loses(tags: Mapping[int, object], bands: int) -> bool:
    """Whether Pillow would change the values or the channels of a page of a TIFF file."""
    bits, samples, signed = _most(tags, BITS), _number(tags, SAMPLES), _most(tags, FORMAT)
    return (
        (bits == 8 and signed == 2)
        or (bits == 32 and signed == 1)
        or (bits > 8 and (tags.get(WHITE) == 0 or samples > 1))
        or samples > bands  # Such as RGBX, of which Pillow keeps RGB.
        or _number(tags, ORIENTATION) > 4  # Pillow mixes the pixels of those not compressed.
        or _number(tags, DEPTH) > 1
    )


def stated_in(text: str, shape: tuple[int, int], samples: int) -> Stated:
    """What a description states, if it is one of ImageJ, OME-TIFF or ``tifffile``.

    Arguments:
        text: Description in the header of a page.
        shape: Height and width of the page.
        samples: Numbers per pixel of the page.
    """
    if text.lstrip().startswith(("{", "shape=")):
        return _of_tifffile(text.strip("\0 \n"), shape, samples)
    if OME.search(text):
        return _of_ome(text, samples)
    lines = re.findall(r"^(channels|slices|frames|images)=(\d{1,9})\s*$", text, re.MULTILINE)
    sizes = {key: int(number) for key, number in lines}
    channels = sizes.get("channels", 1)
    if not re.search(r"^(ImageJ|SCIFIO)=", text, re.MULTILINE):
        return Stated(0, channels > 1)
    stack = sizes.get("slices", 1) * sizes.get("frames", 1)
    each = max(1, channels // samples)  # The samples of a page may count as channels.
    return Stated(max(sizes.get("images", 1) if channels == 1 else 1, stack * each), channels > 1)


def _of_tifffile(text: str, shape: tuple[int, int], samples: int) -> Stated:
    try:
        if text.startswith("shape="):
            about = {"shape": json.loads(f"[{text[6:].strip('()').rstrip(', ')}]")}
        else:
            about = json.loads(text)
        sizes = [int(n) for n in about["shape"]]
        axes = str(about.get("axes", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Stated()
    pixels, total = math.prod(shape) * samples, math.prod(sizes)
    if not pixels or not total or total % pixels or not {*shape} <= {*sizes}:
        return Stated()  # Of another picture, from which this one was made.
    if len(axes) != len(sizes):
        return Stated(total // pixels)
    named = [*zip(axes, sizes, strict=True)]
    channels = math.prod(n for axis, n in named if axis in "CS")
    height, width = (math.prod(n for axis, n in named if axis == own) for own in "YX")
    return Stated(total // pixels, channels > samples or (height, width) != shape)


def _of_ome(text: str, samples: int) -> Stated:
    pictures, channels = 0, 1
    for element in re.findall(r"<(?:\w+:)?Pixels\b([^>]*)>", text):
        found = re.findall(r"\bSize([CZT])\s*=\s*[\"'](\d{1,9})[\"']", element)
        sizes = {axis: int(number) for axis, number in found}
        channels = max(channels, sizes.get("C", 1))
        each = max(1, sizes.get("C", 1) // samples)
        pictures += sizes.get("Z", 1) * sizes.get("T", 1) * each
    # Of pictures in several files, those of this one are not counted here.
    several = len({*re.findall(r"\bFileName\s*=\s*[\"']([^\"']*)", text)}) > 1
    return Stated(0 if several else pictures, channels > 1)


def _most(tags: Mapping[int, object], tag: int) -> int:
    """The largest number of a tag, 1 without it."""
    value = tags.get(tag, 1)
    listed = value if isinstance(value, tuple) else (value,)
    return max((n for n in listed if isinstance(n, int)), default=1)


def _number(tags: Mapping[int, object], tag: int) -> int:
    """The first number of a tag, 1 without it."""
    value = tags.get(tag, 1)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else 1


def _total(tags: Mapping[int, object]) -> int:
    """Length in bytes of the pixels of a page and its header, of which padding is left out."""
    header = 6 + 12 * len(tags)
    header += sum(len(value) for value in tags.values() if isinstance(value, str | bytes))
    for tag in LENGTHS:
        value = tags.get(tag)
        if value is not None:
            parts = value if isinstance(value, tuple) else (value,)
            return header + sum(part for part in parts if isinstance(part, int))
    return header


@contextmanager
def any_size() -> Iterator[None]:
    """Pillow without its limit of pixels and its warnings.

    :class:`~ppvae.data.pages.Plan` checks sizes, as it determines whether the picture will be made
    smaller.
    """
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
